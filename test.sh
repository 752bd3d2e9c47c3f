#!/bin/sh
# Sets up, builds and runs every test. Safe to repeat.
set -eu
cd "$(dirname "$0")"
tools/setup.sh test
cmake --preset release >build-configure.log 2>&1 || { cat build-configure.log; exit 1; }
rm -f build-configure.log
cmake --build --preset release
ctest --preset release -j 2
