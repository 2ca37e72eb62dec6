//! Snapshots and mounts on the wire.

use std::collections::HashMap;

use berth_ids::Labels;
use berth_mount::Mount;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_proto::containerd::types;

use crate::snapshots::{Info, Kind};

pub(super) fn labels_in(labels: HashMap<String, String>) -> Labels {
    labels.into_iter().collect()
}

pub(super) fn mounts_out(mounts: Vec<Mount>) -> Vec<types::Mount> {
    let mount = |m: Mount| types::Mount {
        r#type: m.kind,
        source: m.source,
        target: m.target,
        options: m.options,
    };
    mounts.into_iter().map(mount).collect()
}

pub(super) fn mounts_in(mounts: Vec<types::Mount>) -> Vec<Mount> {
    let mount = |m: types::Mount| Mount {
        kind: m.r#type,
        source: m.source,
        target: m.target,
        options: m.options,
    };
    mounts.into_iter().map(mount).collect()
}

pub(super) fn info_out(info: Info) -> wire::Info {
    let kind = match info.kind {
        Kind::View => wire::Kind::View,
        Kind::Active => wire::Kind::Active,
        Kind::Committed => wire::Kind::Committed,
    };
    wire::Info {
        name: info.name,
        parent: info.parent,
        kind: kind.into(),
        created_at: Some(berth_grpc::time::to_wire(info.created)),
        updated_at: Some(berth_grpc::time::to_wire(info.updated)),
        labels: info.labels.into_iter().collect(),
    }
}
