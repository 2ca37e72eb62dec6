#!/usr/bin/env bash
# Puts Kubernetes' client for JavaScript into a folder, as package-lock.json has it, unless it is there.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
tools=$(realpath -m "$1")
cmp -s "$here/package-lock.json" "$tools/installed" && exit 0
command -v npm >/dev/null || "$here/../../../../../deploy/setup.sh" nodejs npm
mkdir -p "$tools"
cp "$here/package.json" "$here/package-lock.json" "$tools"
(cd "$tools" && npm ci --no-audit --no-fund --ignore-scripts)
cp "$here/package-lock.json" "$tools/installed"
