//! What of erofs is its own: the mounts that clients get, layers that are images, writable layers
//! of a size, images that are kept from changes. Needs root: it mounts.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use berth_bundle::diff::{Apply, Making, apply_image, make};
use berth_bundle::erofs::Packing;
use berth_bundle::layer::Limits;
use berth_bundle::snapshots::{EROFS, ErofsSettings, Kind, OVERLAYFS, Settings, Snapshots};
use berth_errors::{Code, Coded};
use berth_ids::Labels;
use berth_mount::Mount;
use support::{
    Node, Tar, caller, commit, directories, inside, is_root, labels, prepare, put, space, stage,
};

/// An image of a folder with these files.
fn image(node: &Node, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let tree = node.dir.path().join(format!("{name}.d"));
    fs::create_dir(&tree).unwrap();
    for (path, text) in files {
        fs::write(tree.join(path), text).unwrap();
    }
    let image = node.dir.path().join(name);
    let (to, from) = (image.display(), tree.display());
    berth_testkit::run(&format!("mkfs.erofs --quiet {to} {from}")).unwrap();
    image
}

fn layer(name: &str) -> berth_bundle::snapshots::StagedLayer {
    berth_bundle::snapshots::StagedLayer {
        caller: caller(),
        snapshotter: EROFS.to_owned(),
        staging: name.to_owned(),
        layer: format!("sha256:{name}"),
        parent: String::new(),
    }
}

async fn apply(
    node: &Node,
    mounts: Vec<Mount>,
    packing: Packing,
    image: &Path,
) -> Result<berth_bundle::layer::Applied, berth_bundle::Error> {
    let apply = Apply {
        layer: "sha256:image".to_owned(),
        mounts,
        temporary: node.dir.path().to_owned(),
        roots: vec![node.dir.path().to_owned()],
        limits: Limits { bytes: 1 << 20, ..Limits::default() },
    };
    apply_image(apply, packing, File::open(image).unwrap()).await
}

fn digest(bytes: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Word for word as containerd's, which clients compare and store.
#[tokio::test]
async fn mounts_are_images_and_an_overlay_that_names_them() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let at = |part: &str| format!("{}/erofs/snapshots/{part}", node.dir.path().display());
    let words = |mounts: &[Mount]| -> Vec<String> {
        let word = |m: &Mount| format!("{} {} {}", m.kind, m.source, m.options.join(","));
        mounts.iter().map(word).collect()
    };
    let id = |mounts: &[Mount]| -> String {
        let last = mounts.last().unwrap();
        let fs = last.option("upperdir").unwrap_or(&last.source);
        Path::new(fs).parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    };
    let first = prepare(&s, EROFS, "a", "").await.unwrap();
    let a = id(&first);
    assert_eq!(words(&first), [format!("bind {} rw,rbind", at(&format!("{a}/fs")))]);
    commit(&s, EROFS, "A", "a").await.unwrap();
    let image = |id: &str| format!("erofs {} ro,loop", at(&format!("{id}/layer.erofs")));
    let view = s.create(caller(), EROFS, Kind::View, "v", "A", Labels::new()).await.unwrap();
    assert_eq!(words(&view), [image(&a)]);
    let second = prepare(&s, EROFS, "b", "A").await.unwrap();
    let b = id(&second);
    let overlay = |id: &str, lower: &str| {
        let (work, upper) = (at(&format!("{id}/work")), at(&format!("{id}/fs")));
        format!(
            "format/mkdir/overlay overlay workdir={work},upperdir={upper},lowerdir={lower},index=off"
        )
    };
    assert_eq!(words(&second), [image(&a), overlay(&b, "{{ mount 0 }}")]);
    commit(&s, EROFS, "B", "b").await.unwrap();
    let third = prepare(&s, EROFS, "c", "B").await.unwrap();
    let both = [image(&b), image(&a)];
    assert_eq!(words(&third)[..2], both);
    assert_eq!(words(&third)[2], overlay(&id(&third), "{{ overlay 0 1 }}"));
    let view = s.create(caller(), EROFS, Kind::View, "w", "B", Labels::new()).await.unwrap();
    assert_eq!(words(&view)[..2], both);
    assert_eq!(
        words(&view)[2],
        "format/mkdir/overlay overlay lowerdir={{ overlay 0 1 }},index=off"
    );
    let capabilities = s.capabilities(EROFS).unwrap();
    assert_eq!(capabilities, ["remap-ids", "only-remap-ids", "rebase"]);
}

