#!/usr/bin/env bash
# Builds containerd-stress into the folder that is named, unless it is there. Debian packages its sources alone: they are
# compiled with the libraries of golang-github-containerd-containerd-dev, without a network but for Debian's archive.
set -euo pipefail
tools=$(realpath -m "$1")
[ -x "$tools/containerd-stress" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Sources from wherever this machine has its packages from, without a change to its own lists.
mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial" "$tools"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  [ -s "$list" ] && sed 's/^deb /deb-src /; s/^Types: deb$/Types: deb-src/' "$list" >"$work/parts/${list##*/}"
done
own=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::Lists=$work/lists"
     -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
version=$(dpkg-query -W -f='${source:Version}' containerd)
cd "$work"
echo "building: containerd-stress of containerd $version"
apt-get "${own[@]}" -qq update
apt-get "${own[@]}" -qq source --download-only "containerd=$version"
mkdir -p go/src/containerd-stress
tar -xf containerd_*.orig.tar.* -C go/src --strip-components=2 --wildcards '*/cmd/containerd-stress'
# It wants room for 100,000 files, which not every machine gives its administrator.
sed -i "s/uint64(100000)/uint64($(ulimit -Hn))/" go/src/containerd-stress/rlimit_unix.go
cd go/src/containerd-stress
GOPATH="$work/go:/usr/share/gocode" GO111MODULE=off GOFLAGS='' GOCACHE="$work/cache/go" go build -o "$work/built" .
mv "$work/built" "$tools/containerd-stress"
