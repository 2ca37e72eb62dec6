#!/usr/bin/env bash
# Unpacks Debian's cloud kernel into a folder: vmlinuz, and the modules that the machines load.
# Nothing is installed and nothing is done when all are there.
#
#   tests/vm/machine/kernel.sh FOLDER
set -euo pipefail

# Overlays; a disk; what criu asks the kernel about sockets and nftables.
modules=(overlay brd libcrc32c nfnetlink nf_tables unix_diag inet_diag tcp_diag udp_diag raw_diag
  af_packet_diag netlink_diag)

mkdir -p "$1"
cd "$1"
# One at a time: the tests run side by side.
exec 9>lock
flock 9
missing=0
for file in vmlinuz "${modules[@]/%/.ko}"; do [ -e "$file" ] || missing=1; done
[ $missing = 1 ] || exit 0

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
for module in "${modules[@]}"; do cp "$(find unpacked -name "$module.ko")" .; done
mv unpacked/boot/vmlinuz-* vmlinuz
rm -rf unpacked "$name"_*.deb
