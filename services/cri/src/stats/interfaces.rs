//! What passed the interfaces of a pod, as its own process sees them.

use berth_proto::runtime::v1 as wire;

use crate::pods::Pod;
use crate::time;

/// The one that is shown before the others.
const DEFAULT: &str = "eth0";
/// The most of the kernel's list that is read, in bytes.
const MOST: u64 = 1 << 20;
/// The most interfaces of a pod that are told of.
const MOST_INTERFACES: usize = 256;

/// What is counted of one, since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub name: String,
    pub received: Passed,
    pub sent: Passed,
}

/// In one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// Nothing for a pod that has no network of its own, or none any more.
pub(super) fn of(pod: &Pod) -> Option<wire::NetworkUsage> {
    let value = |value| Some(wire::UInt64Value { value });
    let to_wire = |one: Interface| wire::NetworkInterfaceUsage {
        name: one.name,
        rx_bytes: value(one.received.bytes),
        rx_errors: value(one.received.errors),
        tx_bytes: value(one.sent.bytes),
        tx_errors: value(one.sent.errors),
    };
    let interfaces: Vec<_> = read(pod)?.into_iter().map(to_wire).collect();
    let default_interface =
        interfaces.iter().find(|one| one.name == DEFAULT).or(interfaces.first()).cloned();
    Some(wire::NetworkUsage { timestamp: time::now(), default_interface, interfaces })
}

/// Those of a pod but for its loopback; nothing for one that has no network of its own, or none any more.
pub(super) fn read(pod: &Pod) -> Option<Vec<Interface>> {
    let pid = pod.standing().pid;
    if pod.is_on_host() || pid == 0 {
        return None;
    }
    let mut text = String::new();
    let file = fs_err::File::open(format!("/proc/{pid}/net/dev")).ok()?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST), &mut text).ok()?;
    Some(parse(&text))
}

fn parse(text: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> =
            figures.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let passed = |at: usize| {
            let [bytes, packets, errors, dropped] = figures.get(at..at + 4)?.try_into().ok()?;
            Some(Passed { bytes, packets, errors, dropped })
        };
        let (received, sent) = (passed(0)?, passed(8)?);
        Some(Interface { name: name.trim().to_owned(), received, sent })
    };
    text.lines()
        .skip(2)
        .filter_map(line)
        .filter(|one| one.name != "lo")
        .take(MOST_INTERFACES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop\n    \
             lo:       1       1    0    0    0     0          0         0        1       1    0    0    0     0       0          0\n  \
             eth0: 1000      10    1    3    0     0          0         0      2000      20    2    0    0     0       0          0\n";
        let [only] = &*parse(text) else { panic!("{text}") };
        assert_eq!(only.name, "eth0");
        let received = Passed { bytes: 1000, packets: 10, errors: 1, dropped: 3 };
        assert_eq!(only.received, received);
        assert_eq!(only.sent, Passed { bytes: 2000, packets: 20, errors: 2, dropped: 0 });
    }
}
