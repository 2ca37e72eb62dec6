//! What is answered to calls that cannot be done: containerd's codes and texts, in its order of
//! checks.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod content;
mod images;
mod leases;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;

use prost_types::FieldMask;
use support::pairs;
use tonic::{Code, Status};

/// The code and text of a refusal.
fn told<T>(answer: Result<T, Status>) -> (Code, String) {
    answer.map_or_else(
        |status| (status.code(), status.message().to_owned()),
        |_| panic!("it is done"),
    )
}

fn said(code: Code, text: impl Into<String>) -> (Code, String) {
    (code, text.into())
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

const LONG: &str = "label key and value length (4097 bytes) greater than maximum size (4096 bytes), \
    key: k: invalid argument";

fn long() -> HashMap<String, String> {
    pairs(&[("k", &"v".repeat(4096))])
}
