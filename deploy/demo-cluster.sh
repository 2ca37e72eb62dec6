#!/usr/bin/env bash
# Three nodes and an etcd on this machine, from nothing: images pulled on different nodes and seen from each, a node that is
# killed and leaves, and comes back; everything is cleared away. Needs no network, and root.
#
#   deploy/demo-cluster.sh BINARIES
set -euo pipefail

bin=$(cd "$1" && pwd)
work=$(mktemp -d /tmp/berth-demo.XXXXXX)
nodes=(node-1 node-2 node-3)
lease=5 # seconds
registry_pid= etcd_pid= events_pid=
declare -A berthd_pid=()

# Everything of a node: berthd and its services, which are its children. Shims and containers are not.
processes_of() {
  local pid=${berthd_pid[$1]}
  echo "$pid" && cat "/proc/$pid/task/$pid/children"
}

clean_up() {
  status=$?
  set +e
  [ -n "$events_pid" ] && kill "$events_pid" 2>/dev/null
  for node in "${nodes[@]}"; do
    # A container goes on without its node: that has to be there to end it.
    [ -e "$work/$node/has-container" ] && { up "$node"; on "$node" rm -f "demo-$node" >/dev/null 2>&1; }
    [ -n "${berthd_pid[$node]:-}" ] && kill "${berthd_pid[$node]}" 2>/dev/null && wait "${berthd_pid[$node]}"
  done
  for pid in $etcd_pid $registry_pid; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
  [ "$status" -eq 0 ] || { echo "the demo failed; the logs:" >&2; tail -n 40 "$work"/node-*/berthd.log "$work/etcd.log" >&2; }
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT

. "$(dirname "$0")/demo-image.sh"
on() { local node=$1; shift; "$bin/berth" --address "$work/$node/berth.sock" "$@"; }
show() { printf '%s $ berth %s\n' "$1" "${*:2}"; on "$@"; }
listens() { bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null; }

up() { # up NODE: starts it, unless it runs
  local node=$1
  [ -z "${berthd_pid[$node]:-}" ] || return 0
  "$bin/berthd" --config "$work/$node/berth.toml" --root "$work/$node/root" --state "$work/$node/state" \
    --address "$work/$node/berth.sock" >>"$work/$node/berthd.log" 2>&1 &
  berthd_pid[$node]=$!
  wait_for 20 "$node" on "$node" version
}

# Whether a list of NODE shows, or does not show, a word.
shows() { on "$1" cluster "$2" --json 2>/dev/null | grep -q "$3"; }
shows_not() { on "$1" cluster "$2" --json >"$work/listed" 2>/dev/null && ! grep -q "$3" "$work/listed"; }

say "an etcd, which the nodes share"
etcd_port=$((20000 + RANDOM % 10000)) etcd_peers=$((30000 + RANDOM % 2000))
etcd --name demo --data-dir "$work/etcd" \
  --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$etcd_peers" --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peers" \
  --initial-cluster "demo=http://127.0.0.1:$etcd_peers" \
  --auto-compaction-mode periodic --auto-compaction-retention 10m >"$work/etcd.log" 2>&1 &
etcd_pid=$!
wait_for 30 "etcd" listens "$etcd_port"

say "three nodes, on temporary folders, with certificates for each other"
"$(dirname "$0")/peers.sh" "$work/peers" "${nodes[@]}"
for node in "${nodes[@]}"; do
  mkdir -p "$work/$node"
  peers_port=$((10000 + RANDOM % 10000))
  cat >"$work/$node/berth.toml" <<TOML
[cluster]
name = "demo"
node = "$node"
addresses = ["127.0.0.1"]
lease = "${lease}s"

[cluster.labels]
zone = "zone-${node#node-}"

[cluster.etcd]
endpoints = ["http://127.0.0.1:$etcd_port"]

[cluster.peer]
address = "127.0.0.1:$peers_port"
ca = "$work/peers/$node/ca.pem"
cert = "$work/peers/$node/node.pem"
key = "$work/peers/$node/node.key"
TOML
  up "$node"
done
for node in "${nodes[@]}"; do
  for other in "${nodes[@]}"; do wait_for 30 "$other, seen from $node" shows "$node" nodes "\"$other\""; done
done
show node-1 cluster nodes
show node-2 cluster nodes --filter labels.zone==zone-3
show node-3 cluster status

say "a registry on loopback, with an image of busybox in it"
registry_with_busybox

say "images on different nodes, seen from each"
other=${image%busybox:1}tools:1
skopeo copy --insecure-policy -q --src-tls-verify=false --dest-tls-verify=false "docker://$image" "docker://$other"
# Not by a function: it would be a shell's child, and go on.
"$bin/berth" --address "$work/node-3/berth.sock" cluster events --kind images --kind containers >"$work/events" 2>&1 &
events_pid=$!
show node-1 pull -q "$image"
show node-2 pull -q "$image"
show node-2 pull -q "$other"
for node in "${nodes[@]}"; do
  wait_for 30 "images of node-1, seen from $node" shows "$node" images '"node":"node-1"'
  wait_for 30 "images of node-2, seen from $node" shows "$node" images "$other"
done
show node-3 cluster images
for node in "${nodes[@]}"; do show "$node" cluster where "$image"; done

say "containers on different nodes, seen from each"
for node in node-1 node-2; do
  touch "$work/$node/has-container"
  show "$node" run -d --name "demo-$node" "$image" sleep 600
done
for node in "${nodes[@]}"; do
  for other in node-1 node-2; do
    wait_for 30 "demo-$other, seen from $node" shows "$node" ps "\"demo-$other\".*\"running\""
  done
done
show node-3 cluster ps

say "what a node says of itself, asked from another: the same as the view says"
show node-1 cluster node node-2
for node in "${nodes[@]}"; do
  for other in "${nodes[@]}"; do show "$node" cluster node "$other" --compare; done
done

say "node-2 is killed, and has left the view within its lease time"
kill -9 $(processes_of node-2)
wait "${berthd_pid[node-2]}" 2>/dev/null || true
berthd_pid[node-2]=
began=$SECONDS
# Etcd looks for what has expired every half second, and the view takes its time.
wait_for $((lease + 5)) "node-2 gone" shows_not node-1 nodes '"node-2"'
echo "gone after $((SECONDS - began)) s, with a lease of $lease s"
for node in node-1 node-3; do wait_for 10 "images of node-2 gone" shows_not "$node" images '"node-2"'; done
show node-1 cluster nodes
show node-3 cluster ps
show node-3 cluster where "$image"

say "it comes back, with what it has, and its container that went on"
up node-2
wait_for 30 "node-2 again" shows node-1 ps '"demo-node-2".*"running"'
show node-1 cluster nodes
show node-1 cluster ps

say "clean up"
for node in node-1 node-2; do
  show "$node" rm -f "demo-$node"
  rm "$work/$node/has-container"
  show "$node" rmi "$image"
done
wait_for 30 "no containers" shows_not node-3 ps '"demo-'
kill "$events_pid" 2>/dev/null; wait "$events_pid" 2>/dev/null || true
events_pid=
printf 'node-3 $ berth cluster events (all the while)\n'
cat "$work/events"
grep -q "container" "$work/events" || { echo "no event was seen" >&2; exit 1; }

say "done: everything above ran on $(uname -sr), and is cleared away now"
