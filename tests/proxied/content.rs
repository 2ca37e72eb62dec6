//! A content store that is a process of others: Debian's containerd, whose own Content service keeps
//! the bytes of a node's blobs, in the namespace `berth`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use berth_grpc::{Channel, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::content::v1 as wire;
use berth_testkit::{Containerd, Image, Node, Registry, Signal, is_root, sha256, until};
use tokio::runtime::Runtime;
use tonic::{Code, Request, Status};
use wire::content_client::ContentClient;

use super::NO_COLLECTIONS;

/// Content in one namespace.
#[derive(Clone)]
struct Client(Channel, &'static str);

impl Client {
    fn asked<T>(&self, message: T) -> Request<T> {
        let namespace: Namespace = self.1.parse().expect("a namespace");
        with_namespace(message, &namespace)
    }

    fn client(&self) -> ContentClient<Channel> {
        ContentClient::new(self.0.clone())
    }

    async fn put(&self, bytes: &[u8]) -> Result<String, Status> {
        let digest = sha256(bytes);
        let write = wire::WriteContentRequest {
            action: wire::WriteAction::Commit.into(),
            r#ref: digest.clone(),
            total: bytes.len() as i64,
            expected: digest.clone(),
            data: bytes.to_vec().into(),
            ..Default::default()
        };
        let request = self.asked(tokio_stream::once(write));
        let mut answers = self.client().write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(digest)
    }

    async fn get(&self, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
        let ask = wire::ReadContentRequest { digest: digest.to_owned(), offset, size };
        let mut frames = self.client().read(self.asked(ask)).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(frame) = frames.message().await? {
            bytes.extend_from_slice(&frame.data);
        }
        Ok(bytes)
    }

    async fn has(&self, digest: &str) -> Result<bool> {
        let ask = wire::InfoRequest { digest: digest.to_owned() };
        match self.client().info(self.asked(ask)).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => bail!("{status:?}"),
        }
    }

    async fn delete(&self, digest: &str) -> Result<(), Status> {
        let ask = wire::DeleteContentRequest { digest: digest.to_owned() };
        self.client().delete(self.asked(ask)).await.map(drop)
    }
}

/// containerd, and a node whose blobs it keeps.
struct Stage {
    containerd: Containerd,
    node: Node,
    ours: Client,
    theirs: Client,
    runtime: Runtime,
}

impl Stage {
    fn start(timeout: &str, more: &str) -> Result<Self> {
        let containerd = Containerd::start()?;
        let config = format!(
            "[distribution]\ncontent_store = \"theirs\"\n[proxy_plugins.theirs]\n\
             type = \"content\"\naddress = {:?}\ntimeout = {timeout:?}\n\
             capabilities = [\"one\"]\nexports = {{ root = \"/there\" }}\n{more}",
            containerd.address()
        );
        let node = Node::start_with(&config)?;
        let ours = Client(berth_grpc::channel(&node.address()), "default");
        let theirs = Client(berth_grpc::channel(&containerd.address()), "berth");
        Ok(Self { containerd, node, ours, theirs, runtime: Runtime::new()? })
    }

    /// The digests that containerd has.
    fn there(&self) -> Result<Vec<String>> {
        let printed = self.containerd.ctr("-n berth content ls -q").output()?.ok()?;
        Ok(printed.lines().map(str::to_owned).collect())
    }

    /// The files of blobs at the node.
    fn files(&self) -> Result<usize> {
        Ok(fs_err::read_dir(self.node.path("root/distribution/blobs/sha256"))?.count())
    }
}

