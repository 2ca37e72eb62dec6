#!/bin/sh
# Puts berth onto the machine whose root is at ROOT, and has systemd there start it, or take up a newer one. What is
# there already and the same is left alone, and so is a configuration.
#
#   install.sh FROM ROOT [--files-only]
#
# FROM holds bin/, units/ and berth.toml. Without --files-only this runs privileged, in the machine's pid namespace.
# BERTH_UNIT=berth.service starts one unit instead of one for each service (berth.target).
set -eu
from=$1 root=$2 only=${3:-}
unit=${BERTH_UNIT:-berth.target}
changed=

# A program that runs cannot be written to: the new one takes its name in one step.
put() {
  mode=$1 source=$2 target=$3
  cmp -s "$source" "$target" && return
  mkdir -p "$(dirname "$target")"
  install -m "$mode" "$source" "$target.new"
  mv -f "$target.new" "$target"
  echo "installed $target"
  changed=yes
}

for program in "$from"/bin/*; do
  put 0755 "$program" "$root/usr/local/bin/$(basename "$program")"
done
for file in "$from"/units/*; do
  put 0644 "$file" "$root/etc/systemd/system/$(basename "$file")"
done
[ -e "$root/etc/berth/berth.toml" ] || put 0644 "$from/berth.toml" "$root/etc/berth/berth.toml"
[ "$only" = --files-only ] && exit 0

on_machine() {
  nsenter --target 1 --mount -- "$@"
}
on_machine systemctl daemon-reload
on_machine systemctl enable "$unit"
# Containers go on. What is not running is not started by this.
[ -z "$changed" ] || on_machine systemctl try-restart 'berth*.service'
on_machine systemctl start "$unit"
