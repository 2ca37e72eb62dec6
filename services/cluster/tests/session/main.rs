//! Registration against a real etcd.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
mod lost_answer;
mod registration;
mod renewal;
