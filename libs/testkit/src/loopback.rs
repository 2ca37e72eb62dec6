//! Addresses for programs that cannot say which port the kernel has given them.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

/// An address of this machine alone that hardly anybody else has, whatever the port: one of 16 million.
#[must_use]
pub fn loopback() -> Ipv4Addr {
    let [a, b, c, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
    // Not 127.0.0.0 nor what ends in 0 or 255, which have a meaning of their own.
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))
}
