//! Groups: one flush for many, whole or not at all, and no harm to neighbours.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_store::{Error, Migration, Options, Store, Table, Write};

const RECORDS: Table<(String, String), u64> = Table::new("records");

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path().join("a/store.redb"), Options::default()).unwrap()
}

fn all(store: &Store, namespace: &str) -> Vec<(String, u64)> {
    store
        .read(|txn| {
            txn.range(&RECORDS, (namespace,))?
                .map(|r| r.map(|((_, id), value)| (id, value)))
                .collect::<Result<_, Error>>()
        })
        .unwrap()
}

#[tokio::test]
async fn a_closed_store_has_done_what_was_asked_and_can_be_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let release = hold(&store).await;
    let put = store.commit("put", |txn| txn.put(&RECORDS, &("n", "1"), &1));
    let mut put = Box::pin(put);
    assert!(futures::poll!(put.as_mut()).is_pending());
    let mut closing = Box::pin(store.close());
    assert!(futures::poll!(closing.as_mut()).is_pending());
    let late = store.commit("late", |_: &Write| Ok::<_, Error>(())).await;
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    drop(release);
    let (put, ()) = tokio::join!(put, closing);
    put.unwrap();
    // A clone that is left does not keep the file.
    let again = open(&folder);
    assert_eq!(all(&again, "n"), [("1".to_owned(), 1)]);
    assert!(matches!(store.read(|_| Ok::<_, Error>(())), Err(Error::Closed)));
    store.close().await;
}

/// Holds the writer until the returned sender is dropped, so that what comes next is one group.
async fn hold(store: &Store) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let (held, started) = (std::sync::Mutex::new(held), std::sync::Mutex::new(Some(started)));
    let store = store.clone();
    #[allow(clippy::disallowed_methods)]
    tokio::spawn(async move {
        let wait = move |_: &Write| {
            if let Some(started) = started.lock().unwrap().take() {
                let _ = started.send(());
            }
            let _ = held.lock().unwrap().recv();
            Ok::<_, Error>(())
        };
        store.commit("hold", wait).await
    });
    has_started.await.unwrap();
    release
}

async fn queued() {
    // Nothing waits for anything here: the commits are in the queue once each was polled.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_group_is_flushed_once_and_failures_stay_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let release = hold(&store).await;
    let runs = Arc::new(AtomicU32::new(0));
    let put = |n: u64| {
        let (store, runs) = (store.clone(), runs.clone());
        async move {
            let work = move |txn: &Write| {
                runs.fetch_add(1, Ordering::Relaxed);
                let id = n.to_string();
                if n == 7 {
                    txn.put(&RECORDS, &("bad", "half"), &1)?;
                    return Err(Error::Closed);
                }
                assert_ne!(n, 11, "a closure that panics");
                txn.put(&RECORDS, &("good", id.as_str()), &n)?;
                Ok(n)
            };
            store.commit("put", work).await
        }
    };
    let waiting = futures::future::join_all((0..20).map(put));
    let before = store.flushes();
    let (results, ()) = tokio::join!(waiting, async {
        queued().await;
        drop(release);
    });
    assert_eq!(store.flushes() - before, 1);
    for (n, result) in (0..).zip(results) {
        match n {
            7 => assert!(matches!(result, Err(Error::Closed))),
            11 => assert_eq!(result.unwrap_err().code(), Code::Internal),
            _ => assert_eq!(result.unwrap(), n),
        }
    }
    assert_eq!(all(&store, "good").len(), 18);
    assert_eq!(all(&store, "bad"), []);
    assert!(runs.load(Ordering::Relaxed) > 20, "the others were run again");
}

#[tokio::test]
async fn a_refusal_that_wrote_nothing_costs_no_flush() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let refused: Result<(), Error> = store.commit("refuse", |_| Err(Error::Closed)).await;
    assert!(refused.is_err());
    let found = store.commit("look", |txn| txn.get(&RECORDS, &("a", "b"))).await.unwrap();
    assert_eq!((found, store.flushes()), (None, 0));
}

#[tokio::test]
async fn prefixes_are_whole_parts_and_reads_are_of_one_state() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let fill = |txn: &Write| {
        for key in [("a", "1"), ("a", "2"), ("ab", "1"), ("a\0", "1"), ("a", "")] {
            txn.put(&RECORDS, &key, &1)?;
        }
        assert!(!txn.delete(&RECORDS, &("a", "3"))?);
        assert_eq!(txn.range(&RECORDS, ("a",))?.count(), 3);
        Ok::<_, Error>(())
    };
    store.commit("fill", fill).await.unwrap();
    let ids: Vec<_> = all(&store, "a").into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["", "1", "2"]);
    let everything = store.read(|txn| Ok::<_, Error>(txn.range(&RECORDS, ())?.count())).unwrap();
    assert_eq!(everything, 5);
}

#[tokio::test]
async fn a_caller_that_left_before_its_turn_commits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let release = hold(&store).await;
    let work = |txn: &Write| txn.put(&RECORDS, &("gone", "x"), &1);
    let left = tokio::time::timeout(Duration::from_millis(20), store.commit("left", work)).await;
    assert!(left.is_err());
    drop(release);
    store.commit("after", |txn| txn.put(&RECORDS, &("here", "x"), &1)).await.unwrap();
    assert_eq!(all(&store, "gone"), []);
}

#[tokio::test]
async fn schemas_go_forward_only_and_by_known_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let with = |schema| Options { schema, ..Options::default() };
    let store = Store::open(&path, with(1)).unwrap();
    store.commit("one", |txn| txn.put(&RECORDS, &("a", "b"), &1)).await.unwrap();
    drop(store);
    assert!(matches!(Store::open(&path, with(2)), Err(Error::NoMigration { found: 1, .. })));
    fn double(txn: &Write) -> Result<(), Error> {
        for record in txn.range(&RECORDS, ())? {
            let ((namespace, id), value) = record?;
            txn.put(&RECORDS, &(namespace, id), &(value * 2))?;
        }
        Ok(())
    }
    let steps = [Migration { from: 1, run: double }, Migration { from: 2, run: double }];
    let store = Store::open_migrating(&path, with(3), &steps).unwrap();
    assert_eq!(all(&store, "a"), [("b".into(), 4)]);
    drop(store);
    let older = Store::open(&path, with(1)).unwrap_err();
    assert!(matches!(older, Error::NewerSchema { found: 3, known: 1, .. }), "{older}");
}
