//! Nodes of one cluster, a real etcd and the real command line: what is shown of each is what it holds,
//! whatever becomes of etcd, of the network, of processes and clocks; and no node waits for any of it.
//! Need root.
//!
//! After each trouble all is compared (`converged`). Leases are short, and what they bring about is waited
//! for; how long that takes is measured nowhere here.

mod apart;
mod archive;
mod binaries;
mod calls;
mod clock;
mod cluster;
mod converged;
mod demo;
mod keys;
mod killed;
mod leaving;
mod line;
mod load;
mod member;
mod names;
mod network;
mod nodes;
mod security;
mod stopped;
mod troubles;
mod views;
