//! `berth info`

use anyhow::Result;
use berth_proto::containerd::services::introspection::v1::{Plugin, PluginsRequest};
use serde_json::{Value, json};

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{container, image, output};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Does it.
pub async fn run(_args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let doing = || "ask what serves the socket".to_owned();
    let version = client.version().version(client.request(())).await.step(doing)?.into_inner();
    let server = client.introspection().server(client.request(())).await.step(doing)?.into_inner();
    let request = client.request(PluginsRequest::default());
    let plugins = client.introspection().plugins(request).await.step(doing)?.into_inner().plugins;
    let mut containers = 0_usize;
    let (images, (), tasks) = futures::try_join!(
        image::list(&client, Vec::new()),
        container::list(&client, Vec::new(), |_| containers += 1),
        container::tasks(&client)
    )?;
    let running = tasks.iter().filter(|task| container::is_alive(task)).count();
    if global.json {
        return output::json(&json!({
            "version": version.version,
            "revision": version.revision,
            "uuid": server.uuid,
            "pid": server.pid,
            "address": global.address.to_string_lossy(),
            "namespace": global.namespace(),
            "images": images.len(),
            "containers": containers,
            "running": running,
            "plugins": plugins.iter().map(as_json).collect::<Vec<_>>(),
        }));
    }
    output::line(format!("version      {} {}", version.version, version.revision))?;
    output::line(format!("socket       {} (pid {})", global.address.display(), server.pid))?;
    output::line(format!("node         {}", server.uuid))?;
    output::line(format!("namespace    {}", global.namespace()))?;
    output::line(format!("images       {}", images.len()))?;
    output::line(format!("containers   {} ({running} running)", containers))?;
    for plugin in &plugins {
        output::line(format!("plugin       {}.{}{}", plugin.r#type, plugin.id, trouble(plugin)))?;
    }
    Ok(())
}

/// Why a plugin does not work, if it does not.
fn trouble(plugin: &Plugin) -> String {
    plugin.init_err.as_ref().map(|error| format!(" (off: {})", error.message)).unwrap_or_default()
}

fn as_json(plugin: &Plugin) -> Value {
    json!({
        "type": plugin.r#type,
        "id": plugin.id,
        "capabilities": plugin.capabilities,
        "exports": plugin.exports,
        "error": plugin.init_err.as_ref().map(|error| &error.message),
    })
}
