//! Differs that are processes of others: Debian's containerd, whose own Diff service is what berth
//! calls. It applies what its own content has, and writes what it makes there.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use berth_grpc::{Channel, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::diff::v1 as wire;
use berth_proto::containerd::types::{Descriptor, Mount};
use berth_testkit::{Containerd, Image, Layer, Node, Registry, Signal, is_root, sha256};
use content::content_client::ContentClient;
use tokio::runtime::Runtime;
use tonic::{Code, Request, Status};
use wire::diff_client::DiffClient;

use super::NO_COLLECTIONS;

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKERS: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A service with content and diffs.
#[derive(Clone)]
struct Client(Channel);

fn asked<T>(message: T) -> Request<T> {
    let namespace: Namespace = "default".parse().expect("a namespace");
    with_namespace(message, &namespace)
}

impl Client {
    fn of(address: &Path) -> Self {
        Self(berth_grpc::channel(address))
    }

    async fn put(&self, bytes: &[u8]) -> Result<Descriptor> {
        let digest = sha256(bytes);
        let size = i64::try_from(bytes.len())?;
        let write = content::WriteContentRequest {
            action: content::WriteAction::Commit.into(),
            r#ref: digest.clone(),
            total: size,
            expected: digest.clone(),
            data: bytes.to_vec().into(),
            ..Default::default()
        };
        let request = asked(tokio_stream::once(write));
        let mut answers = ContentClient::new(self.0.clone()).write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        let media_type = TAR.to_owned();
        Ok(Descriptor { media_type, digest, size, annotations: Default::default() })
    }

    async fn has(&self, digest: &str) -> Result<bool> {
        let ask = content::InfoRequest { digest: digest.to_owned() };
        match ContentClient::new(self.0.clone()).info(asked(ask)).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => bail!("{status:?}"),
        }
    }

    async fn apply(&self, layer: &Descriptor, to: &Path) -> Result<Descriptor, Status> {
        let (diff, mounts) = (Some(layer.clone()), vec![bind(to)]);
        let ask = wire::ApplyRequest { diff, mounts, ..Default::default() };
        let answer = DiffClient::new(self.0.clone()).apply(asked(ask)).await?;
        answer.into_inner().applied.ok_or_else(|| Status::internal("nothing is described"))
    }

    async fn diff(&self, left: &Path, right: &Path, kind: &str) -> Result<Descriptor, Status> {
        let (left, right) = (vec![bind(left)], vec![bind(right)]);
        let ask = wire::DiffRequest { left, right, media_type: kind.into(), ..Default::default() };
        let answer = DiffClient::new(self.0.clone()).diff(asked(ask)).await?;
        answer.into_inner().diff.ok_or_else(|| Status::internal("nothing is described"))
    }
}

fn bind(to: &Path) -> Mount {
    let options = vec!["rbind".to_owned(), "rw".to_owned()];
    let source = to.display().to_string();
    Mount { r#type: "bind".into(), source, target: String::new(), options }
}

/// containerd, and a node that asks it first.
struct Stage {
    containerd: Containerd,
    node: Node,
    ours: Client,
    theirs: Client,
    folder: tempfile::TempDir,
    runtime: Runtime,
}

impl Stage {
    fn start(timeout: &str) -> Result<Self> {
        let containerd = Containerd::start()?;
        let config = format!(
            "[bundle]\ndiffers = [\"theirs\", \"walking\"]\n[proxy_plugins.theirs]\n\
             type = \"diff\"\naddress = {:?}\ntimeout = {timeout:?}\n\
             capabilities = [\"one\"]\nexports = {{ root = \"/there\" }}\n",
            containerd.address()
        );
        let node = Node::start_with(&(config + NO_COLLECTIONS))?;
        let runtime = Runtime::new()?;
        let (ours, theirs) = (Client::of(&node.address()), Client::of(&containerd.address()));
        Ok(Self { containerd, node, ours, theirs, folder: tempfile::tempdir()?, runtime })
    }

    fn folder(&self, name: &str) -> Result<std::path::PathBuf> {
        let path = self.folder.path().join(name);
        fs_err::create_dir_all(&path)?;
        Ok(path)
    }

    fn address(&self) -> String {
        self.containerd.address().display().to_string()
    }
}

fn layer(text: &str) -> Result<Vec<u8>> {
    Layer::default().file("file", 0o644, text.as_bytes())?.finish()
}

#[test]
fn layers_are_applied_and_made_by_the_first_that_does_it() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start("20s")?;
    let (to, left, right) = (stage.folder("to")?, stage.folder("left")?, stage.folder("right")?);
    fs_err::write(right.join("new"), "made")?;
    stage.runtime.block_on(async {
        // Only containerd has it.
        let theirs = stage.theirs.put(&layer("theirs")?).await?;
        let applied = stage.ours.apply(&theirs, &to).await?;
        assert_eq!(fs_err::read_to_string(to.join("file"))?, "theirs");
        assert_eq!((applied.digest.as_str(), applied.size), (&*theirs.digest, theirs.size));
        // Only we have it: that it is not there is an answer, and nobody else is asked.
        let ours = stage.ours.put(&layer("ours")?).await?;
        let refused = stage.ours.apply(&ours, &to).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        assert_eq!(fs_err::read_to_string(to.join("file"))?, "theirs");
        let made = stage.ours.diff(&left, &right, TAR).await?;
        assert!(stage.theirs.has(&made.digest).await? && !stage.ours.has(&made.digest).await?);
        assert!(made.size > 0 && made.media_type == TAR, "{made:?}");
        // It does not make docker's; the next one does.
        let refused = stage.theirs.diff(&left, &right, DOCKERS).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
        let made = stage.ours.diff(&left, &right, DOCKERS).await?;
        assert!(stage.ours.has(&made.digest).await? && !stage.theirs.has(&made.digest).await?);
        let refused = stage.ours.diff(&left, &right, "x/none").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
        anyhow::Ok(())
    })?;
    let printed = stage.node.berth("--json info").output()?.ok()?;
    let info: serde_json::Value = serde_json::from_str(&printed)?;
    let plugins = info["plugins"].as_array().context("plugins")?;
    let found = plugins.iter().find(|plugin| plugin["id"] == "theirs").context("theirs")?;
    assert_eq!(found["type"], "io.containerd.differ.v1");
    assert_eq!(found["exports"]["root"], "/there");
    assert_eq!(found["exports"]["address"], stage.address());
    assert_eq!(found["capabilities"], serde_json::json!(["one"]));
    stage.node.fsck()
}

