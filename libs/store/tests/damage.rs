//! Kills, damage and full disks: nothing acknowledged is lost, nothing damaged is taken for empty.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Seek, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_store::{Error, Options, Store, Table, Write};

const RECORDS: Table<(String, String), Vec<u8>> = Table::new("records");
const CHILD: &str = "BERTH_STORE_TEST_CHILD";
const KILLS: u32 = 24;

/// Not a test: the process that the kill test starts. Each commit puts two records, `a` and `b`.
#[test]
fn child() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let (path, round) = text.rsplit_once('=').unwrap();
    let store = Store::open(path, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let writer = |lane: u32| {
            let store = &store;
            async move {
                for n in 0.. {
                    let id = format!("{round}-{lane}-{n}");
                    let name = id.clone();
                    let pair = move |txn: &Write| {
                        txn.put(&RECORDS, &("a", name.as_str()), &vec![7; 300])?;
                        txn.put(&RECORDS, &("b", name.as_str()), &vec![8; 3000])
                    };
                    store.commit("pair", pair).await.unwrap();
                    println!("ack {id}");
                }
            }
        };
        futures::future::join_all((0..8).map(writer)).await;
    });
}

#[test]
#[allow(clippy::disallowed_methods)]
fn nothing_acknowledged_is_lost_by_kills() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(CHILD, format!("{}={round}", path.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, wait) =
            (BufReader::new(child.stdout.take().unwrap()), 5 + u64::from(round) * 7);
        let (told, acks) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let ids = lines.lines().map_while(Result::ok);
            let ids = ids.filter_map(|l| l.split_once("ack ").map(|(_, id)| id.to_owned()));
            // Nobody listens once it is killed.
            ids.inspect(|_| told.send(()).unwrap_or_default()).collect::<Vec<_>>()
        });
        // In the midst of its commits, however long it takes to begin with them; or at any moment.
        match round % 2 {
            0 => (0..20).for_each(|_| acks.recv_timeout(Duration::from_secs(60)).unwrap()),
            _ => std::thread::sleep(Duration::from_millis(wait)),
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(reader.join().unwrap());
        check(&path, &acknowledged);
    }
    assert!(acknowledged.len() > 100, "only {} commits were tried", acknowledged.len());
}

fn check(path: &Path, acknowledged: &[String]) {
    if !path.exists() {
        return assert!(acknowledged.is_empty(), "killed before it made the file");
    }
    let store = Store::open(path, Options::default()).unwrap();
    let ids = |lane: &str| {
        let read = store.read(|txn| {
            txn.range(&RECORDS, (lane,))?
                .map(|r| r.map(|((_, id), _)| id))
                .collect::<Result<std::collections::BTreeSet<_>, Error>>()
        });
        read.unwrap()
    };
    let (a, b) = (ids("a"), ids("b"));
    assert_eq!(a, b, "half of a commit is visible");
    let lost: Vec<_> = acknowledged.iter().filter(|id| !a.contains(*id)).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
}

async fn filled(path: &Path) {
    let store = Store::open(path, Options::default()).unwrap();
    for n in 0..50 {
        let put = move |txn: &Write| txn.put(&RECORDS, &("a", n.to_string()), &vec![1; 5000]);
        store.commit("fill", put).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let damages: [fn(&mut std::fs::File); 5] = [
        |f| f.set_len(0).unwrap(),
        |f| f.set_len(100).unwrap(),
        |f| f.set_len(9000).unwrap(),
        |f| f.write_all(&[0; 512]).unwrap(),
        |f| f.write_all(b"not a store").unwrap(),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let _ = std::fs::remove_file(&path);
        filled(&path).await;
        let mut file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        file.rewind().unwrap();
        damage(&mut file);
        let before = std::fs::read(&path).unwrap();
        let refused = Store::open(&path, Options::default()).expect_err("it is damaged");
        assert_eq!(refused.code(), Code::DataLoss, "{index}: {refused}");
        assert!(std::fs::read(&path).unwrap() == before, "{index}: the file was changed");
    }
}

#[tokio::test]
async fn a_second_process_is_told_that_the_store_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let _store = Store::open(&path, Options::default()).unwrap();
    let refused = Store::open(&path, Options::default()).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

/// Needs root: mounts a small tmpfs.
#[tokio::test]
async fn a_full_disk_is_named_and_room_is_enough_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let options = std::ffi::CString::new("size=2m").unwrap();
    rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, options.as_c_str()).unwrap();
    let store = Store::open(folder.path().join("store.redb"), Options::default()).unwrap();
    let ballast = folder.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![0; 3 << 20]);
    let put = |txn: &Write| txn.put(&RECORDS, &("a", "big"), &vec![1; 400_000]);
    let full = store.commit("big", put).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    std::fs::remove_file(&ballast).unwrap();
    store.commit("big", put).await.unwrap();
    let kept = store.read(|txn| txn.get(&RECORDS, &("a", "big"))).unwrap();
    assert_eq!(kept.map(|v| v.len()), Some(400_000));
    drop(store);
    rustix::mount::unmount(folder.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_file_that_another_has_is_waited_for_and_its_holder_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let first = Store::open(&path, Options::default()).unwrap();
    let refused = Store::open(&path, Options::default()).err().unwrap();
    let own = std::process::id();
    assert!(matches!(refused, Error::InUse { pid: Some(pid), .. } if pid == own), "{refused}");
    assert_eq!(refused.code(), Code::Unavailable);
    let ends = std::thread::spawn(move || {
        // Long enough for the other to have found it there.
        std::thread::sleep(Duration::from_millis(300));
        drop(first);
    });
    Store::open(&path, Options::default()).unwrap();
    ends.join().unwrap();
}
