# berth: build, try, test and install. `make help` lists the targets.

# libprotobuf-dev has the definitions that protoc (protobuf-compiler) includes when etcd's client is built.
PACKAGES := build-essential runc docker-registry containerd busybox-static skopeo \
            containernetworking-plugins iptables apache2-utils openssl mold jq iproute2 cpio qemu-system-x86 \
            strace prometheus docker.io protobuf-compiler e2fsprogs xfsprogs btrfs-progs erofs-utils criu \
            systemd docker-compose apparmor curl etcd-server etcd-client faketime libprotobuf-dev
# What containerd-stress is built with, of which Debian has the sources alone.
TOOLS    := golang-go golang-github-containerd-containerd-dev
# What images of docker-compose.yml are made of where there is no network.
IMAGES   := tini ca-certificates
# Tests that take minutes and no more than one processor, beside which the others run.
LONG     := --test vm --test kills --test failpoints --test faults
PREFIX   ?= /usr/local
BINARIES := berth berthd berth-gateway berth-distribution berth-bundle berth-runtime berth-cluster berth-cri containerd-shim-runc-v2
UNITS    := deploy/berth.service $(wildcard deploy/systemd/*)
TARGET   := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup tools build demo demo-cluster test test-long test-newer test-skew test-vm compose-test lint bench compare scale install run

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## install the Debian packages that building and testing need, where they are missing
	@deploy/setup.sh $(PACKAGES)

tools: setup ## build the clients that the tests run and that Debian does not build
	@deploy/setup.sh $(TOOLS)
	@tests/client/containerd-stress.sh "$(TARGET)/tools"
	@libs/testkit/src/kubernetes/fetch.sh "$(TARGET)/tools/kubectl"
	@libs/testkit/src/kubernetes/node/install.sh "$(TARGET)/tools/kubernetes-javascript"

build: setup ## build everything, optimised
	cargo build --workspace --release --locked
	@! grep -l -e before-commit -e "ingest's card" -e BERTH_FAILPOINT $(addprefix $(TARGET)/release/,$(BINARIES))

demo: build ## start a node, push an image to a loopback registry, pull it, run it, look at it, clean up
	deploy/demo.sh "$(TARGET)/release" $(IMAGE)

demo-cluster: build ## three nodes and etcd on this machine: images on different nodes, seen from each; one is killed and leaves (needs root)
	deploy/demo-cluster.sh "$(TARGET)/release"

lint: ## formatting and lints; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --test newer --test skew --test compose $(LONG) --locked -- -D warnings

test: tools lint ## everything: lints, unit tests, stories with real clients, kills, collections, cgroup v2 (needs root)
	cargo build --workspace --locked
	cargo test --workspace --locked --no-run
	cargo test --workspace --locked $(LONG) --no-run
	@cargo test --workspace --locked $(LONG) >"$(TARGET)/long.log" 2>&1 & long=$$!; \
	cargo test --workspace --locked; rest=$$?; \
	wait $$long; long=$$?; cat "$(TARGET)/long.log"; exit $$(( rest ? rest : long ))

test-long: tools scale ## eight times the kills -9 of services that `make test` makes, ten times its load, a hundred pods, 10,000 commands that fail, and simulated clusters (needs root)
	cargo build --workspace --locked
	BERTH_KILLS=200 cargo test --workspace --test kills --locked -- --nocapture
	BERTH_LOAD_SECONDS=400 cargo test --workspace --test client --locked -- --nocapture
	BERTH_PODS=100 BERTH_ROUNDS=3 BERTH_FIRST=1 cargo test --workspace -p berth-stories --test cri --locked -- --nocapture many
	BERTH_FAILURES=10000 cargo test --workspace -p berth-stories --test cri --locked -- --nocapture failures

test-newer: setup ## ctr 2 on a node and on a containerd 2 beside it, both of Debian's next release (needs root)
	@tests/newer/fetch.sh "$(TARGET)/tools/newer"
	cargo build --workspace --locked
	PATH="$(abspath $(TARGET))/tools/newer/bin:$$PATH" CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 \
		cargo test --workspace --test newer --locked

test-skew: setup ## stores and shims of the previous landing under the services of this one (needs root, builds both)
	tests/skew/build.sh "$(TARGET)/skew"
	cargo build --workspace --locked
	BERTH_PREVIOUS="$(abspath $(TARGET))/skew" BERTH_BIN_DIR="$(abspath $(TARGET))/skew/bin" \
		cargo test --workspace --test skew --locked -- --test-threads 1

test-vm: setup ## what this machine's kernel cannot do, in emulated ones: cgroup v2, criu, systemd as PID 1, AppArmor
	cargo build --workspace --locked
	cargo test --workspace --test vm --locked -- --nocapture

compose-test: setup ## docker-compose.yml and the images of deploy/docker, by Debian's dockerd on a node, without a network (needs root)
	@deploy/setup.sh $(IMAGES)
	cargo build --workspace --locked
	cargo test --workspace --test compose --locked -- --test-threads 1

bench: setup ## criterion benches of the hot paths
	cargo bench --workspace --locked

compare: build ## berth beside Debian's containerd, in turns: times, ratios, memory (needs root; some minutes)
	"$(TARGET)/release/berth-measure" $(SECTIONS)

scale: setup ## clusters of 100, 1,000 and 5,000 simulated nodes on one etcd: writes, memory, latency (some minutes)
	cargo build --release --locked -p berth-scale
	"$(TARGET)/release/berth-scale" --nodes 100,1000 $(SCALE)
	"$(TARGET)/release/berth-scale" --nodes 5000 --changes 0.2 --readers 2 $(SCALE)

install: build ## install the binaries, the units and the documented configuration
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/berth $(DESTDIR)/etc/systemd/system
	for name in $(BINARIES); do \
		install -m 0755 "$(TARGET)/release/$$name" "$(DESTDIR)$(PREFIX)/bin/$$name.new" && \
		mv -f "$(DESTDIR)$(PREFIX)/bin/$$name.new" "$(DESTDIR)$(PREFIX)/bin/$$name" || exit 1; done
	test -e $(DESTDIR)/etc/berth/berth.toml || install -m 0644 deploy/berth.toml $(DESTDIR)/etc/berth/berth.toml
	install -m 0644 $(UNITS) $(DESTDIR)/etc/systemd/system
	sed -i 's|/usr/local/bin/|$(PREFIX)/bin/|' $(addprefix $(DESTDIR)/etc/systemd/system/,$(notdir $(UNITS)))

run: build ## run the bundle in the foreground on its default folders
	"$(TARGET)/release/berthd"
