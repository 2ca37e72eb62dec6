//! The shim on top of runc, by its own protocol: create and start, a whole life from the start of
//! its program, and exec. runc's own time is in all of them; `make compare` tells it apart.

#[allow(clippy::duplicate_mod, reason = "tests and benches start the shim in one way")]
#[path = "../tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::time::{Duration, Instant};

use common::{Io, Node, Shim, spec};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Builder;

fn life(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let node = runtime.block_on(async { Node::new() });
    let number = Cell::new(0_u32);
    let id = || {
        number.set(number.get() + 1);
        format!("bench-{}-{}", std::process::id(), number.get())
    };
    let mut group = criterion.benchmark_group("shim");
    group.sample_size(20).measurement_time(Duration::from_secs(10));
    group.bench_function("create and start", |bencher| {
        bencher.to_async(&runtime).iter_custom(async |rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let shim = node.shim(&id(), &spec(&["true"])).await;
                let began = Instant::now();
                begin(&shim).await;
                took += began.elapsed();
                end(&shim).await;
            }
            took
        });
    });
    group.bench_function("whole life", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let shim = node.shim(&id(), &spec(&["true"])).await;
            begin(&shim).await;
            end(&shim).await;
        });
    });
    let holder = runtime.block_on(async {
        let holder = node.shim(&id(), &spec(&["sleep", "3600"])).await;
        begin(&holder).await;
        holder
    });
    group.bench_function("exec", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let exec = id();
            holder.exec(&exec, &["true"], Io::default()).await.expect("added");
            holder.start(&exec).await.expect("started");
            assert_eq!(holder.wait(&exec).await, 0);
            holder.delete(&exec).await.expect("deleted");
        });
    });
    group.finish();
    runtime.block_on(async {
        holder.kill("", 9, false).await.expect("killed");
        end(&holder).await;
    });
}

async fn begin(shim: &Shim) {
    shim.create(Io::default()).await;
    shim.start("").await.expect("started");
}

async fn end(shim: &Shim) {
    shim.wait("").await;
    shim.finish().await;
}

criterion_group!(benches, life);
criterion_main!(benches);