#[test]
fn blobs_are_kept_there_and_what_others_have_stays() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut stage = Stage::start("20s", NO_COLLECTIONS)?;
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = stage.runtime.block_on(async {
        let digest = stage.ours.put(&large).await?;
        assert!(stage.theirs.has(&digest).await?);
        assert_eq!(stage.ours.get(&digest, 0, 0).await?, large);
        assert_eq!(stage.ours.get(&digest, 1 << 20, 5).await?, large[1 << 20..][..5]);
        // In another namespace by its name alone, and gone with the last that has it.
        let other = Client(stage.ours.0.clone(), "other");
        let ask = wire::WriteContentRequest {
            action: wire::WriteAction::Commit.into(),
            r#ref: "r".into(),
            expected: digest.clone(),
            total: large.len() as i64,
            offset: large.len() as i64,
            ..Default::default()
        };
        let request = other.asked(tokio_stream::once(ask));
        let mut answers = other.client().write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        stage.ours.delete(&digest).await?;
        assert_eq!(other.get(&digest, 0, 3).await?, large[..3]);
        other.delete(&digest).await?;
        // What was there before is somebody else's.
        let foreign = stage.theirs.put(b"foreign").await?;
        stage.ours.put(b"foreign").await?;
        assert_eq!(stage.ours.get(&foreign, 0, 0).await?, b"foreign");
        stage.ours.delete(&foreign).await?;
        assert!(stage.theirs.has(&foreign).await?);
        stage.theirs.delete(&foreign).await?;
        anyhow::Ok(stage.ours.put(b"kept").await?)
    })?;
    // Nobody waits for what is removed.
    let only = |digests: Vec<String>| digests == [digest.as_str()];
    until("what was deleted is gone", Duration::from_secs(20), || stage.there().is_ok_and(only))?;
    // It is what it was after a restart. One that was damaged or lost is told so.
    stage.node.stop()?;
    stage.node.start_berthd()?;
    stage.node.fsck()?;
    stage.runtime.block_on(async {
        assert_eq!(stage.ours.get(&digest, 0, 0).await?, b"kept");
        stage.theirs.delete(&digest).await?;
        let lost = stage.ours.get(&digest, 0, 0).await.unwrap_err();
        assert_eq!(lost.code(), Code::DataLoss, "{lost}");
        anyhow::Ok(())
    })?;
    assert_eq!(stage.files()?, 0);
    let printed = stage.node.berth("--json info").output()?.ok()?;
    let info: serde_json::Value = serde_json::from_str(&printed)?;
    let plugins = info["plugins"].as_array().context("plugins")?;
    let mut stores = plugins.iter().filter(|p| p["type"] == "io.containerd.content.v1");
    let (found, others) = (stores.next().context("theirs")?, stores.next());
    assert!(others.is_none(), "{others:?}");
    assert_eq!((&found["id"], &found["exports"]["root"]), (&"theirs".into(), &"/there".into()));
    assert_eq!(found["exports"]["address"], stage.containerd.address().display().to_string());
    Ok(())
}

#[test]
fn an_image_is_pulled_run_pushed_and_collected() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start("20s", "")?;
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let berth = |line: &str| stage.node.berth(line).output()?.ok();
    berth(&format!("pull -q {image}"))?;
    assert!(stage.there()?.len() >= 3 && stage.files()? == 0, "{:?}", stage.there());
    let run = format!("run --rm --name stored-run {image} echo hello");
    assert_eq!(berth(&run)?.trim(), "hello");
    // Layers from what is there: the client's way, and an archive.
    let pull = format!("-n ctrs images pull --plain-http --snapshotter native {image}");
    stage.node.ctr(&pull).output()?.ok()?;
    let archive = stage.node.path("archive.tar");
    berth(&format!("export {} {image}", archive.display()))?;
    assert!(fs_err::metadata(&archive)?.len() > 100_000);
    let copy = image.replace("busybox", "copy");
    berth(&format!("tag {image} {copy}"))?;
    berth(&format!("push -q {copy}"))?;
    berth(&format!("rmi {copy}"))?;
    stage.node.kill_service("berth-distribution")?;
    assert_eq!(berth(&run)?.trim(), "hello");
    berth(&format!("rmi {image}"))?;
    stage.node.ctr(&format!("-n ctrs images rm --sync {image}")).output()?.ok()?;
    let gone = || stage.there().is_ok_and(|digests| digests.is_empty());
    until("all is gone there", Duration::from_secs(20), gone)
        .with_context(|| format!("{:?}", stage.there()))?;
    stage.node.fsck()
}

#[test]
fn damaged_blobs_are_not_served_and_are_made_good_by_who_has_them() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start("20s", NO_COLLECTIONS)?;
    let other = Client(stage.ours.0.clone(), "other");
    let digest = stage.runtime.block_on(stage.ours.put(b"whole"))?;
    stage.runtime.block_on(other.put(b"whole"))?;
    let hex = digest.trim_start_matches("sha256:");
    let file = format!("root/io.containerd.content.v1.content/blobs/sha256/{hex}");
    let file = stage.containerd.path(&file);
    for damage in [&b"Whole"[..], b"who"] {
        fs_err::write(&file, damage)?;
        stage.runtime.block_on(async {
            let refused = stage.ours.get(&digest, 0, 0).await.unwrap_err();
            assert_eq!(refused.code(), Code::DataLoss, "{refused}");
            // The other namespace has it still, and so has containerd until it collects: nothing is
            // acknowledged that could not be read.
            stage.ours.delete(&digest).await?;
            stage.ours.put(b"whole").await.unwrap_err();
            let refused = other.get(&digest, 0, 0).await.unwrap_err();
            assert_eq!(refused.code(), Code::DataLoss, "{refused}");
            anyhow::Ok(())
        })?;
        stage.containerd.ctr("-n berth leases create --id now").output()?.ok()?;
        stage.containerd.ctr("-n berth leases delete --sync now").output()?.ok()?;
        stage.runtime.block_on(async {
            // Who brings the bytes makes it good for all.
            stage.ours.put(b"whole").await?;
            assert_eq!(other.get(&digest, 0, 0).await?, b"whole");
            anyhow::Ok(())
        })?;
        assert_eq!(fs_err::read(&file)?, b"whole");
    }
    // Of somebody else nothing that is wrong is taken for the blob, or taken away.
    let foreign = stage.runtime.block_on(stage.theirs.put(b"foreign"))?;
    let file = file.with_file_name(foreign.trim_start_matches("sha256:"));
    fs_err::write(&file, b"Foreign")?;
    let refused = stage.runtime.block_on(stage.ours.put(b"foreign")).unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused}");
    assert!(!stage.runtime.block_on(stage.ours.has(&foreign))?);
    assert_eq!(fs_err::read(&file)?, b"Foreign");
    stage.node.fsck()
}

