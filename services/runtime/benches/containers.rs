//! Records through the service's own socket: making one, and listing a thousand, whole and streamed.

#[allow(clippy::duplicate_mod, reason = "tests and benches start the service in one way")]
#[path = "../tests/support/mod.rs"]
mod support;

use berth_proto::containerd::services::containers::v1 as wire;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Node, ns};
use tokio::runtime::Builder;

/// How many containers are listed.
const LISTED: u64 = 1000;

fn containers(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let node = runtime.block_on(async {
        let node = Node::start().await;
        for number in 0..LISTED {
            node.container("io.containerd.runc.v2", &format!("listed-{number}"), "true").await;
        }
        node
    });
    let mut group = criterion.benchmark_group("containers");
    group.bench_function("record and forget", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            node.container("io.containerd.runc.v2", "one", "true").await;
            let request = wire::DeleteContainerRequest { id: "one".into() };
            node.containers().delete(ns(request)).await.expect("forgotten");
        });
    });
    group.throughput(Throughput::Elements(LISTED));
    group.bench_function("list in one answer", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let request = ns(wire::ListContainersRequest::default());
            let answer = node.containers().list(request).await.expect("a list");
            assert_eq!(answer.into_inner().containers.len() as u64, LISTED);
        });
    });
    group.bench_function("list as a stream", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let request = ns(wire::ListContainersRequest::default());
            let answer = node.containers().list_stream(request).await;
            let mut stream = answer.expect("a list").into_inner();
            let mut count = 0;
            while stream.message().await.expect("a container").is_some() {
                count += 1;
            }
            assert_eq!(count, LISTED);
        });
    });
    group.finish();
    runtime.block_on(node.finish());
}

criterion_group!(benches, containers);
criterion_main!(benches);
