//! The client of etcd against a real one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
mod faults;
mod members;
mod pages;
mod security;
mod watches;
mod writes;
