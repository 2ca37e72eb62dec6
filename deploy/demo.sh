#!/usr/bin/env bash
# The main job on real input, from nothing: a node on temporary folders, a registry on loopback,
# an image pushed to it, pulled, run, looked into, and everything cleared away.
#
#   deploy/demo.sh BINARIES [IMAGE]
#
# With IMAGE, that image is pulled from where it is instead (needs a network).
set -euo pipefail

bin=$(cd "$1" && pwd)
image=${2:-}
work=$(mktemp -d /tmp/berth-demo.XXXXXX)
registry_pid= berthd_pid=

clean_up() {
  status=$?
  set +e
  [ -n "$berthd_pid" ] && { berth rm -f demo >/dev/null 2>&1; kill "$berthd_pid" 2>/dev/null; wait "$berthd_pid"; }
  [ -n "$registry_pid" ] && { kill "$registry_pid" 2>/dev/null; wait "$registry_pid" 2>/dev/null; }
  [ "$status" -eq 0 ] || { echo "the demo failed; the node's log:" >&2; cat "$work/berthd.log" >&2; }
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT

. "$(dirname "$0")/demo-image.sh"
berth() { "$bin/berth" --address "$work/berth.sock" "$@"; }
show() { printf '$ berth %s\n' "$*"; berth "$@"; }

say "a node, on temporary folders"
"$bin/berthd" --root "$work/root" --state "$work/state" --address "$work/berth.sock" >"$work/berthd.log" 2>&1 &
berthd_pid=$!
wait_for 20 "the node" berth version
show version

if [ -z "$image" ]; then
  say "a registry on loopback, with an image of busybox in it"
  registry_with_busybox
fi

say "pull"
show pull "$image"
show images

say "run"
show run --rm "$image" echo "hello from a container"
show run -d --name demo "$image" sh -c 'echo started; while :; do sleep 1; done'
show ps

say "look into it"
wait_for 10 "the container's first line" bash -c "'$bin/berth' --address '$work/berth.sock' logs demo | grep -q started"
show logs demo
show exec demo ps
show stats --no-stream
show trace "$image"
show trace demo
printf '$ berth events (while the container is stopped)\n'
berth events >"$work/events" 2>&1 &
events_pid=$!
sleep 0.5 # the subscription has no acknowledgement of its own

say "clean up"
show stop -t 1 demo
show rm demo
kill "$events_pid"; wait "$events_pid" 2>/dev/null || true
cat "$work/events"
show rmi "$image"
show gc
[ -s "$work/events" ] || { echo "no event was seen" >&2; exit 1; }

say "done: everything above ran on $(uname -sr), and is cleared away now"
