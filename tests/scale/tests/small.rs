//! Few nodes, much going on, and then nothing: each reader sees what there is.

use std::path::Path;
use std::time::Duration;

use berth_scale::apart::Apart;
use berth_scale::compare;
use berth_scale::fleet::{Fleet, Plan};
use berth_scale::reader::Reader;
use berth_scale::run::{CLUSTER, layout, settings};
use berth_testkit::Etcd;

/// Nothing here is measured: a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(300);
/// More than 30 nodes can take, by far.
const MEMORY_KIB: u64 = 100 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_what_thirty_nodes_hold() {
    let etcd = Etcd::start().unwrap();
    let layout = layout(CLUSTER).unwrap();
    let settings = settings(&etcd.endpoint(), &layout);
    let plan = Plan::default();
    let mut fleet = Fleet::start(&plan, &layout, &settings).unwrap();
    // Some read from the start, some when everything is there.
    let mut readers = vec![Reader::start(&layout, &settings)];
    fleet.settle(PATIENCE).await.unwrap();
    readers.push(Reader::start(&layout, &settings));
    let own = Path::new(env!("CARGO_BIN_EXE_berth-scale"));
    let mut apart = Apart::start(own, CLUSTER, &etcd.endpoint()).unwrap();
    let all = (plan.nodes * (1 + plan.size.containers + plan.size.images)) as u64;
    assert_eq!(apart.said().await.unwrap().objects, all);
    for reader in &readers {
        reader.ready().await.unwrap();
    }

    fleet.churn(plan.seed, 5.0);
    let told = |reader: &Reader| reader.changes() > 2_000;
    let churned = berth_scale::wait::until(PATIENCE, || readers.iter().all(told));
    churned.await.unwrap();
    fleet.rest();
    fleet.settle(PATIENCE).await.unwrap();

    for reader in &readers {
        compare::equal(&fleet, reader.views(), PATIENCE).await.unwrap();
        assert_eq!((reader.relists(), reader.broken()), (0, None));
        assert!(!reader.late().is_empty());
    }
    assert_eq!((fleet.counts().failures(), fleet.counts().repaired()), (0, 0));
    let said = apart.ask().await.unwrap();
    assert!(said.changes > 0 && said.relists == 0, "{said:?}");
    assert!(said.now < MEMORY_KIB, "{said:?}");
    for reader in readers {
        reader.stop().await;
    }
    fleet.stop(Duration::from_secs(30)).await;
}
