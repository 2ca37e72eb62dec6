//! Blobs through the domain: writing and committing small and large ones, reading them back.

use std::sync::Arc;

use berth_config::{Config, Overrides};
use berth_distribution::content::Expected;
use berth_distribution::content::files::read_at;
use berth_distribution::events::{Event, Sink};
use berth_distribution::{Distribution, Scope};
use berth_ids::Namespace;
use berth_lifecycle::Tasks;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

struct Quiet;

impl Sink for Quiet {
    fn publish(&self, _: &Namespace, _: &Event) {}
}

fn blobs(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let overrides = Overrides {
        root: Some(folder.path().join("root")),
        state: Some(folder.path().join("state")),
        ..Overrides::default()
    };
    let empty = folder.path().join("berth.toml");
    fs_err::write(&empty, "").expect("a file");
    let config = Arc::new(Config::load(Some(&empty), overrides).expect("a configuration"));
    let node = runtime
        .block_on(Distribution::open(config, Arc::new(Quiet), Arc::new([]), &Tasks::new()))
        .expect("a service");
    let scope = Scope::new("bench".parse().expect("a namespace"));
    let mut number = 0_u64;
    let mut write = |size: usize| {
        number += 1;
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(size, 7);
        let (bytes, name) = (Bytes::from(bytes), number.to_string());
        runtime.block_on(async {
            let mut writer =
                node.content.writer(&scope, &name, Expected::default()).await.expect("a writer");
            for at in (0..size).step_by(1 << 20) {
                let part = bytes.slice(at..(at + (1 << 20)).min(size));
                writer.write(part).await.expect("written");
            }
            writer.commit(0, None, Default::default()).await.expect("committed").digest
        })
    };
    let mut group = c.benchmark_group("blob");
    group.bench_function("write 1 KiB", |b| b.iter(|| write(1 << 10)));
    group.sample_size(10).throughput(Throughput::Bytes(32 << 20));
    group.bench_function("write 32 MiB", |b| b.iter(|| write(32 << 20)));
    let digest = write(32 << 20);
    group.bench_function("read 32 MiB", |b| {
        b.iter(|| {
            let opened = runtime.block_on(node.content.open(&scope.namespace, &digest));
            let (file, size) = opened.expect("there");
            for at in (0..size).step_by(1 << 20) {
                read_at(&file, at, 1 << 20).expect("read");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, blobs);
criterion_main!(benches);
