#!/bin/sh
# Checks, tests and compiles the policies of this folder to build/bundle.tar.gz, without their tests. OPA names the opa to use.
set -eu
LC_ALL=C
export LC_ALL
cd -- "$(dirname -- "$0")"
opa=${OPA:-opa}
fail() {
  echo "policy: $1" >&2
  exit 1
}

"$opa" fmt --fail --diff . || fail "not formatted; mend it with: $opa fmt --write policies"
"$opa" check --strict ./*.rego || fail 'does not compile'
"$opa" test ./*.rego data.json || fail 'a test fails'
"$opa" test --coverage --threshold 100 ./*.rego data.json >/dev/null ||
  fail "the tests do not reach every line; see: $opa test --coverage policies/*.rego policies/data.json"

set -- data.json
for file in *.rego; do
  case $file in *_test.rego) ;; *) set -- "$@" "$file" ;; esac
done
revision=$(cat -- "$@" | sha256sum | cut -c 1-12)

mkdir -p build
next=build/next.$$.tar.gz
trap 'rm -f "$next"' EXIT
"$opa" build --target wasm --entrypoint envoy/authz/result --revision "$revision" --output "$next" "$@"
mv "$next" build/bundle.tar.gz
echo "policy: build/bundle.tar.gz, revision $revision"