/// A client's way (Diff.Apply to an active snapshot) and a pull's.
#[tokio::test]
async fn layers_that_are_images_are_taken_as_they_are() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let base = image(&node, "base", &[("one", "1"), ("both", "base")]);
    let bytes = fs::read(&base).unwrap();
    let mounts = prepare(&s, EROFS, "k", "").await.unwrap();
    let applied = apply(&node, mounts, Packing::Plain, &base).await.unwrap();
    assert_eq!(applied.diff_id.to_string(), digest(&bytes));
    assert_eq!(applied.size, bytes.len() as u64);
    // It is shown before it is committed, too.
    let shown = s.mounts(&caller(), EROFS, "k").await.unwrap();
    assert_eq!(shown[0].kind, "erofs");
    assert_eq!(fs::read(node.mount(&shown).path().join("one")).unwrap(), b"1");
    commit(&s, EROFS, "base", "k").await.unwrap();
    // A packed one, staged before what is below it.
    let top = image(&node, "top", &[("two", "2"), ("both", "top")]);
    let packed = zstd::bulk::compress(&fs::read(&top).unwrap(), 1).unwrap();
    let input = std::io::Cursor::new(packed);
    let applied = s.stage_image(layer("top"), Packing::Zstd, input, Limits::default()).await;
    assert_eq!(applied.unwrap().diff_id.to_string(), digest(&fs::read(&top).unwrap()));
    put(&s, EROFS, "top", "top", "base").await.unwrap();
    let shown = node.mount(&prepare(&s, EROFS, "c", "top").await.unwrap());
    let read = |name: &str| fs::read_to_string(shown.path().join(name)).unwrap();
    assert_eq!((&*read("one"), &*read("two"), &*read("both")), ("1", "2", "top"));
    let kept = s.root(EROFS).unwrap().join("snapshots");
    let images = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
    let images = images.filter_map(|path| fs::read(path.join("layer.erofs")).ok());
    assert!(images.into_iter().any(|image| image == bytes), "it is the image, byte for byte");
}

#[tokio::test]
async fn what_is_no_image_or_has_no_place_is_refused() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let whole = image(&node, "whole", &[("f", &"x".repeat(9000))]);
    let other = node.dir.path().join("other");
    let mut bytes = fs::read(&whole).unwrap();
    let code = |done: Result<_, berth_bundle::Error>| done.map(drop).unwrap_err().code();
    let mounts = prepare(&s, EROFS, "k", "").await.unwrap();
    let directory = Path::new(&mounts[0].source).parent().unwrap().to_owned();
    for wrong in [&bytes[..bytes.len() - 4096], b"no image", &[0; 8192], &vec![0xff; 2 << 20]] {
        fs::write(&other, wrong).unwrap();
        let refused = code(apply(&node, mounts.clone(), Packing::Plain, &other).await);
        let expected = match wrong.len() > 1 << 20 {
            true => Code::ResourceExhausted,
            false => Code::InvalidArgument,
        };
        assert_eq!(refused, expected, "of {} bytes", wrong.len());
        let input = std::io::Cursor::new(wrong.to_vec());
        let staged = s.stage_image(layer("l"), Packing::Plain, input, Limits::default()).await;
        assert_eq!(code(staged), Code::InvalidArgument);
    }
    let refused = apply(&node, mounts.clone(), Packing::Zstd, &whole).await;
    assert_eq!(code(refused), Code::InvalidArgument, "it is not packed");
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with("layer")), "{left:?}");
    assert_eq!(directories(node.dir.path(), EROFS, "staging"), 0);
    // One that only looks like an image is the kernel's to find, before it is a snapshot.
    bytes[1024 + 14..1024 + 16].fill(0xff);
    fs::write(&other, &bytes).unwrap();
    let input = std::io::Cursor::new(bytes);
    s.stage_image(layer("odd"), Packing::Plain, input, Limits::default()).await.unwrap();
    put(&s, EROFS, "odd", "odd", "").await.unwrap_err();
    let odd = prepare(&s, EROFS, "oddly", "").await.unwrap();
    apply(&node, odd, Packing::Plain, &other).await.unwrap();
    commit(&s, EROFS, "odd", "oddly").await.unwrap_err();
    assert_eq!(s.list(&caller(), EROFS, |info| info.name == "odd").await.unwrap(), []);
    // Not into what is committed, nor into a snapshot of another kind.
    commit(&s, EROFS, "done", "k").await.unwrap();
    assert_eq!(code(apply(&node, mounts, Packing::Plain, &whole).await), Code::Unimplemented);
    let mounts = prepare(&s, OVERLAYFS, "o", "").await.unwrap();
    assert_eq!(code(apply(&node, mounts, Packing::Plain, &whole).await), Code::Unimplemented);
    let mut elsewhere = layer("o");
    elsewhere.snapshotter = OVERLAYFS.to_owned();
    let input = File::open(&whole).unwrap();
    let staged = s.stage_image(elsewhere, Packing::Plain, input, Limits::default()).await;
    assert_eq!(code(staged), Code::Unimplemented);
}

