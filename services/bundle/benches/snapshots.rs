//! Snapshots on overlayfs through the domain: one that is made, asked for its mounts and removed, on
//! top of one layer and of a hundred; and one that is committed.

#[allow(clippy::duplicate_mod, reason = "tests and benches open the snapshotters in one way")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::cell::Cell;

use berth_bundle::snapshots::OVERLAYFS;
use criterion::{Criterion, criterion_group, criterion_main};
use support::{Node, commit, prepare, space};
use tokio::runtime::Builder;

const DEEP: usize = 100;

fn snapshots(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let node = Node::new();
    let snapshots = runtime.block_on(node.open());
    let stack = async |depth: usize| {
        let mut parent = String::new();
        for layer in 0..depth {
            let (key, name) = (format!("making-{depth}-{layer}"), format!("layer-{depth}-{layer}"));
            prepare(&snapshots, OVERLAYFS, &key, &parent).await.expect("made");
            commit(&snapshots, OVERLAYFS, &name, &key).await.expect("committed");
            parent = name;
        }
        parent
    };
    let number = Cell::new(0_u64);
    let next = || {
        number.set(number.get() + 1);
        number.get().to_string()
    };
    let mut group = criterion.benchmark_group("snapshot");
    for depth in [1, DEEP] {
        let parent = runtime.block_on(stack(depth));
        group.bench_function(format!("made and removed on {depth}"), |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let key = next();
                let made = prepare(&snapshots, OVERLAYFS, &key, &parent).await.expect("made");
                assert_eq!(made.len(), 1);
                snapshots.remove(&space(), None, OVERLAYFS, &key).await.expect("removed");
            });
        });
    }
    group.bench_function("made, committed and removed", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let (key, name) = (next(), next());
            prepare(&snapshots, OVERLAYFS, &key, "").await.expect("made");
            commit(&snapshots, OVERLAYFS, &name, &key).await.expect("committed");
            snapshots.remove(&space(), None, OVERLAYFS, &name).await.expect("removed");
        });
    });
    group.finish();
}

criterion_group!(benches, snapshots);
criterion_main!(benches);
