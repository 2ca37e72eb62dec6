//! What passed the interfaces of a pod, as its own process sees them.

use berth_proto::runtime::v1 as wire;

use crate::pods::Pod;
use crate::time;

/// The one that is shown before the others.
const DEFAULT: &str = "eth0";
/// The most of the kernel's list that is read, in bytes.
const MOST: u64 = 1 << 20;

/// Nothing for a pod that has no network of its own, or none any more.
pub(super) fn of(pod: &Pod) -> Option<wire::NetworkUsage> {
    let pid = pod.standing().pid;
    if pod.is_on_host() || pid == 0 {
        return None;
    }
    let mut text = String::new();
    let file = fs_err::File::open(format!("/proc/{pid}/net/dev")).ok()?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST), &mut text).ok()?;
    let interfaces = parse(&text);
    let default_interface =
        interfaces.iter().find(|one| one.name == DEFAULT).or(interfaces.first()).cloned();
    Some(wire::NetworkUsage { timestamp: time::now(), default_interface, interfaces })
}

fn parse(text: &str) -> Vec<wire::NetworkInterfaceUsage> {
    let line = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> =
            figures.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let value = |at: usize| Some(wire::UInt64Value { value: *figures.get(at)? });
        Some(wire::NetworkInterfaceUsage {
            name: name.trim().to_owned(),
            rx_bytes: value(0),
            rx_errors: value(2),
            tx_bytes: value(8),
            tx_errors: value(10),
        })
    };
    text.lines().skip(2).filter_map(line).filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop\n    \
             lo:       1       1    0    0    0     0          0         0        1       1    0    0    0     0       0          0\n  \
             eth0: 1000      10    1    0    0     0          0         0      2000      20    2    0    0     0       0          0\n";
        let [only] = &*parse(text) else { panic!("{text}") };
        let value = |value| Some(wire::UInt64Value { value });
        assert_eq!((&*only.name, only.rx_bytes, only.rx_errors), ("eth0", value(1000), value(1)));
        assert_eq!((only.tx_bytes, only.tx_errors), (value(2000), value(2)));
    }
}
