//! What the diff service must do, whoever's it is: a layer made of the difference between two
//! trees, applied to the first, gives the second. On plain directories and on a snapshotter's
//! snapshots; files, directories, links, devices, attributes, names.
//!
//! What the reference does otherwise is an exception with its reason ([`Exception`]).

mod cases;
mod client;
mod tree;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_mount::Mount;
use berth_testkit::Node;
use tonic::Code;

use crate::Containerd;
use crate::sockets::Sockets;
use cases::{CASES, Case, LAYERS};
use client::{Client, GZIP, TAR, ZSTD};
use tree::tree;

/// What an implementation is known to do otherwise than the suite says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Layers are made without `user.` attributes: containerd writes `security.capability` alone.
    /// Berth writes all, since nothing else keeps what a container has set.
    NoUserAttributes,
    /// Layers are not made with zstd: Debian's containerd 1.6 cannot; containerd has been able to
    /// since 1.7.
    NoZstd,
    /// Deletions have the time at which the layer was made: containerd before 2.0.
    TimesOfDeletions,
}

const CONTAINERD: &[Exception] =
    &[Exception::NoUserAttributes, Exception::NoZstd, Exception::TimesOfDeletions];

/// One run of the suite.
struct Suite {
    client: Client,
    exceptions: &'static [Exception],
    folder: tempfile::TempDir,
}

async fn run(sockets: &Sockets, snapshotter: &str, exceptions: &'static [Exception]) -> Result<()> {
    let client = Client::new(sockets, snapshotter, "differ").await?;
    let mut suite = Suite { client, exceptions, folder: tempfile::tempdir()? };
    for case in CASES {
        suite.on_directories(case).await.with_context(|| format!("{}, directories", case.name))?;
        suite.on_snapshots(case).await.with_context(|| format!("{}, snapshots", case.name))?;
    }
    for case in LAYERS {
        suite.by_hand(case).await.with_context(|| format!("{}, applied", case.name))?;
    }
    suite.media_types().await.context("media types")?;
    suite.refusals().await.context("refusals")
}

fn bind(path: &Path) -> Vec<Mount> {
    vec![Mount {
        kind: "bind".to_owned(),
        source: path.display().to_string(),
        target: String::new(),
        options: vec!["rw".to_owned(), "rbind".to_owned()],
    }]
}

impl Suite {
    fn knows(&self, exception: Exception) -> bool {
        self.exceptions.contains(&exception)
    }

    /// What a tree is, as far as this implementation's layers can say it.
    fn shown(&self, root: &Path) -> Result<Vec<String>> {
        tree(root, !self.knows(Exception::NoUserAttributes))
    }

    fn folder(&self, name: &str) -> Result<std::path::PathBuf> {
        let path = self.folder.path().join(name);
        if path.exists() {
            fs_err::remove_dir_all(&path)?;
        }
        fs_err::create_dir(&path)?;
        Ok(path)
    }

    async fn on_directories(&mut self, case: &Case) -> Result<()> {
        let (a, b) = (self.folder("a")?, self.folder("b")?);
        (case.build)(&a)?;
        let (from, to) = (a.display(), b.display());
        berth_testkit::run(&format!("cp -a {from}/. {to}"))?;
        (case.change)(&b)?;
        let made = self.client.diff(&bind(&a), &bind(&b), TAR).await?;
        let again = self.client.diff(&bind(&a), &bind(&b), TAR).await?;
        let same = made == again || self.knows(Exception::TimesOfDeletions);
        ensure!(same, "the same difference is another layer: {made:?} {again:?}");
        self.client.apply(&made, &bind(&a)).await?;
        agree(&self.shown(&a)?, &self.shown(&b)?)?;
        // From nothing, the whole tree.
        let (empty, whole) = (self.folder("empty")?, self.folder("whole")?);
        let made = self.client.diff(&bind(&empty), &bind(&b), GZIP).await?;
        self.client.apply(&made, &bind(&whole)).await?;
        agree(&self.shown(&whole)?, &self.shown(&b)?)
    }

    async fn on_snapshots(&mut self, case: &Case) -> Result<()> {
        let (empty, a) = (self.folder("empty")?, self.folder("a")?);
        (case.build)(&a)?;
        let base = self.client.diff(&bind(&empty), &bind(&a), TAR).await?;
        let name = |what: &str| format!("{what} of {}", case.name);
        let mounts = self.client.prepare(&name("base"), "").await?;
        self.client.apply(&base, &mounts).await?;
        self.client.commit(&name("done"), &name("base")).await?;
        let now = self.client.prepare(&name("now"), &name("done")).await?;
        let mounted = self.client.show(&now, self.folder.path(), "now").await?;
        (case.change)(mounted.path())?;
        let expected = self.shown(mounted.path())?;
        self.client.hide(mounted).await?;
        let before = self.client.view(&name("before"), &name("done")).await?;
        let made = self.client.diff(&before, &now, GZIP).await?;
        let again = self.client.prepare(&name("again"), &name("done")).await?;
        self.client.apply(&made, &again).await?;
        let mounted = self.client.show(&again, self.folder.path(), "again").await?;
        agree(&self.shown(mounted.path())?, &expected)?;
        self.client.hide(mounted).await
    }

