//! The client of etcd against a real one.

mod common;
mod faults;
mod members;
mod pages;
mod security;
mod watches;
mod writes;
