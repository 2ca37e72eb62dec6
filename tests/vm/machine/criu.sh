#!/bin/sh
# The story of a container that is saved by criu and goes on from there. Each line that starts with
# STORY is compared by the test.
mkdir -p /etc/berth
printf '[cri]\nenabled = true\n' >/etc/berth/berth.toml
. /begin
# In this order: each needs those before it.
for module in libcrc32c nfnetlink nf_tables unix_diag inet_diag tcp_diag udp_diag raw_diag \
  af_packet_diag netlink_diag; do insmod /$module.ko; done

berth import /image.tar >/tmp/import 2>&1 || cat /tmp/import
image=docker.io/local/busybox:1
ctr="ctr -a /run/berth/berth.sock"
count='i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.1; done'
counted() { cat /run/berth/runtime/default/$1/rootfs/count; }
$ctr run -d --net-host $image first sh -c "$count"
until [ "$(counted first)" -ge 200 ] 2>/dev/null; do sleep 0.1; done
# What is saved is this much at least.
at=$(counted first)
$ctr containers checkpoint --task first local/saved:1
echo "STORY saved=$?"
find /run/berth -name criu-dump.log -exec tail -n 20 {} \;
berth rm -f first >/dev/null 2>&1
$ctr containers restore --live second local/saved:1
echo "STORY restored=$?"
# It has not begun anew: the first that is read is no less. A file that is just being written is empty.
now=
until [ -n "$now" ]; do now=$(counted second 2>/dev/null) || now=; [ -n "$now" ] || sleep 0.1; done
[ "$now" -ge "$at" ] && echo "STORY count=went on"
echo "saved at $at or more, now at $now"
berth rm -f second >/dev/null 2>&1

# The same of a pod, as a kubelet asks for it.
berth -n k8s.io import /image.tar >/tmp/import 2>&1 || cat /tmp/import
cat >/pod.json <<END
{"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "log_directory": "/tmp",
 "linux": {"security_context": {"namespace_options": {"network": "NODE"}}}}
END
cat >/container.json <<END
{"metadata": {"name": "c"}, "image": {"image": "$image"}, "log_path": "c.log",
 "command": ["sh", "-c", "$count"], "linux": {}}
END
counted() { berth cri exec $1 cat /count; }
pod=$(berth cri runp /pod.json)
container=$(berth cri create $pod /container.json /pod.json)
berth cri start $container >/dev/null
until [ "$(counted $container)" -ge 20 ] 2>/dev/null; do sleep 0.1; done
at=$(counted $container)
mkdir /saved
berth cri checkpointp $pod /saved >/dev/null
echo "STORY pod_saved=$?"
# It goes on.
before=$(counted $container)
until [ "$(counted $container)" -gt "$before" ] 2>/dev/null; do sleep 0.1; done
berth cri rmp -f $pod >/dev/null
berth cri restorep /saved /pod.json /container.json >/restored
echo "STORY pod_restored=$?"
{ read pod; read container; } </restored
berth cri start $container >/dev/null
echo "STORY pod_started=$?"
now=
until [ -n "$now" ]; do now=$(counted $container 2>/dev/null) || now=; [ -n "$now" ] || sleep 0.1; done
[ "$now" -ge "$at" ] && echo "STORY pod_count=went on"
until [ "$(counted $container)" -gt "$now" ] 2>/dev/null; do sleep 0.1; done
echo "saved at $at or more, now at $now"
# The control groups of pods, and whether somebody is in them: nobody is in that which was saved.
groups() {
  (cd /sys/fs/cgroup/k8s.io && find . -mindepth 1 -type d | sort | while read -r group; do
    [ -n "$(cat $group/cgroup.procs)" ] && echo "$group used" || echo "$group empty"
  done)
}
own=$(printf "./$pod used\n./$container used\n" | sort)
[ "$(groups)" = "$own" ] && echo "STORY pod_groups=own" || groups
berth cri rmp -f $pod >/dev/null
echo "STORY pod_groups_left=$(groups | wc -l)"
echo "STORY pod_left=$(find /var/lib/berth/cri/checkpoints /var/lib/berth/cri/containers -type f | wc -l)"
echo "STORY left=$(find /var/lib/berth/runtime/checkpoints -type f | wc -l)"
. /end
