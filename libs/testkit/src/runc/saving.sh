#!/bin/sh
# runc, but for checkpoint and restore, for machines whose kernel criu cannot run on. A checkpoint
# keeps the file /state of a container; a restore runs the container anew, with that as /restored.
# What it was asked for is noted beside this program, in calls. While there is a file hold beside it
# a checkpoint or a restore waits, and makes a file held. A file refuse has one resume fail, and goes.
echo "$*" >>"$(dirname "$0")/calls"
while :; do
  case $1 in
    --root | --log | --log-format) global="$global $1 $2" && shift 2 ;;
    --systemd-cgroup) global="$global $1" && shift ;;
    *) break ;;
  esac
done
case $1 in
  checkpoint | restore) verb=$1 && shift ;;
  resume)
    rm "$(dirname "$0")/refuse" 2>/dev/null && echo "resume: refused" >&2 && exit 1
    exec runc $global "$@"
    ;;
  *) exec runc $global "$@" ;;
esac
while [ $# -gt 1 ]; do
  case $1 in
    --image-path) image=$2 && shift 2 ;;
    --work-path) work=$2 && shift 2 ;;
    --bundle) bundle=$2 && shift 2 ;;
    --pid-file | --console-socket) run="$run $1 $2" && shift 2 ;;
    --parent-path | --empty-ns) shift 2 ;;
    --leave-running) leave=1 && shift ;;
    *) shift ;;
  esac
done
fail() {
  echo "$verb: $*" >&2
  exit 1
}
hold() {
  while [ -e "$(dirname "$0")/hold" ]; do : >"$(dirname "$0")/held" && sleep 0.05; done
}
if [ $verb = checkpoint ]; then
  bundle=$(runc $global state "$1" | sed -n 's/.*"bundle": "\(.*\)".*/\1/p')
  mkdir -p "$image" "$work"
  echo "dumped $1" >"$work/dump.log"
  hold
  cp "$bundle/rootfs/state" "$image/state" || fail "no state"
  head -c 3000000 /dev/zero >"$image/pages-1.img"
  [ -n "$leave" ] || runc $global delete --force "$1"
else
  hold
  [ "$(wc -c <"$image/pages-1.img")" = 3000000 ] || fail "no pages"
  cp "$image/state" "$bundle/rootfs/restored" || fail "no state"
  exec runc $global run --detach --no-subreaper --bundle "$bundle" $run "$1"
fi
