#!/bin/sh
# The story of a container on a machine that has only cgroup v2. Each line that starts with STORY
# is compared by the test.
mkdir -p /etc/berth
printf '[metrics]\naddress = "127.0.0.1:1338"\n' >/etc/berth/berth.toml
. /begin

image=local/busybox:1
rootfs() { echo /run/berth/runtime/default/$1/rootfs; }
group() { echo /sys/fs/cgroup/default/$1; }
# Asks for the metrics until this container is among them: its shim has a second to answer.
scrape() {
  until wget -q -O /tmp/metrics http://127.0.0.1:1338/metrics && [ "$(told $1 berth_container_pids)" ] &&
    wget -q -O /tmp/theirs http://127.0.0.1:1338/v1/metrics && [ "$(told $1 container_pids_current)" ]; do sleep 0.2; done
}
# What is told of a container by the name of a metric.
told() { grep -h "^$2{.*\"$1\"" /tmp/metrics /tmp/theirs 2>/dev/null | sed 's/.* //'; }

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

# It forks until it cannot. Its first process goes on, and can do without another.
fork='mkfifo /go; (while :; do sleep 600 & done); echo over; read word </go; echo "goes $word"; exec sleep 600'
berth run -d --name forks --pids-limit 9 $image sh -c "$fork" >/dev/null 2>&1
until berth logs forks 2>&1 | grep -q over; do sleep 0.1; done
echo "STORY fork=$(berth logs forks 2>&1 | grep -v over)"
echo "STORY refused=$(awk '$1 == "max" && $2 > 0 { print "counted" }' $(group forks)/pids.events)"
scrape forks
echo "STORY forked=$(told forks berth_container_pids) of $(told forks berth_container_pids_limit), $(cat $(group forks)/pids.current)"
echo on >"$(rootfs forks)/go"
until berth logs forks 2>&1 | grep -q 'goes on'; do sleep 0.1; done
echo "STORY apart=$(berth run --rm $image echo elsewhere 2>&1)"
echo "STORY went=$(berth ps | grep -c forks)"
berth rm -f forks
. /end
