#!/bin/sh
# RDMA without hardware: ranks over a software RDMA device, in one machine and in two that a cable joins (guest.py). Needs
# a build, and what `tools/setup.sh test` installs. Five minutes or more, most of it the two machines' weather and devices.
#   suite.sh [BUILD_FOLDER]
set -eu
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build/release}")
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

tests/rdma/guest.py tests/rdma/one.sh "$build" >"$results/one" 2>&1 &
one=$!
two_failed=0 one_failed=0
tests/rdma/guest.py --two tests/rdma/two.sh "$build" >"$results/two" 2>&1 || two_failed=1
wait $one || one_failed=1
echo "==== one machine"
cat "$results/one"
echo "==== two machines"
cat "$results/two"
if [ $one_failed = 1 ] || [ $two_failed = 1 ]; then
  echo "rdma: FAILED"
  grep -h WRONG "$results/one" "$results/two" || true
  exit 1
fi
echo "rdma: passed"
