#!/usr/bin/env bash
# Unpacks Debian's cloud kernel into a folder: vmlinuz and overlay.ko. Nothing is installed and
# nothing is done when both are there.
#
#   tests/machine/kernel.sh FOLDER
set -euo pipefail

mkdir -p "$1"
cd "$1"
[ -e vmlinuz ] && [ -e overlay.ko ] && exit 0

package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
apt-get -o APT::Sandbox::User=root download -qq "$package"
dpkg -x "$package"_*.deb unpacked
cp "$(find unpacked -name overlay.ko)" overlay.ko
cp unpacked/boot/vmlinuz-* vmlinuz
rm -rf unpacked "$package"_*.deb
