//! ctr 1.6.20, command by command, on a node and on Debian's containerd beside it: both must end
//! with the same code and print the same words. Where they may not, a line says which words of
//! which, and why. Needs root.
//!
//! Both pull from one registry, so that digests are equal; times, process numbers and the two
//! daemons' folders are taken out before words are compared (`words.rs`).

mod answers;
mod archives;
mod checkpoints;
mod containers;
mod content;
mod coverage;
mod images;
mod leases;
mod metrics;
mod namespaces;
mod run;
mod snapshots;
mod tasks;
mod tools;
mod twins;
mod words;
