//! Whole-node stories: a node of real processes, a real registry, real clients. Need root.

mod bad_input;
mod ctr;
mod main_job;
mod mounts;
mod supervisor;
