//! Subnets: which overlap, which the machine uses, and which are free.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use berth_cni::Cidr;

/// The parts that a pool is given away in, in bits.
const PART_V4: u8 = 24;
const PART_V6: u8 = 64;
/// The most parts of a pool that are looked at.
const MAX_PARTS: u128 = 1 << 16;
/// The routes and addresses of the calling thread's network namespace: a service has but one.
const NET: &str = "/proc/thread-self/net";

/// A subnet that is used, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) subnet: Cidr,
    pub(super) by: String,
}

/// Whether two have an address in common.
pub(super) fn overlap(one: Cidr, other: Cidr) -> bool {
    let prefix = one.prefix().min(other.prefix());
    one.addr().is_ipv4() == other.addr().is_ipv4()
        && masked(one.addr(), prefix) == masked(other.addr(), prefix)
}

/// Whether it is the first address of the subnet.
pub(super) fn is_network(subnet: Cidr) -> bool {
    masked(subnet.addr(), subnet.prefix()) == subnet.addr()
}

/// The first part of the pools that nothing uses.
pub(super) fn choose(pools: &[Cidr], taken: &[Taken]) -> Option<Cidr> {
    pools.iter().find_map(|pool| {
        let is_free = |part: &Cidr| !taken.iter().any(|taken| overlap(taken.subnet, *part));
        parts(*pool).find(is_free)
    })
}

fn parts(pool: Cidr) -> impl Iterator<Item = Cidr> {
    let (width, part) = if pool.addr().is_ipv4() { (32, PART_V4) } else { (128, PART_V6) };
    let part = part.max(pool.prefix());
    let more = u32::from(part - pool.prefix());
    let count = 1u128.checked_shl(more).unwrap_or(u128::MAX).min(MAX_PARTS);
    let first = bits(masked(pool.addr(), pool.prefix()));
    (0..count).filter_map(move |number| {
        let offset = number.checked_shl(width - u32::from(part)).unwrap_or(0);
        Cidr::new(address(first + offset, pool.addr().is_ipv4()), part)
    })
}

fn masked(addr: IpAddr, prefix: u8) -> IpAddr {
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let host = width - u32::from(prefix);
    let kept = bits(addr).checked_shr(host).unwrap_or(0);
    address(kept.checked_shl(host).unwrap_or(0), addr.is_ipv4())
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "32 bits are an IPv4 address")]
fn address(bits: u128, is_v4: bool) -> IpAddr {
    if is_v4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() }
}

/// Whether the machine has IPv6.
pub(super) fn has_v6() -> bool {
    Path::new(NET).join("if_inet6").exists()
}

/// The machine's interfaces, by name.
pub(super) fn interfaces() -> io::Result<BTreeSet<String>> {
    let text = fs_err::read_to_string(Path::new(NET).join("dev"))?;
    let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    Ok(names.collect())
}

/// The routes and addresses of the machine.
pub(super) fn of_machine() -> io::Result<Vec<Taken>> {
    let read = |name: &str| match fs_err::read_to_string(Path::new(NET).join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    };
    let mut taken = routes_v4(&read("fib_trie")?);
    taken.extend(routes_v6(&read("ipv6_route")?));
    Ok(taken)
}

fn route(addr: IpAddr, prefix: u8) -> Option<Taken> {
    // A default route says nothing of what is there.
    let subnet = Cidr::new(addr, prefix).filter(|_| prefix > 0)?;
    Some(Taken { subnet, by: format!("the machine's route or address {subnet}") })
}

/// Leaves of the tables: `|-- ADDRESS`, and below each `/LENGTH SCOPE KIND`.
fn routes_v4(text: &str) -> Vec<Taken> {
    let mut leaf = None;
    let mut taken = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(addr) = line.strip_prefix("|-- ") {
            leaf = addr.parse::<Ipv4Addr>().ok();
        } else if let (Some(addr), Some(rest)) = (leaf, line.strip_prefix('/')) {
            let length = rest.split(' ').next().and_then(|length| length.parse().ok());
            taken.extend(length.and_then(|length| route(addr.into(), length)));
        }
    }
    taken
}

/// Lines of `DESTINATION LENGTH …` in hexadecimal.
fn routes_v6(text: &str) -> Vec<Taken> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let addr = u128::from_str_radix(words.next()?, 16).ok()?;
        let length = u8::from_str_radix(words.next()?, 16).ok()?;
        route(Ipv6Addr::from_bits(addr).into(), length)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn taken(all: &[&str]) -> Vec<Taken> {
        all.iter().map(|text| Taken { subnet: cidr(text), by: String::new() }).collect()
    }

    #[test]
    fn subnets_overlap_when_one_is_in_the_other() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.89.0.0/24", true),
            ("10.89.0.7/32", "10.89.0.0/24", true),
            ("10.89.1.0/24", "10.89.0.0/24", false),
            ("0.0.0.0/0", "10.89.0.0/24", true),
            ("::/0", "10.89.0.0/24", false),
            ("fd00::/8", "fd62:6572:7468:1::/64", true),
            ("fd62:6572:7468::/64", "fd62:6572:7468:1::/64", false),
        ] {
            assert_eq!(overlap(cidr(one), cidr(other)), expected, "{one} {other}");
            assert_eq!(overlap(cidr(other), cidr(one)), expected, "{other} {one}");
        }
        assert!(is_network(cidr("10.0.0.0/8")) && is_network(cidr("::/0")));
        assert!(!is_network(cidr("10.0.0.1/8")) && !is_network(cidr("fd00::1/64")));
    }

    #[test]
    fn the_first_free_part_is_chosen() {
        let pools = [cidr("10.89.0.0/23"), cidr("10.90.0.128/25"), cidr("fd62::/63")];
        let chosen = |pool: usize, used: &[&str]| choose(&pools[pool..=pool], &taken(used));
        assert_eq!(chosen(0, &[]), Some(cidr("10.89.0.0/24")));
        assert_eq!(chosen(0, &["10.89.0.200/32", "fd62::/16"]), Some(cidr("10.89.1.0/24")));
        assert_eq!(chosen(0, &["10.89.0.0/16"]), None);
        // A pool that is smaller than a part is one.
        assert_eq!(chosen(1, &[]), Some(cidr("10.90.0.128/25")));
        assert_eq!(chosen(2, &["fd62::/64"]), Some(cidr("fd62:0:0:1::/64")));
        assert_eq!(choose(&pools, &taken(&["10.89.0.0/23"])), Some(cidr("10.90.0.128/25")));
        // However large a pool is, the search ends.
        assert_eq!(choose(&[cidr("::/0")], &taken(&["::/0"])), None);
        assert_eq!(choose(&[cidr("255.255.255.0/24")], &[]), Some(cidr("255.255.255.0/24")));
    }

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let v4 = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                  \x20    +-- 10.1.0.0/16 2 0 2\n        |-- 10.1.0.0\n           /16 link UNICAST\n\
                  Local:\n     |-- 10.1.2.3\n        /32 host LOCAL\n";
        let found = |all: Vec<Taken>| all.iter().map(|t| t.subnet.to_string()).collect::<Vec<_>>();
        assert_eq!(found(routes_v4(v4)), ["10.1.0.0/16", "10.1.2.3/32"]);
        let v6 = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 0 eth0\n\
                  00000000000000000000000000000000 00 00000000000000000000000000000000 00 0 lo\nx\n";
        assert_eq!(found(routes_v6(v6)), ["fd00::/64"]);
    }
}
