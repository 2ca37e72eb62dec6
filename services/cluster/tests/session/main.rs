//! Registration against a real etcd.

mod common;
mod lost_answer;
mod registration;
mod renewal;
