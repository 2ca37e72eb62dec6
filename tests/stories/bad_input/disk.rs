//! A disk that is full, or that is not to be written to.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use berth_grpc::Channel;
use berth_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use berth_proto::containerd::services::namespaces::v1::{CreateNamespaceRequest, Namespace};
use berth_testkit::{Image, Layer, Node, Registry, Run, program, until};
use serde_json::json;
use tonic::{Code, Status};

use super::refused;

const SOON: Duration = Duration::from_secs(60);

fn mount(options: &str, at: &Path) -> Result<()> {
    let mount = program("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).args([at]);
    mount.output()?.ok().map(|_| ())
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() -> Result<()> {
    let registry = Registry::start()?;
    let small = Image::busybox()?.push(&registry, "small:1")?;
    let large =
        Image::build(vec![Layer::busybox()?, Layer::noise("noise", 16_000_000, 3)?], json!({}))?
            .push(&registry, "large:1")?;
    let node = Node::start_as("", &[], |dir| {
        fs_err::create_dir(dir.join("root"))?;
        mount("size=16m", &dir.join("root"))
    })?;
    node.berth(&format!("pull -q {small}")).output()?.ok()?;
    node.berth(&format!("run -d --name disk-box {small} sleep 600")).output()?.ok()?;

    refused(
        &node,
        &format!("pull -q {large}"),
        1,
        &["large:1", "No space left on device", "make space"],
    )?;
    assert_eq!(node.berth("exec disk-box echo alive").output()?.ok()?, "alive\n");
    node.fsck()?;

    mount("remount,size=96m", &node.path("root"))?;
    node.berth(&format!("pull -q {large}")).output()?.ok()?;
    let count = node.berth(&format!("run --rm {large} wc -c /noise")).output()?.ok()?;
    assert_eq!(count, "16000000 /noise\n");
    node.berth("rm -f disk-box").output()?.ok()?;
    node.fsck()
}

/// What is told at a path there: a node's address, or a service's own socket.
fn told(curl: Run, path: &str) -> Result<(String, String)> {
    let told = curl
        .args(["-sS", "--max-time", "20", "-w", "%{http_code}"])
        .args([format!("http://{path}")])
        .output()?
        .ok()?;
    let (text, code) = told.split_at(told.len().saturating_sub(3));
    Ok((code.to_owned(), text.to_owned()))
}

/// curl, on a service's own socket.
fn at_service(socket: &Path) -> Run {
    program("curl").args(["--http2-prior-knowledge", "--unix-socket"]).args([socket])
}

/// What grpc.health.v1 says of a service on its own socket: 1 that it serves, 2 that it does not.
fn health(socket: &Path) -> Result<u8> {
    let told = at_service(socket)
        .args(["-sS", "--max-time", "20"])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        .args(["--data-binary", "@-", "http://localhost/grpc.health.v1.Health/Check"])
        .output_with(&[0; 5])?
        .ok()?;
    let answer = told.as_bytes();
    ensure!(answer.len() == 7 && answer[..6] == [0, 0, 0, 0, 2, 8], "{answer:?}");
    Ok(answer[6])
}

/// Makes a namespace with so many bytes of labels.
async fn namespace(channel: &Channel, number: usize, bytes: usize) -> Result<(), Status> {
    let label = |n: usize| (format!("l{n}"), "x".repeat(bytes.min(4000)));
    let labels = (0..bytes.div_ceil(4000)).map(label).collect();
    let namespace = Namespace { name: format!("full-{number}"), labels };
    let request = CreateNamespaceRequest { namespace: Some(namespace) };
    NamespacesClient::new(channel.clone()).create(request).await.map(drop)
}

/// A service whose store cannot be written says so, to each who asks, and no longer than that.
#[test]
fn a_store_that_is_full_is_told_by_its_service_and_its_node_until_there_is_room() -> Result<()> {
    let node = Node::start_as("[metrics]\naddress = \"127.0.0.1:0\"\n", &[], |dir| {
        fs_err::create_dir(dir.join("root"))?;
        mount("size=16m", &dir.join("root"))
    })?;
    let (address, socket) = (crate::observe::told_at(&node)?, node.socket("distribution"));
    let own = || told(at_service(&socket), "localhost/readyz");
    let all = || told(program("curl"), &format!("{address}/readyz"));
    let well = "distribution: ok\nbundle: ok\nruntime: ok\n";
    let is = |told: Result<(String, String)>, code: &str, text: &str| {
        told.is_ok_and(|told| told == (code.to_owned(), text.to_owned()))
    };
    until("the node is ready", SOON, || is(all(), "200", well))?;
    assert_eq!((own()?, health(&socket)?), (("200".into(), "ok\n".into()), 1));

    let ballast = node.path("root/ballast");
    let full = fs_err::write(&ballast, vec![1; 32 << 20]).expect_err("there is room");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // What the store has of the disk already is used up: large changes are refused first, then all.
    runtime.block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let (mut bytes, mut refused) = (400_000, 0);
        for number in 0..5000 {
            match namespace(&channel, number, bytes).await {
                Ok(()) => refused = 0,
                Err(status) => {
                    ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
                    (bytes, refused) = (bytes / 2, refused + 1);
                }
            }
            if bytes == 0 && refused > 3 && own()?.0 == "503" {
                return Ok(());
            }
        }
        bail!("the store takes all: {:?}", own()?)
    })?;
    let (code, why) = own()?;
    let store = node.path("root/distribution/distribution.redb");
    let start = format!("store {} cannot be written, free its disk", store.display());
    assert!(code == "503" && why.starts_with(&start), "{code} {why}");
    assert_eq!(health(&socket)?, 2);
    let reason = format!("distribution: {start}");
    let mut last = String::new();
    until("the node tells it", SOON, || {
        let (code, text) = all().unwrap_or_default();
        last = format!("{code} {text}");
        code == "503" && text.starts_with(&reason) && text.ends_with("\nbundle: ok\nruntime: ok\n")
    })
    .with_context(|| last.clone())?;
    // What is there is told all the same.
    node.ctr("namespaces ls").output()?.ok()?;

    fs_err::remove_file(&ballast)?;
    // Nobody commits anything.
    until("the service can do its work again", SOON, || is(own(), "200", "ok\n"))?;
    assert_eq!(health(&socket)?, 1);
    until("so can the node", SOON, || is(all(), "200", well))?;
    node.ctr("namespaces create after").output()?.ok()?;
    node.fsck()
}

#[test]
fn a_root_that_cannot_be_written_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    fs_err::create_dir(&root)?;
    mount("size=1m,ro", &root)?;
    let out = program(Node::binary("berthd")?)
        .args(["--config", "/dev/null", "--root"])
        .args([&root])
        .args(["--state"])
        .args([dir.path().join("state")])
        .output();
    program("umount").args([&root]).output()?.ok()?;
    let out = out?;
    assert_eq!(out.code, 1, "{out}");
    let named = root.display().to_string();
    for part in [named.as_str(), "Read-only file system"] {
        assert!(out.stderr.contains(part), "{part} is missing: {out}");
    }
    Ok(())
}
