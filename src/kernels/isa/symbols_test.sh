#!/bin/sh
# isa/prelude.h says why: an object made for one instruction set must hold no function that another file may have too.
#   symbols_test.sh NM OBJECT...
set -eu
nm=$1
shift
checked=0
for object in "$@"; do
  case $object in */isa/*) ;; *) continue ;; esac
  checked=$((checked + 1))
  if "$nm" --defined-only "$object" | grep -E ' [VWui] '; then
    echo "$object: the linker may give these functions to files that run everywhere"
    exit 1
  fi
done
[ "$checked" -gt 1 ]