    /// A layer that others have made, applied to a directory and to a snapshot.
    async fn by_hand(&mut self, case: &Case) -> Result<()> {
        let (a, layer, expected) =
            (self.folder("a")?, self.folder("layer")?, self.folder("expected")?);
        (case.build)(&a)?;
        let empty = self.folder("empty")?;
        let base = self.client.diff(&bind(&empty), &bind(&a), TAR).await?;
        let name = |what: &str| format!("{what} of layer {}", case.name);
        let mounts = self.client.prepare(&name("base"), "").await?;
        self.client.apply(&base, &mounts).await?;
        self.client.commit(&name("done"), &name("base")).await?;
        (case.change)(&layer)?;
        let archive = self.folder.path().join("layer.tar");
        let (from, to) = (layer.display(), archive.display());
        berth_testkit::run(&format!("tar --numeric-owner --no-xattrs -C {from} -cf {to} ."))?;
        let blob = self.client.put(&fs_err::read(&archive)?, TAR).await?;
        (case.expected)(&expected)?;
        self.client.apply(&blob, &bind(&a)).await?;
        agree(&tree::names(&a)?, &tree::names(&expected)?).context("to a directory")?;
        let mounts = self.client.prepare(&name("top"), &name("done")).await?;
        self.client.apply(&blob, &mounts).await?;
        let mounted = self.client.show(&mounts, self.folder.path(), "top").await?;
        agree(&tree::names(mounted.path())?, &tree::names(&expected)?).context("to a snapshot")?;
        self.client.hide(mounted).await
    }

    /// The layer is what its media type says, and told so.
    async fn media_types(&mut self) -> Result<()> {
        let (a, b) = (self.folder("a")?, self.folder("b")?);
        fs_err::write(b.join("f"), "content")?;
        let plain = self.client.diff(&bind(&a), &bind(&b), TAR).await?;
        ensure!(self.client.uncompressed(&plain).await?.is_none(), "a tar is what it is");
        for (asked, media_type, magic) in [
            ("", GZIP, &[0x1f, 0x8b][..]),
            (GZIP, GZIP, &[0x1f, 0x8b]),
            (ZSTD, ZSTD, &[0x28, 0xb5, 0x2f, 0xfd]),
        ] {
            let made = self.client.diff(&bind(&a), &bind(&b), asked).await;
            if asked == ZSTD && self.knows(Exception::NoZstd) {
                let none = made.err().context("it can be made: no exception any more")?;
                ensure!(none.code() == Code::Unimplemented, "{none:?}");
                continue;
            }
            let made = made?;
            ensure!(made.media_type == media_type, "{made:?}");
            ensure!(made.annotations.is_empty(), "{made:?}");
            let blob = self.client.read(&made).await?;
            ensure!(blob.starts_with(magic) && i64::try_from(blob.len())? == made.size, "{made:?}");
            let told = self.client.uncompressed(&made).await?;
            ensure!(told.as_deref() == Some(&*plain.digest), "{told:?}");
            let applied = self.client.apply(&made, &bind(&self.folder("applied")?)).await?;
            ensure!(applied == plain, "{applied:?} is not {plain:?}");
        }
        Ok(())
    }

    /// What cannot be done, by its code and words.
    async fn refusals(&mut self) -> Result<()> {
        let a = self.folder("a")?;
        let none = self.client.diff(&bind(&a), &bind(&a), "x/y").await.err();
        let none = none.context("no such media type")?;
        let words = "unsupported diff media type: x/y: not implemented";
        ensure!((none.code(), none.message()) == (Code::Unimplemented, words), "{none:?}");
        let mut blob = self.client.put(&[0; 1536], TAR).await?;
        blob.media_type = "x/y".to_owned();
        let none = self.client.apply(&blob, &bind(&a)).await.err().context("no processor")?;
        let words = "failed to get stream processor for x/y: no processor for media-type";
        ensure!(none.code() == Code::Unknown && none.message().ends_with(words), "{none:?}");
        blob.media_type = TAR.to_owned();
        blob.digest = format!("sha256:{}", "0".repeat(64));
        let none = self.client.apply(&blob, &bind(&a)).await.err().context("no blob")?;
        ensure!(none.code() == Code::NotFound, "{none:?}");
        Ok(())
    }
}

