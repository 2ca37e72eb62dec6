//! A full node and 64 clients at once: no error, no more memory, and nothing is left open, mounted or
//! running.

mod takes;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_testkit::{sha256, until};
use containerd_client::services::v1::{
    self as services, CreateImageRequest, DeleteContentRequest, DeleteImageRequest, Image,
};
use containerd_client::types::Descriptor;
use futures::future::try_join_all;

use self::takes::{Memory, Takes};
use crate::content::put;
use crate::stage::{Client, Stage};

const CONTAINERS: usize = 1000;
const RUNNING: usize = 50;
const BLOBS: usize = 2000;
const IMAGES: usize = 1000;
const CLIENTS: usize = 64;

/// What the services keep of events has its bound, and reaches it as the node is filled: what is kept by
/// design is not taken for what is kept by mistake. Bundle tells of one snapshot for each that runs.
const CONFIG: &str =
    "[distribution]\nevents = 256\n[bundle]\nevents = 32\n[runtime]\nevents = 256\n";

/// How long the clients go on in each round.
fn seconds() -> u64 {
    let set = std::env::var("BERTH_LOAD_SECONDS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(40)
}

fn image(name: String, blob: &[u8]) -> CreateImageRequest {
    let target = Some(Descriptor {
        media_type: "application/octet-stream".into(),
        digest: sha256(blob),
        size: i64::try_from(blob.len()).expect("small"),
        ..Default::default()
    });
    let image = Some(Image { name, target, ..Default::default() });
    CreateImageRequest { image, ..Default::default() }
}

fn blob(number: usize) -> Vec<u8> {
    format!("blob {number} ").repeat(20).into_bytes()
}

/// Puts everything on record that is listed while the clients are at work.
async fn fill(stage: &Stage) -> Result<()> {
    let part = async |which: usize| {
        let client = stage.client().await?.leased(&format!("fill-{which}")).await?;
        for number in (which..BLOBS).step_by(8) {
            put(&client, &format!("fill-{number}"), blob(number)).await?;
        }
        for number in (which..IMAGES).step_by(8) {
            let image = image(format!("load:{number}"), &blob(number));
            client.images().create(client.request(image)).await?;
        }
        for number in (which..CONTAINERS - RUNNING).step_by(8) {
            client.create(&format!("load-{number}"), &["true"]).await?;
        }
        for number in (which..RUNNING).step_by(8) {
            client.start(&stage.top, &format!("runs-{number}"), &["sleep", "3600"]).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    try_join_all((0..8).map(part)).await.map(drop)
}

/// What a client does again and again; what it makes it takes away.
async fn work(stage: &Stage, client: &Client, own: usize, turn: usize) -> Result<()> {
    let name = format!("work-{own}-{turn}");
    match (own + turn) % 8 {
        0 => {
            let filters = vec![format!("id==load-{own}")];
            let list = services::ListContainersRequest { filters };
            let found = client.containers().list(client.request(list)).await?.into_inner();
            ensure!(found.containers.len() == 1, "{} containers", found.containers.len());
        }
        1 => {
            let digest = put(client, &name, name.repeat(1000).into_bytes()).await?;
            let delete = DeleteContentRequest { digest };
            client.content().delete(client.request(delete)).await?;
        }
        2 => {
            let image = image(name.clone(), &blob(own));
            client.images().create(client.request(image)).await?;
            let delete = DeleteImageRequest { name, ..Default::default() };
            client.images().delete(client.request(delete)).await?;
        }
        3 => {
            let filters = vec![format!("name==load:{own}")];
            let list = services::ListImagesRequest { filters };
            let found = client.images().list(client.request(list)).await?.into_inner().images;
            ensure!(found.len() == 1, "{} images", found.len());
        }
        4 => {
            client.create(&name, &["true"]).await?;
            client.delete(&name).await?;
        }
        5 => {
            let container_id = format!("runs-{}", own % RUNNING);
            let get = services::GetRequest { container_id, ..Default::default() };
            client.tasks().get(client.request(get)).await?;
        }
        6 => {
            let list = client.request(services::ListTasksRequest::default());
            let tasks = client.tasks().list(list).await?.into_inner().tasks;
            ensure!(tasks.len() >= RUNNING, "tasks are missing");
        }
        // A container's whole life costs as much as hundreds of the others.
        _ if turn.is_multiple_of(16) => {
            client.start(&stage.top, &name, &["true"]).await?;
            ensure!(client.wait(&name, "").await? == 0, "{name} fails");
            client.remove(&name).await?;
        }
        _ => {
            let exec = format!("exec-{own}-{turn}");
            let code = client.exec(&format!("runs-{}", own % RUNNING), &exec, &["true"]).await?;
            ensure!(code == 0, "{exec} ends with {code}");
        }
    }
    Ok(())
}

/// All clients at once for a time; answers how much they did.
async fn round(stage: &Stage, name: &str, time: Duration) -> Result<usize> {
    let one = async |own: usize| {
        let client = stage.client().await?.leased(&format!("{name}-{own}")).await?;
        let end = Instant::now() + time;
        let mut turn = 0;
        while Instant::now() < end {
            work(stage, &client, own, turn).await.with_context(|| format!("{own}, {turn}"))?;
            turn += 1;
        }
        let delete = services::DeleteRequest { id: format!("{name}-{own}"), sync: false };
        let mut leases = services::leases_client::LeasesClient::new(client.channel.clone());
        leases.delete(stage.client().await?.request(delete)).await?;
        Ok::<_, anyhow::Error>(turn)
    };
    Ok(try_join_all((0..CLIENTS).map(one)).await?.into_iter().sum())
}

/// How long a node may take to come to rest.
const REST: Duration = Duration::from_secs(180);

/// Now and then: looking at all processes takes time of theirs.
fn look(stage: &Stage) -> Result<Memory> {
    std::thread::sleep(Duration::from_millis(500));
    Memory::of(&stage.node)
}

/// The memory of a node at rest. Services look each 20 s whether they have come to rest, and let go
/// of what they do not need if they used next to no time since the look before.
fn rested(stage: &Stage) -> Result<Memory> {
    let mut least = Memory::of(&stage.node)?;
    let mut since = Instant::now();
    until("memory is still", REST, || {
        match look(stage) {
            Ok(now) if now.is_falling(least) => (least, since) = (now.least(least), Instant::now()),
            _ => {}
        }
        since.elapsed() > Duration::from_secs(65)
    })?;
    Ok(least)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_serves_many_at_once_and_keeps_nothing() -> Result<()> {
    let stage = Stage::with(CONFIG).await?;
    fill(&stage).await.context("fill the node")?;
    let time = Duration::from_secs(seconds());
    round(&stage, "warm", time).await.context("the warm-up round")?;
    let before = rested(&stage)?;
    let taken = Takes::of(&stage.node)?;
    ensure!(taken.shims() == RUNNING, "{taken:?}");
    let did = round(&stage, "load", time).await.context("the round")?;
    let mut after = None;
    until("memory is at most a tenth more", REST, || {
        after = look(&stage).ok();
        after.is_some_and(|after| after.is_like(before))
    })
    .with_context(|| format!("{before:?} KiB have become {after:?}"))?;
    println!("{did} pieces of work in {time:?}; KiB: {before:?}, then {after:?}");
    let as_before = || Takes::of(&stage.node).is_ok_and(|takes| takes == taken);
    until("all is let go of", REST, as_before)
        .with_context(|| format!("{taken:?} has become {:?}", Takes::of(&stage.node)))
}
