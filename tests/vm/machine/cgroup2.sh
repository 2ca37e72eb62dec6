#!/bin/sh
# The story of a container on a machine that has only cgroup v2. Each line that starts with STORY
# is compared by the test.
mkdir -p /etc/berth
printf '[metrics]\naddress = "127.0.0.1:1338"\n[cri]\nenabled = true\n' >/etc/berth/berth.toml
. /begin
insmod /brd.ko rd_nr=1 rd_size=8192

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
# Whether both are the same number, which is not 0. The first is in units of so many of the second.
same() {
  awk -v told="$1" -v is="$2" -v units="${3:-1}" 'BEGIN {
    apart = told * units - is
    print ((told != "" && is > 0 && apart < 0.5 && apart > -0.5) ? "same" : "told " told ", is " is) }'
}

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

# It uses of everything, and is frozen, so that nothing of it changes while it is compared.
use='dd if=/dev/ram0 of=/dev/null bs=64k count=32 iflag=direct
  dd if=/dev/zero of=/dev/ram0 bs=64k count=16 oflag=direct
  kept=$(head -c 4194304 /dev/zero | tr "\0" a)
  touch /used
  sleep 600 & wait'
berth run -d --name box --privileged -m 64m --cpus 0.2 --pids-limit 33 $image sh -c "$use" >/dev/null 2>&1
until [ -e "$(rootfs box)/used" ]; do sleep 0.1; done
berth pause box
echo "STORY frozen=$(grep -c 'frozen 1' $(group box)/cgroup.events)"
value() { awk -v key="$2" '$1 == key { print $2 }' $(group box)/$1; }
moved() { sed -n "s/^1:0 .*$1=\([0-9]*\).*/\1/p" $(group box)/io.stat; }
files() { (cd $(group box) && cat cpu.stat memory.current memory.stat memory.events pids.current io.stat); }
# The kernel may still be settling what it has counted of the memory.
until files >/tmp/before && scrape box && files >/tmp/after && cmp -s /tmp/before /tmp/after; do :; done
usage=$(value cpu.stat usage_usec) throttled=$(value cpu.stat throttled_usec)
memory=$(cat $(group box)/memory.current) read=$(moved rbytes) written=$(moved wbytes)
echo "STORY told_cpu=$(same "$(told box berth_container_cpu_seconds_total)" "$usage" 1000000)"
echo "STORY told_throttled=$(same "$(told box berth_container_cpu_throttled_seconds_total)" "$throttled" 1000000)"
echo "STORY told_memory=$(same "$(told box berth_container_memory_bytes)" $((memory - $(value memory.stat inactive_file))))"
echo "STORY told_pids=$(same "$(told box berth_container_pids)" "$(cat $(group box)/pids.current)")"
echo "STORY told_read=$(same "$(told box berth_container_read_bytes_total)" "$read") $read"
echo "STORY told_written=$(same "$(told box berth_container_written_bytes_total)" "$written") $written"
limits=$(told box berth_container_memory_limit_bytes),$(told box berth_container_pids_limit)
echo "STORY told_limits=$limits"
echo "STORY held=$([ "$memory" -ge 4194304 ] && [ "$memory" -le 67108864 ] && echo "what it keeps")"
echo "STORY their_cpu=$(same "$(told box container_cpu_usage_usec_microseconds)" "$usage")"
echo "STORY their_memory=$(same "$(told box container_memory_usage_bytes)" "$memory")"
echo "STORY their_pids=$(same "$(told box container_pids_current)" "$(cat $(group box)/pids.current)")"
echo "STORY their_io=$(same "$(told box container_io_rbytes_bytes)" "$read"), $(same "$(told box container_io_wbytes_bytes)" "$written")"
berth unpause box
# Of what moves between two looks. In a container of its own, without a limit that keeps it from moving anything.
# Each block that it reads it writes, so that both go on whenever it does.
moves='while :; do dd if=/dev/ram0 of=/dev/ram0 bs=4k count=2000 iflag=direct oflag=direct conv=notrunc 2>/dev/null; done'
berth run -d --name moves --privileged $image sh -c "$moves" >/dev/null 2>&1
until [ "$(sed -n 's/^1:0 .*wbytes=\([0-9]*\).*/\1/p' $(group moves)/io.stat)" -gt 0 ] 2>/dev/null; do sleep 0.1; done
berth --json top --once >/tmp/top
rate() { tr -d '\n' </tmp/top | tr '{' '\n' | grep '"moves"' | grep -o "\"$1\": *[0-9]*" | awk -F: '{ print ($2 > 0 ? "moves" : "rests") }'; }
echo "STORY rates=$(rate read_per_second) $(rate written_per_second)"
[ "$(rate read_per_second)" = moves ] || cat /tmp/top
berth rm -f moves
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

