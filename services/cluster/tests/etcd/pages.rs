//! Pages of keys.

use berth_cluster::Error;
use berth_cluster::peers::etcd::{Entry, Etcd, Write};

use crate::common::{connect, put, write};

/// All entries as of a revision, and how many pages they were.
async fn all(etcd: &Etcd, prefix: &str, at: i64, limit: usize) -> (Vec<Entry>, usize) {
    let (mut entries, mut pages) = (Vec::<Entry>::new(), 0);
    loop {
        let after = entries.last().map(|entry| entry.key.clone());
        let page = etcd.page(prefix, after.as_deref(), at, limit).await.unwrap();
        assert!(page.entries.len() <= limit && page.seen.revision >= at);
        assert!(!page.entries.is_empty() || !page.more, "a page that has more is not empty");
        pages += 1;
        entries.extend(page.entries);
        if !page.more {
            return (entries, pages);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_read_as_they_were_at_a_revision() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let mut revision = 0;
    for hundred in 0..12 {
        let keys = (0..100).map(|at| format!("/p/{:04}", hundred * 100 + at));
        revision = write(&client, keys.map(|key| put(key.clone(), key)).collect()).await;
    }
    // Neighbours of the prefix.
    let beside = ["/p", "/o", "/p0", "/q/0"].map(|key| put(key, "beside"));
    write(&client, beside.into()).await;
    let later = vec![
        Write::Delete { key: "/p/0003".into() },
        put("/p/0004", "later"),
        put("/p/9999", "later"),
    ];
    let last = write(&client, later).await;

    let (then, pages) = all(&client, "/p/", revision, 250).await;
    assert_eq!((then.len(), pages), (1200, 5));
    for (at, entry) in then.iter().enumerate() {
        let key = format!("/p/{at:04}");
        assert_eq!((&*entry.key, &*entry.value), (key.as_bytes(), key.as_bytes()));
        assert!(entry.modified <= revision && entry.lease == 0);
    }
    let (now, _) = all(&client, "/p/", 0, 500).await;
    assert_eq!(now.len(), 1200);
    assert!(now.iter().all(|entry| &*entry.key != b"/p/0003"));
    assert_eq!(now.last().unwrap().modified, last);
    let (none, pages) = all(&client, "/none/", 0, 500).await;
    assert!(none.is_empty() && pages == 1);
    assert_eq!(client.seen().await.unwrap().revision, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_revision_is_told_and_so_is_one_to_come() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    let first = write(&client, vec![put("/p/a", "1")]).await;
    let last = write(&client, vec![put("/p/a", "2")]).await;
    etcd.ctl(&["compact", &last.to_string()]);
    let error = client.page("/p/", None, first, 10).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { asked, .. } if asked == first), "{error}");
    let page = client.page("/p/", None, last, 10).await.unwrap();
    assert_eq!(&*page.entries[0].value, b"2");
    // Of an etcd that has lost what it knew.
    let error = client.page("/p/", None, last + 10, 10).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { asked, .. } if asked == last + 10), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_make_small_pages() {
    let etcd = berth_testkit::Etcd::start().unwrap();
    let client = connect(&etcd).await;
    for at in 0..20 {
        write(&client, vec![put(format!("/p/{at:02}"), vec![b'x'; 1 << 20])]).await;
    }
    let (entries, pages) = all(&client, "/p/", 0, 1000).await;
    assert_eq!(entries.len(), 20);
    assert!(entries.iter().all(|entry| entry.value.len() == 1 << 20));
    // No answer has more than 8 MiB.
    assert!(pages >= 3, "{pages} pages");
    let (entry, _) = client.get("/p/07").await.unwrap();
    assert_eq!(entry.unwrap().value.len(), 1 << 20);
}
