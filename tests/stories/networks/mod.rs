//! Networks of containers, each node in a network namespace of its own: nothing of the machine's is changed.

mod lives;
mod names;
mod pages;
mod ports;
mod refused;
mod refusing;
mod shared;
mod stage;
