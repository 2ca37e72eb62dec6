//! What a record carries for somebody else: a type and bytes.

use berth_proto::containerd::runc::v1::Options;
use berth_runtime_spec::{SPEC_TYPE_URL, Spec};
use prost_types::Any;

/// Bytes, and what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The URL of their type.
    pub kind: String,
    /// The bytes.
    pub value: Vec<u8>,
}

impl Packed {
    /// A specification, as records keep it.
    #[must_use]
    pub fn spec(spec: &Spec) -> Self {
        // Text, numbers and lists: nothing that JSON has not.
        let value = serde_json::to_vec(spec).unwrap_or_default();
        Self { kind: SPEC_TYPE_URL.to_owned(), value }
    }

    /// What a shim for runc is told: by whom control groups are made, and whose a process's streams are.
    #[must_use]
    pub fn runc(binary_name: String, systemd_cgroup: bool, owner: (u32, u32)) -> Self {
        let (io_uid, io_gid) = owner;
        let options = Options { binary_name, systemd_cgroup, io_uid, io_gid, ..Default::default() };
        berth_proto::pack(&options).into()
    }
}

impl From<Any> for Packed {
    fn from(Any { type_url, value }: Any) -> Self {
        Self { kind: type_url, value }
    }
}

impl From<Packed> for Any {
    fn from(Packed { kind, value }: Packed) -> Self {
        Self { type_url: kind, value }
    }
}
