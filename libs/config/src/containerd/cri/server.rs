//! Where streams are served: two keys of containerd's are one of ours.

use toml::Value;

use super::{Carried, PLUGIN, is_default};
use crate::tree::{Node, Tree};

/// What containerd has for the one that is not written.
const ADDRESS: &str = "127.0.0.1";

/// Takes the address and the port out.
pub(super) fn take(carried: &mut Carried, tables: &mut Tree) {
    let mut told = |key: &str| {
        let path = [PLUGIN, key];
        match tables.take(&path) {
            Some(Node::Value(value, _)) if is_default(&path, &value) => None,
            Some(Node::Value(value, origin)) => Some((value, origin)),
            _ => None,
        }
    };
    let (address, port) = (told("stream_server_address"), told("stream_server_port"));
    let Some((_, origin)) = address.clone().or(port.clone()) else { return };
    let host = match address {
        None => ADDRESS.to_owned(),
        Some((Value::String(host), origin)) if host.is_empty() => {
            let what = "it has to be written here: containerd looks for an address of the machine, berth does not";
            return carried.refuse(&[PLUGIN, "stream_server_address"], origin, what.to_owned());
        }
        // Of IPv6.
        Some((Value::String(host), _)) if host.contains(':') && !host.starts_with('[') => {
            format!("[{host}]")
        }
        Some((Value::String(host), _)) => host,
        Some((other, origin)) => {
            let what = format!("{other} is no text");
            return carried.refuse(&[PLUGIN, "stream_server_address"], origin, what);
        }
    };
    let number = match port {
        None => Some(0),
        Some((Value::String(text), _)) if text.is_empty() => Some(0),
        Some((Value::String(ref text), _)) => text.parse::<u16>().ok(),
        Some((Value::Integer(number), _)) => u16::try_from(number).ok(),
        Some(_) => None,
    };
    let Some(number) = number else {
        let what = "it is no port: write \"0\" for a free one, or one up to \"65535\"";
        return carried.refuse(&[PLUGIN, "stream_server_port"], origin, what.to_owned());
    };
    let both = Value::String(format!("{host}:{number}"));
    carried.ours.put(&["cri", "stream_address"], Node::Value(both, origin));
}
