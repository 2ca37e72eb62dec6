//! Runs sequences on an implementation and on the model, and compares.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use berth_proto::containerd::services::snapshots::v1::{Info, Kind as WireKind};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::Runtime;
use tonic::Code;

use crate::client::{Client, Labels};
use crate::model::{Kind, Model, Snapshot};
use crate::operation::{Operation, sequence};
use crate::sockets::Sockets;

const CASES: u32 = 30;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The reference, with what it is known to do otherwise.
    Containerd,
    /// A node, which must do as the model does.
    Berth,
    /// A node whose blobs the reference keeps.
    Proxied,
}

/// What a subject's snapshotter is known to do otherwise, and why. One that it does not do is a failure.
const EXCEPTIONS: &[(Subject, &str, &str, &str)] = &[(
    Subject::Containerd,
    "native",
    A_VIEW,
    "it looks for a view's directory, which it has not, before it looks at the kind: UNKNOWN",
)];

const A_VIEW: &str = "a commit of a view";

/// Shows all exceptions, whatever the sequences are.
fn first() -> Vec<Operation> {
    let (key, labels) = (|key: &str| key.to_owned(), Labels::new);
    vec![
        Operation::Prepare { key: key("a"), parent: key(""), labels: labels() },
        Operation::Commit { name: key("b"), key: key("a"), labels: labels() },
        Operation::View { key: key("c"), parent: key("b"), labels: labels() },
        Operation::Commit { name: key("d"), key: key("c"), labels: labels() },
    ]
}

/// Runs the suite on the service at these sockets.
pub fn run(subject: Subject, sockets: &Sockets, snapshotter: &str) -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let runtime = Runtime::new().context("start a runtime")?;
    let cases = number("BERTH_CASES").and_then(|n| u32::try_from(n).ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number("BERTH_SEED").unwrap_or(0).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let next = std::cell::Cell::new(0_u64);
    let excused = RefCell::new(BTreeSet::new());
    let one = async |operations: &[Operation]| {
        next.set(next.get() + 1);
        let namespace = format!("conformance-{}", next.get());
        let mut side_by_side = SideBySide {
            subject,
            client: Client::new(sockets, snapshotter, &namespace).await?,
            model: Model::default(),
            shares: snapshotter == "btrfs",
            snapshotter,
            excused: &excused,
            folder: tempfile::tempdir().context("make a folder")?,
        };
        for operation in operations {
            side_by_side.step(operation).await.with_context(|| format!("at {operation:?}"))?;
        }
        side_by_side.finish().await
    };
    runtime.block_on(one(&first())).with_context(|| format!("{snapshotter} at {sockets:?}"))?;
    let outcome = TestRunner::new_with_rng(config, rng).run(&sequence(), |operations| {
        let failed = |error: anyhow::Error| TestCaseError::fail(format!("{error:#}"));
        runtime.block_on(one(&operations)).map_err(failed)
    });
    outcome.map_err(|error| anyhow::anyhow!("{snapshotter} at {sockets:?}: {error}"))?;
    let own = EXCEPTIONS.iter().filter(|(of, at, ..)| (*of, *at) == (subject, snapshotter));
    let idle: Vec<_> = own.filter(|(_, _, what, _)| !excused.borrow().contains(what)).collect();
    ensure!(idle.is_empty(), "no exceptions any more: {idle:?}");
    Ok(())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

struct SideBySide<'a> {
    subject: Subject,
    snapshotter: &'a str,
    /// The exceptions that have occurred.
    excused: &'a RefCell<BTreeSet<&'static str>>,
    client: Client,
    model: Model,
    /// Whether a snapshot shares its parent's files.
    shares: bool,
    folder: tempfile::TempDir,
}

