//! What nodes and clusters are called.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, Result};

/// The longest name: that of a host, since certificates carry it.
pub const MAX_NAME: usize = 63;

/// A node's name: a part of keys, and of certificates. Letters, digits, `-`, `.` and `_`, the first and
/// last of them a letter or digit. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);

/// A cluster's name, of the same form: clusters share an etcd by it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName(Arc<str>);

fn checked(what: &'static str, text: &str) -> Result<Arc<str>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let inner = |byte: u8| plain(byte) || b"-._".contains(&byte);
    let bytes = text.as_bytes();
    let ends =
        bytes.first().copied().is_some_and(plain) && bytes.last().copied().is_some_and(plain);
    if !ends || text.len() > MAX_NAME || !bytes.iter().copied().all(inner) {
        return Err(Error::Name { what, text: text.chars().take(MAX_NAME + 1).collect() });
    }
    Ok(text.into())
}

macro_rules! name {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                checked($what, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(NodeName, "node");
name!(ClusterName, "cluster");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hosts() {
        for name in ["a", "node-1", "N1.example.org", "x_y", &"a".repeat(63)] {
            assert_eq!(name.parse::<NodeName>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "a.", "a/b", "a b", "ä", &"a".repeat(64)] {
            let error = name.parse::<NodeName>().unwrap_err();
            assert!(error.to_string().ends_with("invalid argument"), "{error}");
            assert!(name.parse::<ClusterName>().is_err(), "{name}");
        }
    }
}
