#!/bin/sh
# Puts Keycloak into .tools/keycloak-<version>, which only `make test-keycloak` needs. Maven fetches it from its registry
# and verifies it by checksum. It is unpacked in .tools and moved into place whole, so an interrupted run leaves nothing
# that looks finished.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."
. ./deploy/setup/versions
home=.tools/keycloak-$KEYCLOAK
tmp=.tools/tmp-keycloak-$$

say() { printf 'setup: %s\n' "$*"; }
fail() {
  say "$*" >&2
  exit 1
}

# The one that kc.sh and mvn take too.
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
java_version() {
  "$java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.specification.version = \([0-9]*\).*/\1/p'
}

missing() {
  [ "$(java_version)" -ge 17 ] 2>/dev/null ||
    echo '  Java 17 or later, which runs Keycloak (Debian: apt-get install default-jre-headless); JAVA_HOME counts'
  [ -d "$home" ] || command -v mvn >/dev/null ||
    echo '  Maven, any version, which fetches Keycloak (Debian: apt-get install maven)'
}

needed=$(missing)
[ -z "$needed" ] || fail "put this on PATH, then run the same command again:
$needed"

[ -d "$home" ] || {
  mkdir -p "$tmp"
  trap 'rm -rf "$tmp"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  say "fetching Keycloak $KEYCLOAK with Maven, about 175 MB ..."
  began=$(date +%s)
  log=$PWD/$tmp/log
  # In there: some versions of its plugin leave folders where they run.
  (cd "$tmp" && mvn -B dependency:unpack "-Dartifact=org.keycloak:keycloak-quarkus-dist:$KEYCLOAK:zip" \
    "-DoutputDirectory=$PWD" >"$log" 2>&1) || {
    cat "$log" >&2
    fail "fetching Keycloak $KEYCLOAK: failed, as told above"
  }
  # Another run may have been faster; a folder that is there stays as it is.
  [ -d "$home" ] || mv "$tmp/keycloak-$KEYCLOAK" "$home"
  say "  done in $(($(date +%s) - began)) s"
}
say "keycloak $KEYCLOAK, java $(java_version)"
