# What the demos share, to be sourced: waiting, and a registry on loopback with an image of busybox in it.
#
# Wants `work`, a folder.

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

wait_for() { # wait_for SECONDS WHAT COMMAND...: asks until it succeeds
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "$what: not ready in time" >&2; return 1; }
    sleep 0.1
  done
}

put() { # put FILE: stores a blob in the layout, prints its digest and size
  local hex; hex=$(sha256sum "$1" | cut -d' ' -f1)
  cp "$1" "$layout/blobs/sha256/$hex"
  echo "sha256:$hex $(stat -c %s "$1")"
}

registry_with_busybox() { # starts it as `registry_pid` and sets `image`, what was pushed there
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
}