impl SideBySide<'_> {
    async fn step(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Prepare { key, parent, labels } => {
                let expected = self.model.create(Kind::Active, key, parent, labels);
                agree(
                    &self.client.prepare(key, parent, labels).await.map(|n| n > 0),
                    &expected.map(|()| true),
                )
            }
            Operation::View { key, parent, labels } => {
                let expected = self.model.create(Kind::View, key, parent, labels);
                agree(
                    &self.client.view(key, parent, labels).await.map(|n| n > 0),
                    &expected.map(|()| true),
                )
            }
            Operation::Commit { name, key, labels } => {
                let expected = self.model.commit(name, key, labels);
                let found = self.client.commit(name, key, labels).await;
                let is_of_view = expected == Err(Code::FailedPrecondition);
                if is_of_view && found == Err(Code::Unknown) && self.excuses(A_VIEW) {
                    return Ok(());
                }
                agree(&found, &expected)
            }
            Operation::Remove { key } => {
                agree(&self.client.remove(key).await, &self.model.remove(key))
            }
            Operation::Stat { key } => {
                let found = self.client.stat(key).await.map(seen);
                agree(&found, &self.model.stat(key).map(|s| told(key, &s)))
            }
            Operation::Update { key, labels, paths } => {
                let before = self.client.stat(key).await.ok();
                let found = self.client.update(key, labels, paths).await;
                let expected = self.model.update(key, labels, paths);
                if let (Some(before), Ok(after)) = (before, &found) {
                    ensure!(times(&before)? <= times(after)?, "an update does not go back in time");
                    ensure!(before.created_at == after.created_at, "an update is no creation");
                }
                agree(&found.map(seen), &expected.map(|s| told(key, &s)))
            }
            Operation::Walk { filters } => {
                let mut found = self.client.walk(filters).await.map_err(code("walk"))?;
                found.sort_by(|a, b| a.name.cmp(&b.name));
                let found: Vec<_> = found.into_iter().map(|info| info.name).collect();
                agree(&found, &self.model.walk(filters))
            }
            Operation::Usage { key } => self.usage(key).await,
            Operation::Mounts { key } => {
                let found = self.client.mounts(key).await.map(|mounts| mounts.len());
                agree(&found.map(|count| count > 0), &self.model.mounts(key).map(|_| true))
            }
            Operation::Write { key, file, text } => self.change(key, file, Some(text)).await,
            Operation::Delete { key, file } => self.change(key, file, None).await,
            Operation::Look { key } => self.look(key).await,
        }
    }

    /// Whether this is known of the subject.
    fn excuses(&self, what: &'static str) -> bool {
        let known = EXCEPTIONS.iter().any(|(subject, snapshotter, name, _)| {
            (*subject, *snapshotter, *name) == (self.subject, self.snapshotter, what)
        });
        if known {
            self.excused.borrow_mut().insert(what);
        }
        known
    }

    /// Everything once more at the end.
    async fn finish(&mut self) -> Result<()> {
        self.step(&Operation::Walk { filters: Vec::new() }).await?;
        let keys: Vec<_> = self.model.0.keys().cloned().collect();
        for key in keys {
            self.step(&Operation::Stat { key: key.clone() }).await?;
            self.usage(&key).await?;
            self.look(&key).await.with_context(|| format!("look at {key}"))?;
        }
        Ok(())
    }

    async fn usage(&mut self, key: &str) -> Result<()> {
        let found = self.client.usage(key).await;
        let expected = self.model.stat(key);
        agree(&found.map(|_| ()), &expected.clone().map(|_| ()))?;
        if let (Ok((size, inodes)), Ok(snapshot)) = (found, expected) {
            let counted = snapshot.kind != Kind::View;
            // There a snapshot has nothing of its own that its parent has.
            let shares = self.shares && !snapshot.parent.is_empty();
            let fits = (inodes > 0) == counted || (inodes == 0 && shares);
            ensure!(size >= 0 && fits, "{inodes} inodes, {size} bytes");
        }
        Ok(())
    }

    /// Writes or deletes a file of an active snapshot.
    async fn change(&mut self, key: &str, file: &str, text: Option<&str>) -> Result<()> {
        let Some(snapshot) = self.model.0.get_mut(key).filter(|s| s.kind == Kind::Active) else {
            return Ok(());
        };
        let mounts = self.client.mounts(key).await.map_err(code("mounts"))?;
        let mounted = self.client.show(&mounts, self.folder.path(), "change").await?;
        let path = mounted.path().join(file);
        match text {
            Some(text) => {
                fs_err::create_dir_all(path.parent().context("a folder")?)?;
                fs_err::write(&path, text)?;
                snapshot.files.insert(file.to_owned(), text.to_owned());
            }
            None => {
                let was_there = snapshot.files.remove(file).is_some();
                ensure!(fs_err::remove_file(&path).is_ok() == was_there, "{file} is there");
            }
        }
        self.client.hide(mounted).await
    }

    /// Compares the files of an active snapshot or view.
    async fn look(&mut self, key: &str) -> Result<()> {
        let mounts = self.client.mounts(key).await;
        let snapshot = match (self.model.mounts(key), &mounts) {
            (Err(expected), found) => return agree(&found.as_ref().err(), &Some(&expected)),
            (Ok(snapshot), _) => snapshot,
        };
        let mounts = mounts.map_err(code("mounts"))?;
        let mounted = self.client.show(&mounts, self.folder.path(), "look").await?;
        let mut found = BTreeMap::new();
        files(mounted.path(), mounted.path(), &mut found)?;
        agree(&found, &snapshot.files)?;
        let written =
            fs_err::write(mounted.path().join("f"), found.remove("f").unwrap_or_default());
        if snapshot.kind == Kind::View {
            ensure!(written.is_err(), "a view can be written to");
        } else if !snapshot.files.contains_key("f") {
            fs_err::remove_file(mounted.path().join("f"))?;
        }
        self.client.hide(mounted).await
    }
}

fn files(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs_err::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() {
            files(root, &path, found)?;
        } else {
            let name = path.strip_prefix(root)?.display().to_string();
            found.insert(name, fs_err::read_to_string(&path)?);
        }
    }
    Ok(())
}

type Shown = (String, String, Kind, BTreeMap<String, String>);

/// What an implementation tells of a snapshot.
fn seen(info: Info) -> Shown {
    let kind = match info.kind() {
        WireKind::View => Kind::View,
        WireKind::Active => Kind::Active,
        _ => Kind::Committed,
    };
    (info.name, info.parent, kind, info.labels.into_iter().collect())
}

/// What is to be told of it.
fn told(key: &str, snapshot: &Snapshot) -> Shown {
    (key.to_owned(), snapshot.parent.clone(), snapshot.kind, snapshot.labels.clone())
}

fn times(info: &Info) -> Result<(i64, i32)> {
    let updated = info.updated_at.context("a time of the last update")?;
    Ok((updated.seconds, updated.nanos))
}

fn code(step: &'static str) -> impl Fn(tonic::Code) -> anyhow::Error {
    move |code| anyhow::anyhow!("{step}: {code:?}")
}

fn agree<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    bail!("found {found:?}, the model says {expected:?}")
}
