//! The OCI runtime spec of a container, made of an image's config, a caller's options and
//! containerd's defaults.
//!
//! Owns: those defaults (capabilities, masked and read-only paths, devices, limits, mounts, the
//! seccomp profile), how they combine with an image's config, and how a user's name becomes
//! numbers. Must not know: any wire type, where images and snapshots are kept, which program
//! asks. The command line builds its specs here, and `berth-cri-spec` those of pods.
//!
//! [`build`] is the way in; who has rules of their own begins with [`base`]. It reads users and groups through a [`RootView`], which looks into
//! the layers of a snapshot without mounting them and cannot be led out of them.

mod base;
mod capabilities;
mod defaults;
mod devices;
mod error;
mod image;
mod options;
mod overlay;
mod seccomp;
mod spec;
mod users;

pub use base::{base, base_mount};
pub use capabilities::{capability, default_capabilities, held_capabilities};
pub use devices::{all_devices_allowed, device_nodes, device_rule, host_devices};
pub use error::Error;
pub use image::ImageConfig;
pub use oci_spec::runtime::{LinuxDevice, Mount, Process, Spec};
pub use options::{BindMount, DeviceRequest, Limits, Network, Options, TmpfsMount};
pub use overlay::RootView;
pub use seccomp::default_profile;
pub use spec::{build, exec_process};
pub use users::{check_user_files, member_groups, user_ids};

/// The type URL under which containerd's clients store a spec in a container record.
pub const SPEC_TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// The type URL of a spec's process, which `exec` sends.
pub const PROCESS_TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
