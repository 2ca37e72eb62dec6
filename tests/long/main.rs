//! The long stories (`make test-long`): series of kills, an emulated machine. Need root.

mod cgroup2;
mod kills;
