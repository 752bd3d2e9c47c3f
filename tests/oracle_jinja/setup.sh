#!/bin/sh
# Installs what the Jinja oracle compares with; real chat templates come from tests/oracle. Safe to repeat; a second run
# does nothing.
set -eu
cd "$(dirname "$0")"
../oracle/setup.sh

stamp=node_modules/.installed-from
if cmp -s package-lock.json "$stamp"; then exit 0; fi
echo "setup: fetching a reference Jinja (npm)"
npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
cp package-lock.json "$stamp"
