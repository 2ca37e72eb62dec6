#!/usr/bin/env bash
# Builds the programs of the previous landing, the commit that PREVIOUS names, into a folder, unless they are there.
#
#   tests/skew/build.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
previous=$(cat "$here/PREVIOUS")
folder=$(realpath -m "$1")
[ -e "$folder/$previous" ] && exit 0
git -C "$here" cat-file -e "$previous^{commit}" 2>/dev/null || {
  echo "commit $previous is not here, fetch the whole history: git fetch --unshallow" >&2
  exit 1
}
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
# Dated now: what an earlier landing's build has left is not taken for this one's.
git -C "$here/../.." archive "$previous" | tar -xm -C "$source"
CARGO_TARGET_DIR="$folder/target" CARGO_INCREMENTAL=0 \
  cargo build --manifest-path "$source/Cargo.toml" --workspace --bins --locked
for program in berth berthd berth-gateway berth-distribution berth-bundle berth-runtime containerd-shim-runc-v2; do
  cp "$folder/target/debug/$program" "$folder/"
done
touch "$folder/$previous"
