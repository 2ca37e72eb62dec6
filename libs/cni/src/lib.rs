//! The runtime's side of CNI, the Container Network Interface (specification 1.1.0).
//!
//! Owns: networks' configurations ([`Network`], [`watch`]), how plugins are run, what they answer, in which order
//! ([`Engine`]), and what is on record of each attachment, so that nothing of it stays behind. Must not know: what
//! a container or pod is, who asks, where settings come from, nor any wire type.
//!
//! | module | what it does |
//! |---|---|
//! | `conf` | `.conflist`, `.conf` and `.json` of all versions to a [`Network`] |
//! | `folder` | the networks of a folder, now and when they change |
//! | `plugin` | finds and runs one plugin, with a deadline and bounds |
//! | `result` | what an ADD has led to, read and written in any version |
//! | `engine` | ADD, DEL, CHECK, STATUS, GC, VERSION of a whole network |
//! | `cache` | attachments on record, as libcni writes them |
//! | `turns` | who waits for whom |
//!
//! # What an attachment goes through
//!
//! The record is written before the first plugin runs, and replaced by one with the result before the answer. So
//! whatever kill comes, either nothing was done or [`Engine::leftovers`] tells of it; [`Engine::gc`] undoes it
//! with the very configuration, arguments and capabilities that its ADD had. Results of plugins within a chain are
//! on record as well, but not durably: what they are needed for (rules, devices) ends with the node's kernel.
//!
//! Plugins may outlive a killed runtime. Each inherits a descriptor that holds the lock of its container, so the
//! next operation waits for it to end, for at most one deadline.
//!
//! Plugins run in the network namespace of the thread that polls the operation: the node's own.
//!
//! # What it costs
//!
//! An ADD of a chain of N plugins: N forks and execs of ours (what plugins start is theirs: a bridge runs its IPAM
//! plugin, portmap runs iptables), two files made durable and the folder after each (4 fsyncs), N - 1 small files
//! written without. A DEL: N forks and execs, no fsync: a record that comes back after a crash leads to one more
//! DEL. A lock file is made and removed by each.

mod attachment;
mod cache;
mod capabilities;
mod conf;
mod engine;
mod error;
mod folder;
mod names;
mod plugin;
mod result;
mod turns;
mod version;

pub use attachment::{Attachment, AttachmentId};
pub use capabilities::{Bandwidth, Capabilities, DnsServers, IpRange, PortMapping};
pub use conf::{MAX_FILE, MAX_PLUGINS, Network};
pub use engine::{Alone, Engine, Leftover, Outcome, Settings};
pub use error::Error;
pub use folder::{Bad, MAX_FILES, Networks, read, watch};
pub use plugin::{Command, MAX_ERRORS, MAX_OUTPUT};
pub use result::{Cidr, Dns, Interface, Ip, NetworkResult, Route};
pub use version::Version;
