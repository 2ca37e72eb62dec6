#!/usr/bin/env bash
# Certificates with which the nodes of a cluster show each other who they are ([cluster.peer]; docs/cluster.md): an authority, if
# the folder has none yet, and a certificate for each node whose name is given that has none yet. Wants openssl.
#
#   deploy/peers.sh FOLDER NODE...
#
# Makes FOLDER/ca.pem, FOLDER/ca.key (keep it: it makes nodes) and FOLDER/NODE/{ca.pem,node.pem,node.key}, which is what a node gets.
set -euo pipefail

folder=$1; shift
mkdir -p "$folder"
cd "$folder"
umask 077

certificate() { # certificate EXTENSIONS CERT KEY OPTIONS...
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "${DAYS:-730}" \
    -config <(printf '%s\n' '[req]' 'distinguished_name=dn' '[dn]' "$1") -extensions made \
    -out "$2.new" -keyout "$3.new" "${@:4}" 2>openssl.log || { cat openssl.log >&2; exit 1; }
  rm openssl.log
  # Whoever finds a certificate finds its key, too.
  mv "$3.new" "$3"
  mv "$2.new" "$2"
}

[ -e ca.pem ] || certificate $'[made]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign' \
  ca.pem ca.key -subj "/CN=berth nodes"
for node; do
  [ -e "$node/node.pem" ] && continue
  mkdir -p "$node"
  certificate "[made]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=DNS:$node" "$node/node.pem" "$node/node.key" -subj "/CN=$node" -CA ca.pem -CAkey ca.key
  cp ca.pem "$node/ca.pem"
done
