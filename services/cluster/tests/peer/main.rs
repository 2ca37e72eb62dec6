//! Nodes that ask each other about themselves: doors on loopback, certificates of a test's authority, and
//! truths that the tests set.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod bounds;
mod certificates;
mod describe;
mod fake;
mod hostile;
mod node;
