#!/bin/sh
# Checks, tests and compiles the policies of this folder to build/bundle.tar.gz. OPA names the opa to use.
set -eu
cd -- "$(dirname -- "$0")"
opa=${OPA:-opa}
sources='main.rego mail.rego analytics.rego git.rego assistant.rego data.json'
mkdir -p build

"$opa" fmt --fail --diff . || { echo 'policy: not formatted; mend it with: opa fmt --write policies' >&2; exit 1; }
"$opa" check --strict ./*.rego
"$opa" test --coverage --threshold 100 ./*.rego data.json >/dev/null || { "$opa" test ./*.rego data.json; exit 1; }

# shellcheck disable=SC2086 # a list of names
revision=$(cat $sources | sha256sum | cut -c 1-12)
# shellcheck disable=SC2086
"$opa" build --target wasm --entrypoint envoy/authz/result --revision "$revision" --output build/next.tar.gz $sources
mv build/next.tar.gz build/bundle.tar.gz
echo "policy: build/bundle.tar.gz, revision $revision"
