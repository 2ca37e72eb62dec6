#!/usr/bin/env bash
# Unpacks Debian's cloud kernel into a folder: vmlinuz and overlay.ko. Nothing is installed and
# nothing is done when both are there.
#
#   tests/cgroup2/machine/kernel.sh FOLDER
set -euo pipefail

mkdir -p "$1"
cd "$1"
[ -e vmlinuz ] && [ -e overlay.ko ] && exit 0

package() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    awk '/Depends: linux-image-/ {print $2; exit}'
}
download() { apt-get -o APT::Sandbox::User=root download -qq "$name"; }

# Lists that are missing, or older than what the mirror still has, are fetched first.
name=$(package)
if [ -z "$name" ] || ! download; then
  apt-get update -qq
  name=$(package)
  download
fi
dpkg -x "$name"_*.deb unpacked
cp "$(find unpacked -name overlay.ko)" overlay.ko
mv unpacked/boot/vmlinuz-* vmlinuz
rm -rf unpacked "$name"_*.deb
