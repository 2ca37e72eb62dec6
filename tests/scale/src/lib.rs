//! Thousands of nodes on one machine: the real publishing and reading code of `services/cluster`, a real etcd,
//! and made-up nodes behind both.
//!
//! Owns: what simulated nodes hold and what happens on them; how much of it etcd and readers bear, measured.
//! Must not know: how anything is published or read, nor any wire type.
//!
//! | module | what it does |
//! |---|---|
//! | [`chance`], [`clock`], [`wait`] | numbers that follow from a seed, a clock of all processes, waiting |
//! | [`catalog`], [`running`], [`made`] | images, containers, and the nodes that hold them |
//! | [`fleet`] | the nodes that publish |
//! | [`reader`], [`apart`] | those that read, here and in a process of its own |
//! | [`compare`] | whether they see what there is |
//! | [`machine`], [`member`] | what the processes and etcd say of themselves |
//! | [`run`], [`report`] | one measurement, and the table of several |

pub mod apart;
pub mod catalog;
pub mod chance;
pub mod clock;
pub mod compare;
pub mod fleet;
pub mod machine;
pub mod made;
pub mod member;
pub mod reader;
pub mod report;
pub mod run;
pub mod running;
pub mod wait;
