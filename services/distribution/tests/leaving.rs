//! Callers that leave in the midst of a change: afterwards there is neither record nor event, or both.
//!
//! Each change is dropped at its first await, then at its second, and so on until it is through.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use berth_distribution::content::Expected;
use berth_distribution::events::{Event, Sink};
use berth_distribution::images::Change;
use berth_distribution::records::Descriptor;
use berth_distribution::shared::LabelChange;
use berth_distribution::{Distribution, Result, Scope};
use berth_filters::Filter;
use berth_ids::{Digest, Labels, Namespace};
use berth_lifecycle::Tasks;
use bytes::Bytes;

const BLOB: &[u8] = b"a blob";

/// What there is, by kind and name, with labels.
type State = BTreeMap<(&'static str, String), Labels>;

#[derive(Default)]
struct Told(Mutex<Vec<(Namespace, Event)>>);

impl Sink for Told {
    fn publish(&self, namespace: &Namespace, event: &Event) {
        self.0.lock().unwrap().push((namespace.clone(), event.clone()));
    }
}

struct Node {
    _folder: tempfile::TempDir,
    node: Distribution,
    tasks: Tasks,
    told: Arc<Told>,
}

impl Node {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tasks, told) = (Tasks::new(), Arc::<Told>::default());
        let config = support::config(folder.path());
        let node = Distribution::open(config, told.clone(), Arc::new([]), &tasks).await.unwrap();
        Self { _folder: folder, node, tasks, told }
    }

    /// What the records say, once nothing goes on any more.
    async fn recorded(&self) -> State {
        assert!(self.tasks.drain(Duration::from_secs(20)).await.is_empty());
        // Behind whatever was handed in by those that have left.
        self.node.namespaces.register(&other()).await.unwrap();
        let mut state = State::new();
        for info in self.node.content.list(&here(), Filter::default()).await.unwrap() {
            state.insert(("blob", info.digest.to_string()), info.labels);
        }
        for named in self.node.images.list(&here(), Filter::default()).await.unwrap() {
            state.insert(("image", named.name), named.image.labels);
        }
        for (name, labels) in self.node.namespaces.list().unwrap() {
            state.insert(("namespace", name.to_string()), labels);
        }
        // Their first use makes them, of which nobody is told.
        state.retain(|(kind, name), _| {
            *kind != "namespace" || (*name != here().to_string() && *name != other().to_string())
        });
        state
    }

    /// What the events say.
    fn announced(&self) -> State {
        let mut state = State::new();
        for (namespace, event) in self.told.0.lock().unwrap().clone() {
            let space = ("namespace", namespace.to_string());
            match event {
                Event::ContentCreated { digest, .. } => {
                    state.insert(("blob", digest.to_string()), Labels::new());
                }
                Event::ContentDeleted { digest } => {
                    drop(state.remove(&("blob", digest.to_string())))
                }
                Event::ImageCreated { name, labels } | Event::ImageUpdated { name, labels } => {
                    state.insert(("image", name), labels);
                }
                Event::ImageDeleted { name } => drop(state.remove(&("image", name))),
                Event::NamespaceCreated { labels } | Event::NamespaceUpdated { labels } => {
                    state.insert(space, labels);
                }
                Event::NamespaceDeleted => drop(state.remove(&space)),
            }
        }
        state
    }
}

fn here() -> Namespace {
    "here".parse().unwrap()
}

fn other() -> Namespace {
    "other".parse().unwrap()
}

fn scope() -> Scope {
    Scope::new(here())
}

fn blob() -> Digest {
    support::digest(BLOB).parse().unwrap()
}

fn labels() -> Labels {
    Labels::from([("new".to_owned(), "yes".to_owned())])
}

fn target() -> Descriptor {
    Descriptor::new("application/x".into(), blob().to_string(), 6, Labels::new()).unwrap()
}

async fn write(node: &Distribution) -> Result<()> {
    let mut writer = node.content.writer(&scope(), "ref", Expected::default()).await?;
    writer.write(Bytes::from_static(BLOB)).await?;
    writer.commit(6, Some(blob()), Labels::new()).await.map(drop)
}

async fn create_image(node: &Distribution) -> Result<()> {
    node.images.create(&scope(), "image", target(), Labels::new(), None).await.map(drop)
}

async fn create_namespace(node: &Distribution) -> Result<()> {
    node.namespaces.create(&"made".parse().unwrap(), Labels::new()).await.map(drop)
}

/// Polls until the future waits for the `at`th time, then drops it; answers whether it was through.
async fn leave<T>(at: usize, future: impl Future<Output = Result<T>>) -> bool {
    let (mut future, mut waits) = (pin!(future), 0);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => {
            done.unwrap();
            Poll::Ready(true)
        }
        Poll::Pending if waits == at => Poll::Ready(false),
        Poll::Pending => {
            waits += 1;
            Poll::Pending
        }
    })
    .await
}

/// Leaves `change` at each of its awaits, each time on a node that `before` has prepared.
async fn left_at_each_await(
    before: impl AsyncFn(&Distribution) -> Result<()>,
    change: impl AsyncFn(&Distribution) -> Result<()>,
) {
    for at in 0.. {
        let node = Node::open().await;
        before(&node.node).await.unwrap();
        let through = leave(at, change(&node.node)).await;
        let recorded = node.recorded().await;
        assert_eq!(node.announced(), recorded, "left at await {at}");
        if through {
            assert!(at > 0, "it never waited");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_committed_and_told_or_neither() {
    left_at_each_await(async |_| Ok(()), write).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_deleted_and_told_or_neither() {
    left_at_each_await(write, async |node| node.content.delete(&scope(), &blob()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_made_changed_deleted_and_told_or_neither() {
    left_at_each_await(async |_| Ok(()), create_image).await;
    let update = async |node: &Distribution| {
        let labels = LabelChange::Set(labels());
        let change = Change { target: None, labels, annotations: LabelChange::Keep };
        node.images.update(&scope(), "image", change, None).await.map(drop)
    };
    left_at_each_await(create_image, update).await;
    let delete =
        async |node: &Distribution| node.images.delete(&scope(), "image", None, false).await;
    left_at_each_await(create_image, delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_made_changed_deleted_and_told_or_neither() {
    left_at_each_await(async |_| Ok(()), create_namespace).await;
    let update = async |node: &Distribution| {
        let change = LabelChange::Set(labels());
        node.namespaces.update(&"made".parse().unwrap(), change, labels()).await
    };
    left_at_each_await(create_namespace, update).await;
    let delete = async |node: &Distribution| node.namespaces.delete(&"made".parse().unwrap()).await;
    left_at_each_await(create_namespace, delete).await;
}

/// What was handed to a thread is written before another may open the ingest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_dropped_leaves_its_ingest_whole() {
    let node = Node::open().await;
    let part = Bytes::from(vec![7; 4 << 20]);
    let mut writer = node.node.content.writer(&scope(), "ref", Expected::default()).await.unwrap();
    writer.write(part.clone()).await.unwrap();
    drop(writer);
    let mut writer = loop {
        match node.node.content.writer(&scope(), "ref", Expected::default()).await {
            Err(berth_distribution::Error::RefLocked { .. }) => tokio::task::yield_now().await,
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(writer.offset(), part.len() as u64);
    let whole: Digest = support::digest(&part).parse().unwrap();
    writer.commit(0, Some(whole), Labels::new()).await.unwrap();
}
