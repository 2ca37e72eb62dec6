//! What is kept of pods and containers.
//!
//! Owns: what lies in the extensions of runtime's records, as containerd's CRI writes it there and its clients read it,
//! and this service's own table of how containers began and ended. Must not know: what any of it means.
//!
//! | module | what |
//! |---|---|
//! | [`golang`] | the CRI's messages as Go writes them |
//! | [`metadata`] | what is said of a pod and of a container |
//! | [`status`] | how a container began and ended |

pub mod golang;
pub mod metadata;
pub mod status;
