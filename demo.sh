#!/bin/sh
# Sets up, builds, starts a device on this machine and lets the built-in model answer a prompt. Safe to repeat.
set -eu
cd "$(dirname "$0")"
started=$(date +%s)
tools/setup.sh
cmake --preset release >/dev/null
cmake --build --preset release --target cohort
cohort=build/release/cohort

echo
echo "A private device starts, loads the built-in model (no internet needed) and answers:"
echo
for prompt in "What is a lantern?" "What is a piano?"; do
  echo "> $prompt"
  "$cohort" run demo "$prompt" --temperature 0 --stats
  echo
done
echo "Done in $(($(date +%s) - started)) s. Chat yourself:    $cohort run demo"
echo "Serve an OpenAI-compatible API:       $cohort serve"
