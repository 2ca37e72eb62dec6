//! Durable commits: one caller after the other, and sixty-four at once, who share flushes.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_store::{Error, Options, Store, Table};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use tokio::runtime::Builder;

const RECORDS: Table<(String, String), String> = Table::new("records");
/// About what a container's record takes.
const RECORD: usize = 4096;
/// Callers at once.
const MANY: u64 = 64;

fn commits(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.redb");
    let store = Store::open(path, Options::default()).expect("a store");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let next = AtomicU64::new(0);
    let record = "r".repeat(RECORD);
    let put = || {
        // A thousand keys in turn: the file does not grow with the rounds.
        let key = (next.fetch_add(1, Ordering::Relaxed) % 1000).to_string();
        let record = record.clone();
        let write =
            move |txn: &berth_store::Write| txn.put(&RECORDS, &("bench", key.as_str()), &record);
        store.commit::<(), Error, _>("bench", write)
    };
    let mut group = criterion.benchmark_group("commit");
    group.bench_function("one", |bencher| {
        bencher.to_async(&runtime).iter(async || put().await.expect("committed"));
    });
    group.throughput(Throughput::Elements(MANY));
    group.bench_function("sixty-four at once", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let done = join_all((0..MANY).map(|_| put())).await;
            assert!(done.iter().all(Result::is_ok));
        });
    });
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
