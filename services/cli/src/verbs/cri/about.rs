//! `berth cri version`, `info` and `config`: of the runtime itself.

use anyhow::Result;
use berth_proto::runtime::v1 as wire;
use serde_json::json;

use crate::client::{Client, Step};
use crate::cri::write;
use crate::global::Global;
use crate::output;

/// The version that runtimes of kubelets are asked for.
const INTERFACE: &str = "v1";

/// Shows versions.
pub async fn version(global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let request = wire::VersionRequest { version: INTERFACE.to_owned() };
    let answer = client.cri().version(client.request(request)).await;
    let told = answer.step(|| "ask for the runtime's version".to_owned())?.into_inner();
    if global.json {
        return output::json(&write::json(&told));
    }
    output::line(format!("interface {} {}", told.runtime_api_version, told.version))?;
    output::line(format!("runtime {} {}", told.runtime_name, told.runtime_version))
}

/// Shows how the runtime is; always JSON.
pub async fn info(global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let request = wire::StatusRequest { verbose: true };
    let answer = client.cri().status(client.request(request)).await;
    let told = answer.step(|| "ask how the runtime is".to_owned())?.into_inner();
    let mut shown = write::json(&told);
    shown["info"] = write::info(&told.info);
    output::json(&shown)
}

/// Shows what the kubelet must do alike.
pub async fn config(global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let answer = client.cri().runtime_config(client.request(wire::RuntimeConfigRequest {})).await;
    let told = answer.step(|| "ask for the runtime's configuration".to_owned())?.into_inner();
    let driver = match told.linux.unwrap_or_default().cgroup_driver() {
        wire::CgroupDriver::Systemd => "systemd",
        wire::CgroupDriver::Cgroupfs => "cgroupfs",
    };
    output::told(
        global.json,
        format!("cgroup driver {driver}"),
        &json!({ "cgroup_driver": driver }),
    )
}
