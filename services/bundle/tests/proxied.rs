//! Snapshotters in processes of others that misbehave as no real one does when asked to.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_bundle::Error;
use berth_bundle::snapshots::{
    Backend, Info, Kind, NATIVE, Proxy, Settings, Snapshots, Usage, Work,
};
use berth_errors::{Code, Coded};
use berth_ids::{Labels, Namespace};
use berth_lifecycle::Turns;
use berth_mount::Mount;
use berth_store::{Options, Store};
use support::Pins;
use tokio::sync::Notify;

const NAME: &str = "theirs";

/// Answers every call, and keeps what it was asked to remove.
#[derive(Default)]
struct Odd {
    /// Creations tell the first and wait for the second.
    hangs: Option<(Notify, Notify)>,
    /// Each commit is answered that there is such a snapshot.
    has_all: bool,
    removed: Mutex<Vec<String>>,
}

fn done<'a, T: Send + 'a>(answer: Result<T, Error>) -> Work<'a, T> {
    Box::pin(std::future::ready(answer))
}

fn refuse<'a, T: Send + 'a>(code: Code) -> Work<'a, T> {
    done(Err(Error::Snapshotter { code, message: format!("odd: {code}") }))
}

impl Backend for Odd {
    fn create<'a>(
        &'a self,
        _: &'a Namespace,
        _: Kind,
        _: &'a str,
        _: &'a str,
        _: Labels,
    ) -> Work<'a, Vec<Mount>> {
        Box::pin(async {
            if let Some((asked, answer)) = &self.hangs {
                asked.notify_one();
                answer.notified().await;
            }
            Ok(Vec::new())
        })
    }

    fn commit<'a>(
        &'a self,
        _: &'a Namespace,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: Labels,
    ) -> Work<'a, ()> {
        if self.has_all { refuse(Code::AlreadyExists) } else { done(Ok(())) }
    }

    fn remove<'a>(&'a self, _: &'a Namespace, key: &'a str) -> Work<'a, ()> {
        self.removed.lock().unwrap().push(key.to_owned());
        done(Ok(()))
    }

    fn stat<'a>(&'a self, _: &'a Namespace, _: &'a str) -> Work<'a, Info> {
        refuse(Code::NotFound)
    }

    fn update<'a>(
        &'a self,
        _: &'a Namespace,
        _: &'a str,
        _: Labels,
        _: Vec<String>,
    ) -> Work<'a, Info> {
        refuse(Code::NotFound)
    }

    fn list<'a>(&'a self, _: &'a Namespace, _: String) -> Work<'a, Vec<Info>> {
        done(Ok(Vec::new()))
    }

    fn mounts<'a>(&'a self, _: &'a Namespace, _: &'a str) -> Work<'a, Vec<Mount>> {
        done(Ok(Vec::new()))
    }

    fn usage<'a>(&'a self, _: &'a Namespace, _: &'a str) -> Work<'a, Usage> {
        refuse(Code::NotFound)
    }

    fn cleanup(&self) -> Work<'_, ()> {
        done(Ok(()))
    }
}

fn open(odd: &Arc<Odd>) -> (tempfile::TempDir, Snapshots) {
    open_with(odd, Turns::default())
}

fn open_with(odd: &Arc<Odd>, turns: Turns) -> (tempfile::TempDir, Snapshots) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("b.redb"), Options::default()).unwrap();
    let proxy = Proxy {
        name: NAME,
        exports: Default::default(),
        capabilities: Vec::new(),
        platform: String::new(),
        backend: odd.clone(),
    };
    let (proxies, temporary) = (vec![proxy], dir.path().to_owned());
    let settings = Settings { proxies, temporary, turns, ..Settings::default() };
    let listener = Arc::new(|_: &Namespace, _: &str, _| {});
    let pins = Arc::new(Pins::default());
    let s = Snapshots::open_with(dir.path(), store, None, listener, pins, settings).unwrap();
    (dir, s)
}

#[tokio::test]
async fn a_collection_begins_while_a_snapshotter_hangs() {
    let odd = Arc::new(Odd { hangs: Some(Default::default()), ..Odd::default() });
    let (_dir, s) = open(&odd);
    let (asked, answer) = odd.hangs.as_ref().unwrap();
    let creating = support::prepare(&s, NAME, "key", "");
    let collecting = async {
        asked.notified().await;
        let begun = tokio::time::timeout(Duration::from_secs(60), s.begin(1)).await;
        answer.notify_one();
        begun
    };
    let (created, begun) = tokio::join!(creating, collecting);
    begun.expect("the collection waited for the snapshotter");
    created.unwrap();
}

#[tokio::test]
async fn layers_are_extracted_while_a_snapshotter_hangs() {
    if !support::is_root() {
        return;
    }
    let odd = Arc::new(Odd { hangs: Some(Default::default()), ..Odd::default() });
    let (_dir, s) = open_with(&odd, Turns::new(1));
    let (asked, answer) = odd.hangs.as_ref().unwrap();
    let layer = || support::Tar::default().file("a", "b").end();
    let hanging = support::stage(&s, NAME, "there", "", layer());
    let extracting = async {
        asked.notified().await;
        let layer = support::stage(&s, NATIVE, "here", "", layer());
        let extracted = tokio::time::timeout(Duration::from_secs(60), layer).await;
        answer.notify_one();
        extracted
    };
    let (there, here) = tokio::join!(hanging, extracting);
    here.expect("the layer waited for the snapshotter").unwrap();
    // It has answered with no mounts.
    assert_eq!(there.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_a_snapshotter_has_by_the_name_of_a_commit_is_left_alone() {
    let odd = Arc::new(Odd { has_all: true, ..Odd::default() });
    let (_dir, s) = open(&odd);
    support::prepare(&s, NAME, "key", "").await.unwrap();
    let error = support::commit(&s, NAME, "name", "key").await.unwrap_err();
    assert_eq!(error.code(), Code::Unknown, "{error}");
    assert!(error.to_string().contains(NAME), "{error}");
    s.cleanup(NAME).await.unwrap();
    assert_eq!(*odd.removed.lock().unwrap(), Vec::<String>::new());
    // It is as it was before, and goes when it is removed.
    s.remove(&support::space(), None, NAME, "key").await.unwrap();
    s.cleanup(NAME).await.unwrap();
    let removed = odd.removed.lock().unwrap().clone();
    assert!(removed.len() == 1 && removed[0].ends_with("/key"), "{removed:?}");
}
