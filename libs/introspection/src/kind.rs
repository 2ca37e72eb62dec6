//! containerd's types of plugins, as far as there are such parts here.

#![allow(missing_docs, reason = "each says what it is")]

pub const CONTENT: &str = "io.containerd.content.v1";
pub const CONTAINER_MONITOR: &str = "io.containerd.monitor.container.v1";
pub const CRI: &str = "io.containerd.cri.v1";
pub const DIFFER: &str = "io.containerd.differ.v1";
pub const EVENT: &str = "io.containerd.event.v1";
pub const GC: &str = "io.containerd.gc.v1";
pub const GRPC: &str = "io.containerd.grpc.v1";
pub const IMAGE_VERIFIER: &str = "io.containerd.image-verifier.v1";
pub const LEASE: &str = "io.containerd.lease.v1";
pub const METADATA: &str = "io.containerd.metadata.v1";
pub const METRICS: &str = "io.containerd.metrics.v1";
pub const MOUNT_HANDLER: &str = "io.containerd.mount-handler.v1";
pub const MOUNT_MANAGER: &str = "io.containerd.mount-manager.v1";
pub const RUNTIME: &str = "io.containerd.runtime.v2";
pub const SANDBOX_CONTROLLER: &str = "io.containerd.sandbox.controller.v1";
pub const SANDBOX_STORE: &str = "io.containerd.sandbox.store.v1";
pub const SERVER: &str = "io.containerd.server.v1";
pub const SERVICE: &str = "io.containerd.service.v1";
pub const SHIM: &str = "io.containerd.shim.v1";
pub const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
pub const STREAMING: &str = "io.containerd.streaming.v1";
pub const TRANSFER: &str = "io.containerd.transfer.v1";
pub const TTRPC: &str = "io.containerd.ttrpc.v1";
pub const WARNING: &str = "io.containerd.warning.v1";
