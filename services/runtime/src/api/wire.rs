//! Conversions that several services share.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use berth_mount::Mount;
use berth_proto::containerd::types;
use prost_types::Timestamp;

use crate::records::{Any, Runtime};

/// What lines of the log say that are written during the call: which container or sandbox it is
/// about, and which further process of it.
pub(super) fn about(id: &str, exec: &str) {
    let call = tracing::Span::current();
    call.record("id", id);
    if !exec.is_empty() {
        call.record("exec", exec);
    }
}

/// A wire value as the domain keeps it.
pub(super) fn any(any: prost_types::Any) -> Any {
    Any { type_url: any.type_url, value: any.value.into() }
}

/// A kept value as the wire has it.
pub(super) fn wire_any(any: &Any) -> prost_types::Any {
    prost_types::Any { type_url: any.type_url.clone(), value: any.value.to_vec() }
}

/// A kept value as the wire has it, without a copy where nobody else keeps it.
pub(super) fn into_wire_any(any: Any) -> prost_types::Any {
    prost_types::Any { type_url: any.type_url, value: any.value.into() }
}

/// A map of wire values as the domain keeps it.
pub(super) fn anys(map: HashMap<String, prost_types::Any>) -> BTreeMap<String, Any> {
    map.into_iter().map(|(key, value)| (key, any(value))).collect()
}

/// A map of kept values as the wire has it.
pub(super) fn wire_anys(map: &BTreeMap<String, Any>) -> HashMap<String, prost_types::Any> {
    map.iter().map(|(key, value)| (key.clone(), wire_any(value))).collect()
}

/// A runtime from its parts on the wire.
pub(super) fn runtime(name: String, options: Option<prost_types::Any>) -> Runtime {
    Runtime { name, options: options.map(any) }
}

/// A time as the wire has it.
pub(super) fn time(at: SystemTime) -> Option<Timestamp> {
    Some(berth_grpc::time::to_wire(at))
}

/// A mount as the domain has it.
pub(super) fn mount(mount: types::Mount) -> Mount {
    let types::Mount { r#type, source, target, options } = mount;
    Mount { kind: r#type, source, target, options }
}

/// A mount as the wire has it.
pub(super) fn wire_mount(mount: &Mount) -> types::Mount {
    let Mount { kind, source, target, options } = mount.clone();
    types::Mount { r#type: kind, source, target, options }
}
