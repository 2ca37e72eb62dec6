//! `berth inspect`

use anyhow::Result;
use berth_proto::containerd::services::containers::v1::Container;
use berth_proto::containerd::services::images::v1::Image;
use serde_json::{Value, json};

use crate::client::Client;
use crate::global::Global;
use crate::manifest::Platform;
use crate::network::shown;
use crate::verbs::ps;
use crate::{container, image, network, output};

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Container,
    Image,
}

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look only among containers or images; containers come first otherwise.
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// Names of containers or images.
    #[arg(required = true)]
    names: Vec<String>,
}

/// Does it; the answer is always JSON.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let mut found = Vec::new();
    for name in &args.names {
        found.push(look(&client, name, args.kind).await?);
    }
    output::json(&found)
}

async fn look(client: &Client, name: &str, kind: Option<Kind>) -> Result<Value> {
    if kind != Some(Kind::Image) {
        match container::get(client, name).await {
            Ok(record) => return of_container(client, &record).await,
            Err(error) if kind.is_some() => return Err(error),
            Err(error) => {
                let Some(image) = image::find(client, name).await? else {
                    return Err(error.context(format!("no container or image {name:?}")));
                };
                return of_image(client, &image).await;
            }
        }
    }
    of_image(client, &image::get(client, name).await?).await
}

async fn of_container(client: &Client, record: &Container) -> Result<Value> {
    let task = container::task(client, &record.id).await?;
    let attached = network::of(client, &record.id).await?;
    let spec = record.spec.as_ref().map(|any| serde_json::from_slice::<Value>(&any.value));
    Ok(json!({
        "id": record.id,
        "image": record.image,
        "state": ps::state(record, task.as_ref()),
        "pid": ps::pid(task.as_ref()),
        "exit_code": ps::exit_code(record, task.as_ref()),
        "created_at": output::moment(record.created_at.as_ref()),
        "updated_at": output::moment(record.updated_at.as_ref()),
        "labels": record.labels,
        "runtime": record.runtime.as_ref().map(|runtime| &runtime.name),
        "snapshotter": record.snapshotter,
        "snapshot_key": record.snapshot_key,
        "sandbox": record.sandbox,
        "network": attached.as_ref().map(shown::as_json),
        "spec": spec.transpose()?,
    }))
}

async fn of_image(client: &Client, image: &Image) -> Result<Value> {
    let target = image.target.clone().unwrap_or_default();
    let resolved = image::resolve(client, image, &Platform::host()).await.ok();
    let here = resolved.map(|of| {
        let layers: Vec<_> = of
            .layers
            .iter()
            .map(|l| json!({ "digest": l.digest, "size": l.size, "media_type": l.media_type }))
            .collect();
        json!({
            "manifest": of.manifest,
            "config_digest": of.config,
            "config": serde_json::from_slice::<Value>(&of.config_blob).unwrap_or_default(),
            "layers": layers,
            "chain_id": of.chain.last(),
            "size": of.size,
        })
    });
    Ok(json!({
        "name": image.name,
        "digest": target.digest,
        "media_type": target.media_type,
        "labels": image.labels,
        "created_at": output::moment(image.created_at.as_ref()),
        "updated_at": output::moment(image.updated_at.as_ref()),
        "here": here,
    }))
}
