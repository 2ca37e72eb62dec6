#!/usr/bin/env bash
# Certificates with which the nodes of a cluster show each other who they are ([cluster.peer]; docs/cluster.md): an authority, if
# the folder has none yet, good for ten years, and a certificate for each node whose name is given that has none yet, or one that
# ends within a month, good for DAYS (two years). Wants openssl 3.
#
#   deploy/peers.sh FOLDER NODE...
#
# Makes FOLDER/ca.pem, FOLDER/ca.key (keep it: it makes nodes) and FOLDER/NODE/{ca.pem,node.pem,node.key}, which is what a node gets.
set -euo pipefail

folder=$1; shift
mkdir -p "$folder"
cd "$folder"
umask 077

certificate() { # certificate DAYS EXTENSIONS CERT KEY OPTIONS...
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$1" \
    -config <(printf '%s\n' '[req]' 'distinguished_name=dn' '[dn]' "$2") -extensions made \
    -out "$3.new" -keyout "$4.new" "${@:5}" 2>openssl.log || { cat openssl.log >&2; exit 1; }
  rm openssl.log
  # Whoever finds a certificate finds its key, too.
  mv "$4.new" "$4"
  mv "$3.new" "$3"
}

[ -e ca.pem ] || certificate 3650 $'[made]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign' \
  ca.pem ca.key -subj "/CN=berth nodes"
for node; do
  openssl x509 -checkend $((30 * 24 * 3600)) -noout -in "$node/node.pem" >/dev/null 2>&1 && continue
  mkdir -p "$node"
  certificate "${DAYS:-730}" "[made]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=DNS:$node" "$node/node.pem" "$node/node.key" -subj "/CN=$node" -CA ca.pem -CAkey ca.key
  cp ca.pem "$node/ca.pem"
done
