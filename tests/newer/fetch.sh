#!/usr/bin/env bash
# Puts the programs of the containerd of Debian's next release into a folder, unless they are there: they are not installed.
set -euo pipefail
tools=$(realpath -m "$1")
[ -x "$tools/bin/containerd" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial" "$tools"
mirror=$(grep -rhsE --include='*.list' --include='*.sources' '^(URIs:|deb )' /etc/apt | grep -oE 'https?://[^ ]+/debian\b' | head -1)
cat >"$work/parts/newer.sources" <<END
Types: deb
URIs: $mirror
Suites: testing
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
own=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::Lists=$work/lists"
     -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
cd "$work"
apt-get "${own[@]}" -qq update
apt-get "${own[@]}" -qq download containerd
dpkg-deb -x containerd_*.deb "$work/tree"
mv "$work/tree/usr/bin" "$tools/bin"
"$tools/bin/containerd" --version
