//! Debian's dockerd with berth for its containerd, as people use docker.
//!
//! Containers are without a network: the options of a dockerd that leaves the host's alone.

mod execs;
mod images;
mod kills;
mod limits;
mod lives;
mod many;
mod restarts;
mod stage;
mod told;
