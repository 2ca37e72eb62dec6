//! Real parts for tests: a registry, images made of local files, a whole node, its clients.
//!
//! Owns: how a test starts, asks, kills and clears away real processes; the servers that stand
//! beside a real registry: a proxy that makes faults, one that gives tokens. Must not know: any
//! service's inside; it sees a node as its users do, through sockets, files and commands.
//!
//! Everything here is synchronous and fails with the command, its output and its exit code.

mod authority;
mod command;
mod commits;
mod containerd;
mod disk;
mod dockerd;
mod etcd;
mod executable;
mod fault;
mod files;
mod http;
mod image;
mod killable;
mod kubernetes;
mod layer;
mod loopback;
mod node;
mod passage;
mod processes;
mod proxy;
mod registry;
mod root;
mod runc;
mod session;
mod tokens;
mod user;
mod wait;

pub use authority::Authority;
pub use command::{Output, Run, program, run};
pub use commits::{commits_in, file_points_in};
pub use containerd::Containerd;
pub use disk::{Disk, scratch};
pub use dockerd::Dockerd;
pub use etcd::{Etcd, EtcdCluster, Options as EtcdOptions};
pub use executable::{copy_program, write_program};
pub use fault::{Fault, On};
pub use files::Files;
pub use image::{Blob, Family, Image, Packing, Recipe, sha256};
pub use killable::Killable;
pub use kubernetes::{Given, Kubectl, Kubernetes, Streams, Wanted, javascript};
pub use layer::Layer;
pub use loopback::loopback;
pub use node::{Io, Node, fsck};
pub use passage::{Fate, Passage};
pub use processes::{clear_away, signal};
pub use proxy::{Proxy, Seen};
pub use registry::{Registry, Setup};
pub use root::is_root;
pub use runc::saving_runc;
pub use rustix::process::Signal;
pub use session::Session;
pub use tar::EntryType;
pub use tokens::{Asked, TokenServer};
pub use user::{as_user, ask};
pub use wait::{ended, until};