# A pod, as a kubelet asks for it, which has made its control group before.
controllers='+cpu +io +memory +pids'
pod_group=/sys/fs/cgroup/kubepods/pod1
echo "$controllers" >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/kubepods
echo "$controllers" >/sys/fs/cgroup/kubepods/cgroup.subtree_control
mkdir $pod_group
echo "$controllers" >$pod_group/cgroup.subtree_control
echo 134217728 >$pod_group/memory.max
cat >/pod.json <<END
{"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "log_directory": "/tmp",
 "linux": {"cgroup_parent": "/kubepods/pod1", "security_context": {"namespace_options": {"network": "NODE"}}}}
END
keeps='kept=$(head -c 4194304 /dev/zero | tr "\\0" a); echo keeps; sleep 600 & wait'
takes='x=a; while :; do x=$x$x; done'
# Writes down a container: its name, what it does, its limits.
container() {
  cat >/$1.json <<END
{"metadata": {"name": "$1"}, "image": {"image": "docker.io/$image"}, "log_path": "$1.log",
 "command": ["sh", "-c", "$(echo "$2" | sed 's/\\/\\\\/g; s/"/\\"/g')"], "linux": {"resources": {$3}}}
END
}
berth -n k8s.io import /image.tar >/tmp/import 2>&1 || cat /tmp/import
pod=$(berth cri runp /pod.json)
container keeps "$keeps" '"memory_limit_in_bytes": 67108864, "cpu_period": 100000, "cpu_quota": 20000, "cpu_shares": 512,
  "unified": {"memory.high": "50331648", "pids.max": "40"}'
keeps=$(berth cri create $pod /keeps.json /pod.json)
berth cri start $keeps >/dev/null
until berth cri logs $keeps | grep -q keeps; do sleep 0.1; done
limits() { (cd $pod_group/$keeps && cat memory.max cpu.max cpu.weight memory.high pids.max | tr '\n' ' '); }
echo "STORY pod_limits=$(limits)"
berth cri update --memory 41943040 --cpu-period 50000 --cpu-quota 25000 $keeps >/dev/null
echo "STORY pod_updated=$(limits)"
# How long its processors were waited for; the shares of the last minutes beside that move on their own.
waited() { sed -n 's/^some .*total=//p' $pod_group/$keeps/cpu.pressure; }
# All of the pod stands still while what is told of it is compared.
echo 1 >$pod_group/cgroup.freeze
until grep -q 'frozen 1' $pod_group/cgroup.events; do sleep 0.1; done
pod_files() { (cd $pod_group && cat cpu.stat memory.current memory.stat */cpu.stat */memory.current */memory.stat) && waited; }
# The last number of this name: a pod's own come after those of its containers.
last() { tr -d ' \n' </tmp/$1 | grep -o "\"$2\":{\"value\":[0-9]*" | tail -n 1 | sed 's/.*[^0-9]//'; }
# How long processors were waited for.
pressure() { tr -d ' \n' </tmp/told | grep -o '"cpu":{"psi":{.*"io":' | grep -o '"Some":{[^}]*' | sed 's/.*"Total"://'; }
until pod_files >/tmp/before && berth --json cri stats $keeps >/tmp/told && berth --json cri statsp $pod >/tmp/told_pod &&
  pod_files >/tmp/after && cmp -s /tmp/before /tmp/after; do :; done
working() { echo $(($(cat $1/memory.current) - $(awk '$1 == "inactive_file" { print $2 }' $1/memory.stat))); }
used() { awk '$1 == "usage_usec" { print $2 }' $1/cpu.stat; }
echo "STORY pod_told_cpu=$(same "$(last told usage_core_nano_seconds)" $(($(used $pod_group/$keeps) * 1000)))"
echo "STORY pod_told_memory=$(same "$(last told working_set_bytes)" $(working $pod_group/$keeps))"
echo "STORY pod_told_all_cpu=$(same "$(last told_pod usage_core_nano_seconds)" $(($(used $pod_group) * 1000)))"
echo "STORY pod_told_all_memory=$(same "$(last told_pod working_set_bytes)" $(working $pod_group))"
echo "STORY pod_told_pressure=$(same "$(pressure)" $(($(waited) * 1000)))"
echo 0 >$pod_group/cgroup.freeze
container takes "$takes" '"memory_limit_in_bytes": 50331648'
takes=$(berth cri create $pod /takes.json /pod.json)
berth cri start $takes >/dev/null
told() { berth --json cri inspect $takes | tr -d ' \n' | grep -o "\"$1\":\"*[A-Za-z0-9]*" | sed 's/.*[^A-Za-z0-9]//'; }
until [ "$(told reason)" ]; do sleep 0.1; done
echo "STORY pod_oom=$(told reason) $(told exit_code)"
berth cri rmp -f $pod >/dev/null
echo "STORY pod_gone=$(find $pod_group -mindepth 1 -type d | wc -l)"
. /end