#[tokio::test]
async fn of_two_commits_at_once_one_is_done() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let mounts = prepare(&s, EROFS, "k", "").await.unwrap();
    fs::write(node.mount(&mounts).path().join("f"), "x".repeat(1 << 20)).unwrap();
    let (one, two) = tokio::join!(commit(&s, EROFS, "one", "k"), commit(&s, EROFS, "two", "k"));
    let (done, refused) = if one.is_ok() { ("one", two) } else { ("two", one) };
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let shown = node.mount(&prepare(&s, EROFS, "c", done).await.unwrap());
    assert_eq!(fs::read(shown.path().join("f")).unwrap().len(), 1 << 20);
}

/// What an overlay's upper directory says is found without mounting both sides, and is the same.
#[tokio::test]
async fn a_difference_is_what_was_written() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let base = Tar::default().dir("d/").file("d/a", "1").file("d/b", "2").file("gone", "3");
    stage(&s, EROFS, "base", "", base.end()).await.unwrap();
    put(&s, EROFS, "base", "base", "").await.unwrap();
    let right = prepare(&s, EROFS, "k", "base").await.unwrap();
    let shown = node.mount(&right);
    fs::write(shown.path().join("d/a"), "changed").unwrap();
    fs::remove_file(shown.path().join("gone")).unwrap();
    drop(shown);
    let left = s.create(caller(), EROFS, Kind::View, "v", "base", Labels::new()).await.unwrap();
    let layer = async |left: Vec<Mount>, right: Vec<Mount>| {
        let (chunks, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(2);
        let making = Making {
            left,
            right,
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
            labels: Labels::new(),
            latest: None,
            temporary: node.dir.path().to_owned(),
            roots: vec![node.dir.path().to_owned()],
        };
        let gather = async {
            let mut blob = Vec::new();
            while let Some(chunk) = receiver.recv().await {
                blob.extend_from_slice(&chunk);
            }
            blob
        };
        let (made, blob) = tokio::join!(make(making, chunks), gather);
        made.unwrap();
        blob
    };
    let upper = layer(left.clone(), right.clone()).await;
    // The same from two trees: the left side is put so that nobody sees what it is.
    let lowers = node.mount(&left);
    let bind = Mount {
        kind: "bind".into(),
        source: lowers.path().display().to_string(),
        target: String::new(),
        options: vec!["ro".into(), "rbind".into()],
    };
    assert!(upper == layer(vec![bind], right).await);
    let mut archive = tar::Archive::new(&*upper);
    let names = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["d/", "d/a", ".wh.gone"]);
}

