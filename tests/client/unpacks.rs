//! Pulls that unpack: which snapshotter holds the layers, by name or by the namespace's label.

use anyhow::{Context, Result, ensure};
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::{CreateNamespaceRequest, Namespace};
use containerd_client::to_any;
use containerd_client::types::transfer::{ImageStore, OciRegistry, UnpackConfiguration};

use crate::others::listed;
use crate::records::labels;
use crate::stage::{Client, Stage};
use crate::streams::transfer;

/// A client in a namespace of its own that has these labels.
async fn within(stage: &Stage, name: &str, pairs: &[(&str, &str)]) -> Result<Client> {
    let client = Client { namespace: name.to_owned(), ..stage.client().await? };
    let namespace = Namespace { name: name.to_owned(), labels: labels(pairs) };
    let create = CreateNamespaceRequest { namespace: Some(namespace) };
    let mut namespaces = NamespacesClient::new(client.channel.clone());
    namespaces.create(client.request(create)).await.context("make a namespace")?;
    Ok(client)
}

/// Pulls the stage's image and has it unpacked by this snapshotter; empty: by the default.
async fn pull(client: &Client, stage: &Stage, snapshotter: &str) -> Result<()> {
    let from = OciRegistry { reference: stage.image.clone(), resolver: None };
    let snapshotter = snapshotter.to_owned();
    let to = ImageStore {
        name: stage.image.clone(),
        unpacks: vec![UnpackConfiguration { platform: None, snapshotter }],
        ..Default::default()
    };
    transfer(client, to_any(&from), to_any(&to)).await.context("pull")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_names_no_snapshotter_uses_that_of_the_namespace() -> Result<()> {
    let stage = Stage::new().await?;
    let default = stage.snapshotter.as_str();
    ensure!(default != "native", "no other snapshotter than native works here");
    let label = ("containerd.io/defaults/snapshotter", "native");
    let chain = || vec![stage.top.clone()];
    for (namespace, pairs, named, holds) in [
        ("labelled", &[label][..], "", "native"),
        ("named", &[label], default, default),
        ("plain", &[], "", default),
    ] {
        let client = within(&stage, namespace, pairs).await?;
        pull(&client, &stage, named).await.context(namespace)?;
        for snapshotter in ["native", default] {
            let has = listed(&client, snapshotter, &[]).await?;
            let expected = if snapshotter == holds { chain() } else { Vec::new() };
            assert_eq!(has, expected, "{snapshotter} in {namespace}");
        }
    }
    Ok(())
}
