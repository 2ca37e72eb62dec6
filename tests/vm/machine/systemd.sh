#!/bin/sh
# The story of a node under systemd: our units are started, read their configuration again, are killed and
# upgraded while a container runs; systemd makes a container's control group; AppArmor has a profile.
exec >/dev/ttyS0 2>&1
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
image=local/busybox:1
socket=/run/berth/berth.sock

# What hangs is shown before the machine is ended.
(
  sleep 300
  echo "the machine hangs, or another keeps it from its work"
  systemctl --no-pager --failed
  journalctl --no-pager -n 60
) &

answers() { until berth version >/dev/null 2>&1; do sleep 0.2; done; }
runs() { [ "$(pidof busybox-box)" = "$1" ] && berth exec box echo inside; }

# What the DaemonSet of deploy/kubernetes runs, as its pod does: the machine's root is at /host, process 1 is
# the machine's systemd.
mkdir /host
installs() { unshare --mount sh -c 'mount --rbind / /host && exec /berth/install.sh /berth /host' 2>/tmp/install; }
pids() { for service in distribution bundle runtime gateway; do systemctl show -P MainPID berth-$service; done; }

echo
echo "STORY installed=$(installs | wc -l) files"
cat /tmp/install
echo "STORY enabled=$(systemctl is-enabled berth.target), $(systemctl is-enabled berth.service)"
answers
for service in distribution bundle runtime gateway; do systemctl is-active berth-$service; done >/tmp/active
echo "STORY active=$(sort -u /tmp/active)"
berth import /image.tar >/dev/null || journalctl --no-pager -n 60
berth run -d --name box $image sh -c 'cp /bin/busybox /tmp/busybox-box; exec /tmp/busybox-box sleep 3600'
until pidof busybox-box >/dev/null; do sleep 0.2; done
box=$(pidof busybox-box)

# Writes another level of the log into the file.
level() { sed -i "s/^#* *level = .*/level = \"$1\"/" /etc/berth/berth.toml; }
# Waits until so many processes of these units have put it into force.
applied() {
  until [ "$(journalctl --no-pager -q -o cat -u "$1" BERTH_APPLIED=log.level | grep -c 'read the configuration again')" = "$2" ]; do sleep 0.2; done
  echo $2
}
level info,h2=warn
systemctl reload 'berth-*.service'
echo "STORY reloaded=$? $(applied 'berth-*.service' 4) $(runs "$box")"

# Kills the units of these services at once, and waits until all are there again.
killed() {
  for service; do systemctl show -P MainPID berth-$service >/tmp/$service; done
  kill -KILL $(for service; do cat /tmp/$service; done)
  for service; do
    until [ "$(systemctl show -P MainPID berth-$service)" != "$(cat /tmp/$service)" ] &&
      systemctl -q is-active berth-$service; do sleep 0.2; done
  done
  answers
}
killed runtime
killed gateway
echo "STORY killed=$(runs "$box")"
killed distribution bundle runtime gateway
echo "STORY all_killed=$(runs "$box"), $(berth run --rm $image echo anew)"

# What an editor leaves is a drop-in, which counts from the next start.
cat >/tmp/editor <<'end'
#!/bin/sh
printf '[Service]\nExecStart=\nExecStart=/usr/local/bin/berth-runtime --state /run/berth\n' >"$1"
end
chmod +x /tmp/editor
export SYSTEMD_EDITOR=/tmp/editor
systemctl edit berth-runtime

for service in distribution bundle runtime gateway; do
  cp /usr/local/bin/berth-$service /usr/local/bin/new && mv /usr/local/bin/new /usr/local/bin/berth-$service
  systemctl restart berth-$service || echo "$service does not start"
done
cp /usr/local/bin/containerd-shim-runc-v2 /usr/local/bin/new && mv /usr/local/bin/new /usr/local/bin/containerd-shim-runc-v2
answers
echo "STORY upgraded=$(runs "$box")"
echo "STORY edited=$(tr '\0' ' ' </proc/$(systemctl show -P MainPID berth-runtime)/cmdline)"
echo "STORY told=$(journalctl --no-pager -u berth-runtime -o cat | grep -c 'took over')"

echo "STORY fields=$(journalctl --no-pager -q PRIORITY=6 SYSLOG_IDENTIFIER=berth-runtime TARGET=berth_runtime::serve::parts BERTH_TASKS=1 -o cat | grep -c 'took over')"

# An update of the image: the programs that are others are exchanged, and all services take them up.
echo >>/berth/bin/berth-runtime
pids >/tmp/before
echo "STORY updated=$(installs) $(pids | grep -c -x -f /tmp/before)"
answers
echo "STORY after_update=$(runs "$box")"
pids >/tmp/before
echo "STORY same=$(installs)$(pids | grep -c -x -f /tmp/before) $(runs "$box")"

# systemd is asked for the control group, and has a unit of it.
image=docker.io/$image
ctr -a $socket run -d --runc-systemd-cgroup --cgroup system.slice:story:scoped --memory-limit 67108864 $image scoped sleep 600
echo "STORY scope=$(systemctl is-active story-scoped.scope) $(cat /sys/fs/cgroup/system.slice/story-scoped.scope/memory.max)"
echo "STORY measured=$(ctr -a $socket tasks metrics scoped | grep -c 'memory.usage_limit.*67108864\|memory.*67108864')"
ctr -a $socket tasks rm -f scoped >/dev/null
echo "STORY gone=$(systemctl is-active story-scoped.scope)"

