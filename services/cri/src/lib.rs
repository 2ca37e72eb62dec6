//! The CRI service: what kubelets call, done by the other services of the node.
//!
//! Owns: pods and their containers as kubelets know them: names, states, reasons, files; what is on record of
//! how a container began and ended. Must not know: how images, snapshots, tasks and networks are made, which
//! is asked of those who do.
//!
//! The CRI's own messages of configuration are the domain's here too, as they are kept as they came; requests
//! and answers are the edge's. docs/adr/0014-cri.md says why.
//!
//! | module | what it does |
//! |---|---|
//! | [`serve`](fn@serve) | putting the rest together |
//! | [`ids`], [`names`] | numbers and names of pods and containers, and finding by a part |
//! | [`joins`] | what is asked for again while it is being done |
//! | [`folders`] | where files are |
//! | [`roots`] | root file systems, looked into |
//! | [`users`] | a pod's user namespace |
//! | [`handlers`], [`bases`], [`bandwidth`] | what a pod asks to be run by, what specifications begin with, and how fast its network is |
//! | [`features`] | what handlers can do |
//! | [`counts`], [`there`] | what this service counts, and what there is |
//! | [`selinux`] | labels of SELinux, and which level is which pod's |
//! | [`records`] | what is kept of them, as containerd's clients read it |
//! | [`apparmor`] | the profile of containers |
//! | [`images`] | images |
//! | [`pods`] | pods |
//! | [`containers`] | containers of pods |
//! | [`checkpoints`] | containers and pods as files, and back |
//! | [`streaming`] | commands, containers' streams and ports, for clients that come with a token |
//! | [`stats`] | what pods and containers use |
//! | [`exits`] | what ends |
//! | [`events`], [`described`] | what becomes of pods and containers, told to who listens, and how they are then |
//! | [`teardown`] | a pod with its containers |
//! | [`views`] | images that are mounted for pods |
//! | [`time`] | times as the CRI has them |
//! | [`about`], [`details`] | the node itself |
//! | [`api`], [`peers`] | its services, and the calls that it makes |

pub mod about;
pub mod api;
pub mod apparmor;
pub mod bandwidth;
pub mod bases;
pub mod checkpoints;
pub mod containers;
pub mod counts;
pub mod described;
pub mod details;
mod error;
pub mod events;
pub mod exits;
pub mod features;
pub mod folders;
pub mod handlers;
pub mod ids;
pub mod images;
pub mod joins;
pub mod names;
pub mod peers;
pub mod pods;
pub mod records;
pub mod roots;
pub mod selinux;
mod serve;
pub mod stats;
pub mod streaming;
pub mod teardown;
pub mod there;
pub mod time;
pub mod users;
pub mod views;

pub use error::{Error, Result};
pub use serve::{Served, serve};

/// The namespace of all that is made here.
pub const NAMESPACE: &str = "k8s.io";
