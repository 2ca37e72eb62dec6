//! Whole-node stories: a node of real processes, a real registry, real clients. Need root.
//!
//! Container names differ between stories: nodes on one machine share its cgroups, and a container's
//! cgroup is named by namespace and id alone, as with containerd.

mod asked;
mod bad_input;
mod checkpoints;
mod cli;
mod cluster;
mod compatibility;
mod ctr;
mod daemon;
mod deployment;
mod disks;
mod docker;
mod docs;
mod ending;
mod fsck;
mod images;
mod installed;
mod keys;
mod leaving;
mod logins;
mod main_job;
mod messages;
mod mounts;
mod networks;
mod observe;
mod operator;
mod plugins;
mod recovery;
mod roots;
mod shell;
mod snapshotters;
mod stage;
mod stages;
mod supervisor;
mod tcp;
mod units;
mod wire;
