//! That a store cannot be written is told for as long as it cannot. The only test of its program: there is
//! one set of checks for each. Needs root: mounts a small tmpfs.
#![allow(clippy::unwrap_used, reason = "a test")]

use berth_errors::{Code, Coded};
use berth_lifecycle::hindrances;
use berth_store::{Options, Store, Table, Write};

const RECORDS: Table<(String, String), Vec<u8>> = Table::new("records");

#[tokio::test]
async fn a_store_that_cannot_be_written_says_so_until_it_can_without_anybodys_commit() {
    let folder = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let options = std::ffi::CString::new("size=2m").unwrap();
    rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, options.as_c_str()).unwrap();
    let (path, away) = (folder.path().join("store.redb"), folder.path().join("away"));
    let store = Store::open(&path, Options::default()).unwrap();
    assert!(hindrances().await.is_empty());
    let refuses = |_: &Write| Err::<(), _>(berth_store::Error::Closed);
    store.commit("refuses", refuses).await.unwrap_err();
    assert!(hindrances().await.is_empty(), "it is the commit's own affair");

    let ballast = folder.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![0; 3 << 20]);
    // A little may still be written where something was before: it is not there to be opened again.
    std::fs::rename(&path, &away).unwrap();
    let put = |txn: &Write| txn.put(&RECORDS, &("a", "big"), &vec![1; 400_000]);
    let full = store.commit("big", put).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    let start = format!("store {} cannot be written, free its disk", path.display());
    for _ in 0..2 {
        let told = hindrances().await;
        let named =
            told.len() == 1 && told[0].starts_with(&start) && told[0].contains("No such file");
        assert!(named, "{told:?}");
    }

    std::fs::remove_file(&ballast).unwrap();
    std::fs::rename(&away, &path).unwrap();
    // The first finds that it can be opened again, the next one writes.
    hindrances().await;
    assert!(hindrances().await.is_empty());
    store.commit("big", put).await.unwrap();

    let closed = [format!("store {} is closed", path.display())];
    store.close().await;
    assert_eq!(hindrances().await, closed);
    drop(store);
    assert_eq!(hindrances().await, closed);
    let again = Store::open(&path, Options::default()).unwrap();
    assert!(hindrances().await.is_empty());
    drop(again);
    rustix::mount::unmount(folder.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}
