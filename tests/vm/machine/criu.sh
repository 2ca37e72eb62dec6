#!/bin/sh
# The story of a container that is saved by criu and goes on from there. Each line that starts with
# STORY is compared by the test.
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
echo "STORY left=$(find /var/lib/berth/runtime/checkpoints -type f | wc -l)"
. /end