fn agree(found: &[String], expected: &[String]) -> Result<()> {
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|line| !b.contains(line)).cloned().collect()
    };
    let (more, less) = (only(found, expected), only(expected, found));
    ensure!(more.is_empty() && less.is_empty(), "found {more:#?}\nexpected {less:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_applies_what_it_tells_apart() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let containerd = Containerd::start()?;
    run(&Sockets::of_containerd(&containerd), "overlayfs", CONTAINERD).await
}

#[tokio::test(flavor = "multi_thread")]
async fn berth_applies_what_it_tells_apart() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let node = Node::start()?;
    run(&Sockets::of_gateway(&node), "overlayfs", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_applies_what_it_tells_apart() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let node = Node::start()?;
    run(&Sockets::of_services(&node), "overlayfs", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn berth_applies_it_on_directories() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    run(&Sockets::of_gateway(&Node::start()?), "native", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn berth_applies_it_on_erofs() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    run(&Sockets::of_gateway(&Node::start()?), "erofs", &[]).await
}

/// The differ is containerd's, behind containerd's socket, and the snapshots are the node's.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_differ_applies_what_it_tells_apart() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let containerd = Containerd::start()?;
    let node = Node::start_with(&format!(
        "[bundle]\ndiffers = [\"theirs\"]\n[proxy_plugins.theirs]\ntype = \"diff\"\naddress = {:?}\n",
        containerd.address()
    ))?;
    // The node's own lease of that name, for the snapshots.
    let held = crate::client::Client::new(&Sockets::of_gateway(&node), "overlayfs", "differ").await;
    drop(held?);
    run(&Sockets::of_proxied_differ(&node, &containerd), "overlayfs", CONTAINERD).await
}

#[tokio::test(flavor = "multi_thread")]
async fn berth_applies_it_on_btrfs() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    run(&Sockets::of_gateway(&crate::with_btrfs()?), "btrfs", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn berth_applies_it_in_block_files() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    run(&Sockets::of_gateway(&crate::with_blockfile(64 << 20)?), "blockfile", &[]).await
}

/// A program of the configuration, with the payload that a client has for it.
#[tokio::test(flavor = "multi_thread")]
async fn berth_gives_layers_and_payloads_to_stream_processors() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    // The payload is a serialised Any: its value is at the end.
    let script =
        "test \"$(tail -c 6 <&3)\" = secret || { echo wrong key >&2; exit 7; }; exec base64 -d";
    let node = Node::start_with(&format!(
        "[stream_processors.\"test.base64\"]\naccepts = [\"x/base64\"]\nreturns = {TAR:?}\n\
         path = \"sh\"\nargs = [\"-c\", {script:?}]\n"
    ))?;
    let mut client = Client::new(&Sockets::of_gateway(&node), "overlayfs", "differ").await?;
    let folder = tempfile::tempdir()?;
    let (layer, root) = (folder.path().join("layer"), folder.path().join("root"));
    fs_err::create_dir(&layer)?;
    fs_err::create_dir(&root)?;
    fs_err::write(layer.join("f"), "decoded")?;
    let [archive, encoded] = ["layer.tar", "encoded"].map(|name| folder.path().join(name));
    let line = format!(
        "tar -C {} -cf {} f; base64 <{} >{}",
        layer.display(),
        archive.display(),
        archive.display(),
        encoded.display()
    );
    berth_testkit::program("sh").args(["-c", &line]).output()?.ok()?;
    let blob = client.put(&fs_err::read(&encoded)?, "x/base64").await?;
    let key = |value: &str| {
        let value = value.as_bytes().to_vec();
        let any = prost_types::Any { type_url: "t".to_owned(), value };
        [("test.base64".to_owned(), any)].into()
    };
    let wrong = client.apply_with(&blob, &bind(&root), key("public")).await.err();
    let wrong = wrong.context("the key is wrong")?;
    ensure!(wrong.message().contains("exit status: 7: wrong key"), "{wrong:?}");
    ensure!(fs_err::read_dir(&root)?.next().is_none(), "nothing is applied");
    let applied = client.apply_with(&blob, &bind(&root), key("secret")).await?;
    ensure!(fs_err::read_to_string(root.join("f"))? == "decoded", "{applied:?}");
    let tar = i64::try_from(fs_err::metadata(&archive)?.len())?;
    ensure!((&*applied.media_type, applied.size) == (TAR, tar), "{applied:?}");
    Ok(())
}
