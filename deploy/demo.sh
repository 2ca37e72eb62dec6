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

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
berth() { "$bin/berth" --address "$work/berth.sock" "$@"; }
show() { printf '$ berth %s\n' "$*"; berth "$@"; }
wait_for() { # wait_for SECONDS WHAT COMMAND...: asks until it succeeds
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "$what: not ready in time" >&2; return 1; }
    sleep 0.1
  done
}

say "a node, on temporary folders"
"$bin/berthd" --root "$work/root" --state "$work/state" --address "$work/berth.sock" >"$work/berthd.log" 2>&1 &
berthd_pid=$!
wait_for 20 "the node" berth version
show version

if [ -z "$image" ]; then
  say "a registry on loopback, with an image of busybox in it"
  port=$((20000 + RANDOM % 20000))
  cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
YML
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registry_pid=$!
  wait_for 20 "the registry" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
  rootfs=$work/rootfs
  mkdir -p "$rootfs"/{bin,dev,etc,proc,root,sys,tmp}
  cp /bin/busybox "$rootfs/bin/"
  for applet in $(/bin/busybox --list); do [ -e "$rootfs/bin/$applet" ] || ln -s busybox "$rootfs/bin/$applet"; done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$rootfs/etc/passwd"
  echo 'root:x:0:' >"$rootfs/etc/group"
  layout=$work/layout
  mkdir -p "$layout/blobs/sha256"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  put() { # put FILE: stores a blob, prints its digest and size
    local hex; hex=$(sha256sum "$1" | cut -d' ' -f1)
    cp "$1" "$layout/blobs/sha256/$hex"
    echo "sha256:$hex $(stat -c %s "$1")"
  }
  tar --numeric-owner --owner=0 --group=0 -C "$rootfs" -cf "$work/layer.tar" .
  diff_id=sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  gzip -k "$work/layer.tar"
  read -r layer layer_size < <(put "$work/layer.tar.gz")
  printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
    "$diff_id" >"$work/config.json"
  read -r config config_size < <(put "$work/config.json")
  oci=application/vnd.oci.image
  printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json","digest":"%s","size":%s},"layers":[{"mediaType":"%s.layer.v1.tar+gzip","digest":"%s","size":%s}]}' \
    $oci $oci "$config" "$config_size" $oci "$layer" "$layer_size" >"$work/manifest.json"
  read -r manifest manifest_size < <(put "$work/manifest.json")
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"%s","size":%s}]}' \
    $oci "$manifest" "$manifest_size" >"$layout/index.json"
  image=127.0.0.1:$port/demo/busybox:1
  skopeo copy --insecure-policy -q --dest-tls-verify=false "oci:$layout" "docker://$image"
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