# Of ctr's own profile, which it has the kernel load.
confined="ctr -a $socket run --rm --apparmor-default-profile story $image confined"
echo "STORY profile=$($confined cat /proc/self/attr/current)"
echo "STORY denied=$($confined sh -c 'echo 1 2>/dev/null >/proc/sys/kernel/panic || echo yes')"

# What the page for operators shows, as it is written there.
mkdir -p /usr/local/sbin
sh -ex /shown >/tmp/shown 2>&1
shown=$?
[ $shown = 0 ] || cat /tmp/shown
answers
echo "STORY shown=$shown $(runs "$box")"
echo "STORY linked=$(/usr/local/sbin/containerd --version | cut -d ' ' -f 1,2)"

# Debian's own unit of containerd has us started now, beside the node of before.
theirs() { berth --address /run/containerd/containerd.sock "$@"; }
main() { readlink /proc/$(systemctl show -P MainPID containerd.service)/exe; }
echo "STORY debian=$(systemctl is-active containerd.service) $(main) $(ctr version | grep -c Server:)"
theirs import /image.tar >/dev/null
theirs run -d --name theirs local/busybox:1 sh -c 'cp /bin/busybox /tmp/busybox-theirs; exec /tmp/busybox-theirs sleep 3600'
until pidof busybox-theirs >/dev/null; do sleep 0.2; done
pidof busybox-theirs >/tmp/theirs
systemctl stop containerd.service
echo "STORY debian_stopped=$(systemctl is-active containerd.service) $(ctr version 2>&1 | grep -c Server:) $(pidof busybox-theirs | grep -c -x -f /tmp/theirs)"
systemctl start containerd.service
echo "STORY debian_again=$(ctr tasks ls | grep -c 'theirs .*RUNNING') $(theirs exec theirs echo inside) $(pidof busybox-theirs | grep -c -x -f /tmp/theirs)"
theirs rm -f theirs
systemctl stop containerd.service

# The other way to run a node takes over, and the first again.
BERTH_UNIT=berth.service installs
answers
echo "STORY together=$(systemctl is-active berth-runtime.service) $(runs "$box")"
# berthd and its services.
level info
systemctl reload berth.service
echo "STORY reloaded_together=$? $(applied berth.service 5) $(runs "$box")"
systemctl start berth.target
answers
echo "STORY apart=$(systemctl is-active berth.service) $(runs "$box")"

# Pods below systemd: a slice for each, as the kubelet names them, and a scope in it for each container.
sed -i -e '/^\[cri\]$/a enabled = true' -e '/^\[cri.runtimes.runc\]$/a systemd_cgroup = true' /etc/berth/berth.toml
systemctl restart berth-cri berth-gateway
answers
echo "STORY pod_driver=$(berth --json cri config | tr -d ' \n')"
slice=/kubepods.slice/kubepods-podstory.slice
cat >/pod.json <<END
{"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "log_directory": "/tmp",
 "linux": {"cgroup_parent": "$slice", "security_context": {"namespace_options": {"network": "NODE"}}}}
END
cat >/container.json <<END
{"metadata": {"name": "c"}, "image": {"image": "$image"}, "log_path": "c.log", "command": ["sleep", "600"],
 "linux": {"resources": {"memory_limit_in_bytes": 67108864},
  "security_context": {"apparmor": {"profile_type": "Localhost", "localhost_ref": "story"}}}}
END
berth -n k8s.io import /image.tar >/dev/null
pod=$(berth cri runp /pod.json)
container=$(berth cri create $pod /container.json /pod.json)
berth cri start $container >/dev/null
scope=cri-containerd-$container.scope
echo "STORY pod_scope=$(systemctl is-active $scope) $(cat /sys/fs/cgroup$slice/$scope/memory.max)"
berth cri update --memory 33554432 $container >/dev/null
echo "STORY pod_updated=$(systemctl show -P MemoryMax $scope) $(cat /sys/fs/cgroup$slice/$scope/memory.max)"
echo "STORY pod_profile=$(berth cri exec $container cat /proc/self/attr/current)"
killed cri
echo "STORY pod_killed=$(berth cri ps | grep -c Running) $(berth cri exec $container echo inside)"
echo "STORY pod_measured=$(berth --json cri statsp $pod | tr -d ' \n' | grep -o '"usage_bytes":{"value":"*[1-9]' | wc -l)"
berth cri rmp -f $pod >/dev/null
echo "STORY pod_gone=$(systemctl is-active $scope) $(find /sys/fs/cgroup$slice -name '*.scope' 2>/dev/null | wc -l)"

# The target's own end is no end of what is part of it.
systemctl stop berth.target
while pidof berth-cri berth-gateway berth-runtime berth-bundle berth-distribution >/dev/null; do sleep 0.2; done
echo "STORY stopped=$([ "$(pidof busybox-box)" = "$box" ] && echo "the container runs")"
echo "STORY failed=$(systemctl --no-legend --failed list-units 'berth*' | wc -l)"
echo "STORY end=yes"
systemctl poweroff -ff
