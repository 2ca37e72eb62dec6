//! What is told of sandboxes, as the wire has it: shims and controllers answer in messages of
//! their own, which say the same.

use berth_grpc::time::from_wire;
use berth_proto::containerd::runtime::sandbox::v1 as shim;
use berth_proto::containerd::services::sandbox::v1 as controller;
use berth_proto::containerd::types;

use super::options::domain;
use super::shim::now;
use crate::process::Exit;
use crate::sandboxes::{Measured, Platform, Report, Started};

/// For the messages of both: fields of the same names become the same.
macro_rules! both {
    ($($answer:ident, $other:ident => $to:ident: |$told:ident| $made:expr;)*) => {
        $(
            impl From<shim::$answer> for $to {
                fn from($told: shim::$answer) -> Self {
                    $made
                }
            }

            impl From<controller::$other> for $to {
                fn from($told: controller::$other) -> Self {
                    $made
                }
            }
        )*
    };
}

both! {
    SandboxStatusResponse, ControllerStatusResponse => Report: |told| Report {
        id: told.sandbox_id,
        pid: told.pid,
        state: told.state,
        info: told.info.into_iter().collect(),
        created: from_wire(told.created_at.as_ref()),
        exited: from_wire(told.exited_at.as_ref()),
        extra: told.extra.map(domain),
    };
    StartSandboxResponse, ControllerStartResponse => Started: |told| Started {
        pid: told.pid,
        created: from_wire(told.created_at.as_ref()),
        labels: berth_ids::Labels::new(),
        spec: told.spec.map(domain),
    };
    WaitSandboxResponse, ControllerWaitResponse => Exit: |told| Exit {
        pid: 0,
        status: told.exit_status,
        at: from_wire(told.exited_at.as_ref()).unwrap_or_else(now),
    };
    PlatformResponse, ControllerPlatformResponse => Platform: |told| {
        let types::Platform { os, architecture, variant, .. } = told.platform.unwrap_or_default();
        Platform { os, architecture, variant }
    };
}

/// Nothing if it was not measured.
pub(super) fn measured(metric: Option<types::Metric>) -> Option<Measured> {
    metric.map(|types::Metric { timestamp, id, data }| Measured {
        at: from_wire(timestamp.as_ref()),
        id,
        data: data.map(domain),
    })
}
