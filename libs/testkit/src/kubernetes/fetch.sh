#!/usr/bin/env bash
# Puts two kubectl of Debian into a folder, unless they are there: the one of this release, which speaks SPDY, and the
# one of the next, which speaks WebSocket. They are not installed: another vendor's package may own /usr/bin/kubectl.
set -euo pipefail
tools=$(realpath -m "$1")
[ -x "$tools/spdy" ] && [ -x "$tools/websocket" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mirror=$(grep -rhsE --include='*.list' --include='*.sources' '^(URIs:|deb )' /etc/apt | grep -oE 'https?://[^ ]+/debian\b' | head -1)

kubectl() { # name of the program here, release, package
  local part="$work/$2"
  mkdir -p "$part/parts" "$part/lists/partial" "$part/cache/archives/partial" "$tools"
  cat >"$part/parts/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $2
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
  local own=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$part/parts" -o "Dir::State::Lists=$part/lists"
             -o "Dir::Cache=$part/cache" -o APT::Sandbox::User=root)
  (cd "$part" && apt-get "${own[@]}" -qq update && apt-get "${own[@]}" -qq download "$3/$2")
  dpkg-deb -x "$part/$3"_*.deb "$part/tree"
  # Whole or not at all.
  mv "$part/tree/usr/bin/kubectl" "$tools/$1.new"
  mv "$tools/$1.new" "$tools/$1"
}

[ -x "$tools/spdy" ] || kubectl spdy bookworm kubernetes-client
[ -x "$tools/websocket" ] || kubectl websocket trixie kubectl