#[test]
fn a_differ_that_hangs_is_told_so() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start("12s")?;
    let to = stage.folder("to")?;
    let known = stage.runtime.block_on(stage.theirs.put(&layer("theirs")?))?;
    stage.containerd.signal(Signal::STOP)?;
    let refused = stage.runtime.block_on(stage.ours.apply(&known, &to)).unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    let method = "/containerd.services.diff.v1.Diff/Apply";
    let said = format!("differ theirs did not end {method} on {}", stage.address());
    assert!(refused.message().contains(&said), "{refused}");
    stage.containerd.signal(Signal::CONT)?;
    stage.runtime.block_on(stage.ours.apply(&known, &to))?;
    stage.node.fsck()
}

/// More calls hang than layers are extracted at once, and a pull goes on.
#[test]
fn a_differ_that_hangs_stalls_nobody_else() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut stage = Stage::start("60s")?;
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let to = stage.folder("to")?;
    let known = stage.runtime.block_on(stage.theirs.put(&layer("theirs")?))?;
    stage.containerd.signal(Signal::STOP)?;
    let begun = Instant::now();
    let hanging: Vec<_> = (0..16)
        .map(|_| {
            let (client, known, to) = (stage.ours.clone(), known.clone(), to.clone());
            stage.runtime.spawn(async move { client.apply(&known, &to).await })
        })
        .collect();
    stage.node.berth(&format!("pull -q {image}")).output()?.ok()?;
    assert!(hanging.iter().all(|call| !call.is_finished()), "{:?}", begun.elapsed());
    stage.containerd.signal(Signal::KILL)?;
    stage.containerd.ends()?;
    for call in hanging {
        let broken = stage.runtime.block_on(call)?.unwrap_err();
        assert_eq!(broken.code(), Code::Unavailable, "{broken}");
    }
    stage.node.fsck()
}

/// Reads what a client of HTTP/2 sends until a request has come: after 24 bytes of greeting, frames
/// with a length of 3 bytes, a kind, of which 1 is a request's head, and 5 more.
fn read_request(from: &mut impl Read) -> std::io::Result<()> {
    from.read_exact(&mut [0; 24])?;
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        std::io::copy(&mut from.by_ref().take(length.into()), &mut std::io::sink())?;
        if head[3] == 1 {
            return Ok(());
        }
    }
}

/// It dies with a request that it has received.
#[test]
fn a_differ_that_dies_is_told_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (address, to) = (folder.path().join("differ.sock"), folder.path().join("to"));
    fs_err::create_dir(&to)?;
    let config = format!(
        "[bundle]\ndiffers = [\"theirs\"]\n[proxy_plugins.theirs]\ntype = \"diff\"\n\
         address = {address:?}\ntimeout = \"20s\"\n"
    );
    let node = Node::start_with(&(config + NO_COLLECTIONS))?;
    let (client, runtime) = (Client::of(&node.address()), Runtime::new()?);
    let listener = UnixListener::bind(&address)?;
    let differ = std::thread::spawn(move || read_request(&mut listener.accept()?.0));
    let digest = sha256(b"layer");
    let layer = Descriptor { media_type: TAR.into(), digest, size: 5, ..Default::default() };
    let broken = runtime.block_on(client.apply(&layer, &to)).unwrap_err();
    differ.join().expect("no panic")?;
    assert_eq!(broken.code(), Code::Unavailable, "{broken}");
    assert!(broken.message().contains("differ theirs broke off"), "{broken}");
    let away = runtime.block_on(client.apply(&layer, &to)).unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
    let said = format!("differ theirs does not answer on {}", address.display());
    assert!(away.message().contains(&said), "{away}");
    node.fsck()
}
