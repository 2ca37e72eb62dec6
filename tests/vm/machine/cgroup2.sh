#!/bin/sh
# The story of a container on a machine that has only cgroup v2. Each line that starts with STORY
# is compared by the test.
. /begin

image=local/busybox:1
berth import /image.tar >/tmp/import 2>&1 || cat /tmp/import /tmp/log
echo "STORY hello=$(berth run --rm $image echo hello 2>&1)"
echo "STORY memory=$(berth run --rm -m 64m $image cat /sys/fs/cgroup/memory.max 2>&1)"
echo "STORY cpus=$(berth run --rm --cpus 0.5 $image cat /sys/fs/cgroup/cpu.max 2>&1)"
echo "STORY pids=$(berth run --rm --pids-limit 33 $image cat /sys/fs/cgroup/pids.max 2>&1)"
berth events >/tmp/events 2>&1 &
until grep -q /tasks/delete /tmp/events; do berth run --rm $image true; done
# Enough for runc itself, which lies in memory before it becomes the program.
berth run --rm --name mem -m 48m $image sh -c 'x=a; while :; do x=$x$x; done' >/dev/null 2>&1
echo "STORY oom=$?"
until grep '"mem"' /tmp/events | grep -q /tasks/delete; do sleep 0.1; done
told=$(grep '"mem"' /tmp/events | grep -o '/tasks/oom\|/tasks/exit')
echo "STORY told=$(echo $told)"
berth run -d --name box $image sleep 600 >/dev/null 2>&1
berth pause box
echo "STORY frozen=$(grep -c 'frozen 1' /sys/fs/cgroup/default/box/cgroup.events)"
berth unpause box
echo "STORY exec=$(berth exec box echo inside 2>&1)"
echo "STORY stats=$(berth stats --no-stream 2>&1 | grep -c box)"
berth rm -f box
. /end
