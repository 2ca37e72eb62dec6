//! The OCI runtime specs of pods and their containers, made of the messages of Kubernetes' CRI as
//! containerd's CRI makes them.
//!
//! Owns: what each field of a request becomes in a spec, which requests are refused and in which
//! words; the small rules beside it (names, labels, log paths, stop signals, resources as a status
//! shows them). Must not know: gRPC, stores, processes, images; what of the node or the pod a spec
//! depends on comes in as [`Node`], [`PodFacts`] and [`ContainerFacts`].
//!
//! [`pod`] makes the spec of a pod's own process, [`container`] that of a container, which
//! [`finish`] completes from the root file system. They read the node's files where the request
//! points there (mounts, devices, profiles), make host paths of mounts that are missing, and give those a label that ask for it.

mod annotations;
mod capabilities;
mod cdi;
mod cgroups;
mod container;
mod devices;
mod draft;
mod error;
mod facts;
mod labels;
mod mounts;
mod names;
mod namespaces;
mod node;
mod paths;
mod pattern;
mod pod;
mod process;
mod resources;
mod seccomp;
mod security;
mod selinux;
mod signals;
mod users;

pub use cgroups::cgroups_path;
pub use container::{container, finish};
pub use error::Error;
pub use facts::{ContainerFacts, Handler, PodFacts, PodFiles, Selinux, SelinuxLabels, Settings};
pub use labels::{KIND_LABEL, Kind, container_labels};
pub use mounts::image_volumes;
pub use names::{container_name, log_path, pod_name};
pub use namespaces::{Mappings, container_options, host_network, pod_options, user_mappings};
pub use node::Node;
pub use pod::pod;
pub use resources::{resources_of, update};
pub use security::{DEFAULT_APPARMOR_PROFILE, holds_profile};
pub use selinux::selinux_labels;
pub use signals::{signal_number, status_signal, stop_signal};

/// The wire's messages that specs are made of.
pub(crate) use berth_proto::runtime::v1 as cri;
