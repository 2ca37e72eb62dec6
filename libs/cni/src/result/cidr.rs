//! An address with the length of its network's prefix.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address and a prefix's length: `10.1.0.5/16`. The address need not be the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// `None` where the prefix is longer than the address.
    #[must_use]
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let most = if addr.is_ipv4() { 32 } else { 128 };
        (prefix <= most).then_some(Self { addr, prefix })
    }

    /// The address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// In bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (addr, prefix) = text.split_once('/')?;
            if !prefix.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            Self::new(addr.parse().ok()?, prefix.parse().ok()?)
        };
        read().ok_or_else(|| format!("{text:?} is not ADDRESS/LENGTH"))
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_with_a_length_is_one() {
        for good in ["10.1.0.5/16", "0.0.0.0/0", "fd00::5/64", "::/0", "1.2.3.4/32", "::1/128"] {
            assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
        }
        for bad in
            ["", "/", "10.0.0.1", "10.0.0.1/33", "::/129", "10.0.0/8", "a/8", "::/+8", "::/ 8"]
        {
            assert!(bad.parse::<Cidr>().is_err(), "{bad:?}");
        }
    }
}
