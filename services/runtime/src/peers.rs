//! Calls of other processes: shims by ttrpc or gRPC, other services by gRPC. Only this module and the API
//! know the wire's types.

mod blobs;
mod options;
mod runs;
mod sandbox;
mod sandboxer;
mod sandboxes;
mod services;
mod shim;
mod starter;
mod transport;
mod usage;

pub use blobs::{CHECKPOINT, CHECKPOINT_CONFIG};
pub(crate) use options::encoded;
pub use options::{TaskOptions, task_options};
pub use sandbox::SandboxClient;
pub use sandboxer::RemoteSandboxer;
pub use services::Services;
pub use shim::{ShimClient, deleted};
pub use starter::Starter;
pub use usage::{tell_as_containerd, usage};