async fn open(node: &Node, erofs: ErofsSettings) -> Snapshots {
    let settings = Settings { erofs, ..Settings::default() };
    node.open_with(node.dir.path(), settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn writable_layers_have_the_size_that_is_configured() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = open(&node, ErofsSettings { writable: 16 << 20, ..ErofsSettings::default() }).await;
    let first = prepare(&s, EROFS, "a", "").await.unwrap();
    let kinds: Vec<_> = first.iter().map(|mount| &*mount.kind).collect();
    assert_eq!(kinds, ["mkfs/ext4", "format/mkdir/bind"]);
    assert_eq!(first[0].option("X-containerd.mkfs.size"), Some("16777216"));
    let written = |mounts: Vec<Mount>, name: &'static str, bytes: usize| {
        let folder = node.dir.path().to_owned();
        let work = move || {
            let shown = support::Shown::new(&mounts, &folder);
            fs::write(shown.path().join(name), vec![b'x'; bytes])
        };
        tokio::task::spawn_blocking(work)
    };
    written(first, "fits", 1 << 20).await.unwrap().unwrap();
    commit(&s, EROFS, "A", "a").await.unwrap();
    let sized = labels(&[("containerd.io/snapshot/max-size", "8388608")]);
    let second = s.create(caller(), EROFS, Kind::Active, "b", "A", sized).await.unwrap();
    assert_eq!(second[0].option("X-containerd.mkfs.size"), Some("8388608"));
    let full = written(second.clone(), "much", 10 << 20).await.unwrap().unwrap_err();
    assert_eq!(full.raw_os_error(), Some(28), "{full}");
    written(second, "much", 1 << 20).await.unwrap().unwrap();
    commit(&s, EROFS, "B", "b").await.unwrap();
    let view = s.create(caller(), EROFS, Kind::View, "v", "B", Labels::new()).await.unwrap();
    let lines = inside(node.mount(&view).path());
    let names: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["\"fits\"", "\"much\""]);
    // Nothing but the images is left of it.
    s.cleared().await;
    let files =
        berth_testkit::run(&format!("find {} -name rwlayer.img", node.dir.path().display()));
    assert_eq!(files.unwrap(), "");
}

#[tokio::test]
async fn immutable_images_go_with_their_snapshots() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = open(&node, ErofsSettings { immutable: true, ..ErofsSettings::default() }).await;
    prepare(&s, EROFS, "a", "").await.unwrap();
    commit(&s, EROFS, "A", "a").await.unwrap();
    // Not in the trash, which is emptied meanwhile.
    let snapshots = node.dir.path().join(EROFS).join("snapshots");
    let found = berth_testkit::run(&format!("find {} -name layer.erofs", snapshots.display()));
    let image = found.unwrap().trim().to_owned();
    if fs::remove_file(&image).is_ok() {
        // A file system without the attribute, where it is a warning.
        return;
    }
    prepare(&s, EROFS, "b", "A").await.unwrap();
    s.remove(&space(), None, EROFS, "b").await.unwrap();
    s.remove(&space(), None, EROFS, "A").await.unwrap();
    s.cleared().await;
    assert_eq!(directories(node.dir.path(), EROFS, "trash"), 0);
    assert_eq!(directories(node.dir.path(), EROFS, "snapshots"), 0);
}

/// With fs-verity where there is: here it is tried, and either works or is refused in plain words.
#[tokio::test]
async fn images_are_sealed_by_fs_verity_or_that_is_refused() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = open(&node, ErofsSettings { fsverity: true, ..ErofsSettings::default() }).await;
    if !s.names().contains(&EROFS) {
        let why = s.absent().iter().find(|absent| absent.name == EROFS).unwrap().why.to_string();
        assert!(why.contains("enable_fsverity is set"), "{why}");
        let refused = prepare(&s, EROFS, "a", "").await.unwrap_err();
        assert_eq!(refused.to_string(), "snapshotter not loaded: erofs: invalid argument");
        return;
    }
    prepare(&s, EROFS, "a", "").await.unwrap();
    commit(&s, EROFS, "A", "a").await.unwrap();
    prepare(&s, EROFS, "b", "A").await.unwrap();
    // One that was made before it was configured.
    drop(s);
    let s = open(&node, ErofsSettings::default()).await;
    prepare(&s, EROFS, "c", "").await.unwrap();
    commit(&s, EROFS, "C", "c").await.unwrap();
    drop(s);
    let s = open(&node, ErofsSettings { fsverity: true, ..ErofsSettings::default() }).await;
    let refused = prepare(&s, EROFS, "d", "C").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}
