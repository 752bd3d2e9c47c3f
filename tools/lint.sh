#!/bin/sh
# clang-format over every C++ file, and clang-tidy over those that changed since the given revision (all with --all).
#   tools/lint.sh [--all | --since REV]
set -eu
cd "$(dirname "$0")/.."
files=$(git ls-files 'src/*.cc' 'src/*.h' 'tests/*.cc' 'tests/*.h' 'bench/*.cc' 'bench/*.h')
if [ -n "$files" ]; then
  clang-format --dry-run --Werror $files
fi
# What this machine's compiler does not see, and what clang-tidy takes minutes for.
not_here="-e _darwin.cc -e backend/mlx/ -e _test.cc -e /isa/"
case "${1:-}" in
  --all) sources=$(git ls-files 'src/*.cc' | grep -v $not_here) ;;
  --since) sources=$(git diff --name-only --diff-filter=d "$2" -- 'src/*.cc' | grep -v $not_here || true) ;;
  *) sources="" ;;
esac
if [ -n "$sources" ]; then
  cmake --preset debug >/dev/null
  printf '%s\n' $sources | xargs -P 2 -n 1 clang-tidy --quiet -p build/debug
fi
echo "lint: clean"