#[test]
fn what_was_to_be_removed_goes_after_a_crash() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start("20s", NO_COLLECTIONS)?;
    let foreign = stage.runtime.block_on(stage.theirs.put(b"foreign"))?;
    let kept = stage.runtime.block_on(stage.ours.put(b"kept"))?;
    let doomed = stage.runtime.block_on(stage.ours.put(b"doomed"))?;
    stage.runtime.block_on(stage.ours.put(b"foreign"))?;
    stage.containerd.signal(Signal::STOP)?;
    for digest in [&doomed, &foreign] {
        stage.runtime.block_on(stage.ours.delete(digest))?;
    }
    stage.node.kill_service("berth-distribution")?;
    stage.containerd.signal(Signal::CONT)?;
    let mut left = [kept.as_str(), foreign.as_str()];
    left.sort_unstable();
    let only_these = |mut digests: Vec<String>| {
        digests.sort_unstable();
        digests == left
    };
    let gone = || stage.there().is_ok_and(only_these);
    until("what was deleted is gone", Duration::from_secs(30), gone)?;
    assert_eq!(stage.runtime.block_on(stage.ours.get(&kept, 0, 0))?, b"kept");
    stage.node.fsck()
}

#[test]
fn a_store_that_hangs_or_dies_is_told_so_and_stalls_nobody_else() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut stage = Stage::start("8s", NO_COLLECTIONS)?;
    let known = stage.runtime.block_on(stage.ours.put(b"known"))?;
    let doomed: Vec<u8> = (100..108).collect();
    for number in &doomed {
        stage.runtime.block_on(stage.ours.put(&[*number]))?;
    }
    stage.containerd.signal(Signal::STOP)?;
    let begun = Instant::now();
    let hanging: Vec<_> = (0..16_u8)
        .map(|number| {
            let (client, known) = (stage.ours.clone(), known.clone());
            stage.runtime.spawn(async move {
                match number % 2 {
                    0 => client.get(&known, 0, 0).await.map(drop),
                    _ => client.put(&[number]).await.map(drop),
                }
            })
        })
        .collect();
    // What needs no bytes goes on.
    assert!(stage.runtime.block_on(stage.ours.has(&known))?);
    for line in ["namespaces ls", "content ls", "images ls", "snapshots ls", "snapshots prepare k"]
    {
        stage.node.ctr(line).output()?.ok()?;
    }
    assert!(hanging.iter().all(|call| !call.is_finished()), "{:?}", begun.elapsed());
    let address = stage.containerd.address().display().to_string();
    for call in hanging {
        let refused = stage.runtime.block_on(call)?.unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
        let said = refused.message();
        assert!(said.contains("content store theirs") && said.contains(&address), "{said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    // What is deleted waits for nothing, and goes when it is back.
    let begun = Instant::now();
    for number in &doomed {
        stage.runtime.block_on(stage.ours.delete(&sha256(&[*number])))?;
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    stage.containerd.signal(Signal::CONT)?;
    let gone = |digests: Vec<String>| !doomed.iter().any(|n| digests.contains(&sha256(&[*n])));
    until("what was deleted is gone", Duration::from_secs(40), || stage.there().is_ok_and(gone))?;
    stage.runtime.block_on(async {
        // What was asked for in vain is done by who asks again.
        let again = stage.ours.put(&[1]).await?;
        assert_eq!(stage.ours.get(&again, 0, 0).await?, [1]);
        assert_eq!(stage.ours.get(&known, 0, 0).await?, b"known");
        anyhow::Ok(())
    })?;
    stage.node.fsck()?;
    stage.containerd.signal(Signal::KILL)?;
    stage.containerd.ends()?;
    for away in [
        stage.runtime.block_on(stage.ours.get(&known, 0, 0)).map(drop),
        stage.runtime.block_on(stage.ours.put(b"late")).map(drop),
    ] {
        let away = away.unwrap_err();
        assert_eq!(away.code(), Code::Unavailable, "{away}");
        let said = away.message();
        assert!(said.contains("content store theirs") && said.contains(&address), "{said}");
    }
    Ok(())
}
