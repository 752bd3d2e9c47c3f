#!/bin/sh
# Sets up, builds, starts two devices on this machine, splits the built-in model over both (pipeline, then tensor parallel)
# and lets them answer as one. Needs no internet beyond the distribution's packages. Safe to repeat.
set -eu
cd "$(dirname "$0")"
started=$(date +%s)
tools/setup.sh
cmake --preset release >/dev/null
cmake --build --preset release --target cohort
cohort=$PWD/build/release/cohort

folder=$(mktemp -d "${TMPDIR:-/tmp}/cohort-demo.XXXXXX")
pids=
finish() {
  trap - EXIT INT TERM
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  wait
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Each device takes free ports, and says on a pipe where it listens.
start_device() {
  mkfifo "$folder/$1.url"
  "$cohort" serve --name "$1" --data-dir "$folder/$1" --port 0 --mesh-port 0 --threads 1 --namespace "demo-$$" \
    --log-level warn --ready-fd 3 3>"$folder/$1.url" >"$folder/$1.log" 2>&1 &
  pids="$pids $!"
  read -r url <"$folder/$1.url"
}

echo
echo "Two devices start and find each other:"
start_device lounge && lounge=$url
start_device attic && attic=$url
export COHORT_API="$lounge"
"$cohort" devices --wait-for 2
echo
echo "What the planner thinks of the built-in model on them:"
"$cohort" plan demo
for sharding in pipeline tensor; do
  echo
  echo "--- $sharding parallel over both ---"
  "$cohort" place demo --sharding "$sharding" --devices 2 --wait >/dev/null
  for prompt in "What is a lantern?" "What is a piano?"; do
    echo "> $prompt"
    "$cohort" run demo "$prompt" --temperature 0 --stats
  done
  echo "> What is an island?        (asked at the other device)"
  "$cohort" run demo "What is an island?" --temperature 0 --api "$attic"
  "$cohort" ps
  "$cohort" stop demo >/dev/null
done
echo
echo "Done in $(($(date +%s) - started)) s. On your own devices: start 'cohort' on each; they find each other."
echo "Chat here and now:                  build/release/cohort run demo"
