//! A full node and 64 clients at once: no error, no more memory, and nothing is left open, mounted or
//! running.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_testkit::{sha256, until};
use containerd_client::services::v1::{
    self as services, CreateImageRequest, DeleteContentRequest, DeleteImageRequest, Image,
};
use containerd_client::types::Descriptor;
use futures::future::try_join_all;

use crate::content::put;
use crate::stage::{Client, Stage};

const CONTAINERS: usize = 1000;
const RUNNING: usize = 50;
const BLOBS: usize = 2000;
const IMAGES: usize = 1000;
const CLIENTS: usize = 64;
const SERVICES: [&str; 4] =
    ["berth-gateway", "berth-distribution", "berth-bundle", "berth-runtime"];

/// What the services keep of events has its bound, and reaches it as the node is filled: what is kept by
/// design is not taken for what is kept by mistake. Bundle tells of one snapshot for each that runs.
const CONFIG: &str =
    "[distribution]\nevents = 256\n[bundle]\nevents = 32\n[runtime]\nevents = 256\n";

/// How long the clients go on after the warm-up round.
fn seconds() -> u64 {
    let set = std::env::var("BERTH_LOAD_SECONDS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(60)
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

/// What a node at rest takes.
#[derive(Debug, PartialEq, Eq)]
struct Takes {
    descriptors: Vec<usize>,
    mounts: usize,
    processes: usize,
}

fn takes(stage: &Stage) -> Result<Takes> {
    let node = &stage.node;
    let open = |service: &&str| {
        Ok(fs_err::read_dir(format!("/proc/{}/fd", node.service_pid(service)?))?.count())
    };
    Ok(Takes {
        descriptors: SERVICES.iter().map(open).collect::<Result<_>>()?,
        mounts: node.mounts().len(),
        processes: node.shims().len(),
    })
}

/// What each service has in memory that is in no file, in KiB: pages of programs are shared with the
/// nodes of other tests, and count for more when those end.
fn memories(stage: &Stage) -> Result<Vec<u64>> {
    let one = |service: &&str| {
        let path = format!("/proc/{}/smaps_rollup", stage.node.service_pid(service)?);
        let text = fs_err::read_to_string(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
        Ok(line.context("no Pss_Anon")?.trim().trim_end_matches(" kB").parse::<u64>()?)
    };
    SERVICES.iter().map(one).collect()
}

/// What all of them have together.
fn memory(stage: &Stage) -> Result<u64> {
    Ok(memories(stage)?.into_iter().sum())
}

/// The memory of a node at rest. Services look each 20 s whether they have come to rest, and let go
/// of what they do not need if they used next to no time since the look before.
fn rested(stage: &Stage) -> Result<u64> {
    let mut least = memory(stage)?;
    let mut since = Instant::now();
    until("memory is still", REST, || {
        match memory(stage) {
            Ok(now) if now * 50 < least * 49 => (least, since) = (now, Instant::now()),
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
    round(&stage, "warm", time / 3).await.context("the warm-up round")?;
    let before = rested(&stage)?;
    let by_service = memories(&stage)?;
    let taken = takes(&stage)?;
    let did = round(&stage, "load", time).await.context("the round")?;
    let mut after = before;
    until("memory is at most a tenth more", REST, || {
        let now = memory(&stage);
        after = *now.as_ref().unwrap_or(&after);
        now.is_ok() && after * 10 <= before * 11
    })
    .with_context(|| {
        let now = memories(&stage);
        format!("{before} KiB have become {after} KiB: {SERVICES:?} {by_service:?} {now:?}")
    })?;
    println!("{did} pieces of work in {time:?}; {before} KiB before, {after} KiB after");
    println!("of {SERVICES:?}: {by_service:?} before, {:?} after", memories(&stage)?);
    let as_before = || takes(&stage).is_ok_and(|takes| takes == taken);
    until("all is let go of", REST, as_before)
        .with_context(|| format!("{taken:?} has become {:?}", takes(&stage)))
}
