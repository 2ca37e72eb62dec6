//! What is shown is the same wherever it is asked.

mod lists;
mod many;
mod watches;

use anyhow::Result;
use berth_testkit::{Etcd, Image, Layer, Registry, is_root};
use serde_json::json;

use crate::cluster::{Cluster, SHORT};
use crate::converged::converged;

/// Pulled by nodes, beside what each has from the beginning.
struct Images {
    /// By `a` and `b`.
    both: String,
    /// By `c`, in the namespace `k8s.io`.
    apart: String,
}

fn pushed(registry: &Registry) -> Result<Images> {
    let of = |name: &str| {
        let layers = vec![Layer::busybox()?, Layer::noise(name, 20_000, 7)?];
        Image::build(layers, json!({}))?.push(registry, &format!("{name}:1"))
    };
    Ok(Images { both: of("both")?, apart: of("apart")? })
}

#[test]
fn each_node_shows_what_all_of_them_hold() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (etcd, registry) = (Etcd::start()?, Registry::start()?);
    let images = pushed(&registry)?;
    let keys = format!("{SHORT}\ncompare = \"5s\"");
    Cluster::start(&etcd.endpoints(), &["a", "b", "c"], &keys)?.play(|cluster| {
        let [a, b, c] = [cluster.of("a"), cluster.of("b"), cluster.of("c")];
        a.berth(&format!("pull -q {}", images.both))?;
        b.berth(&format!("pull -q {}", images.both))?;
        c.berth(&format!("-n k8s.io pull -q {}", images.apart))?;
        let paused = b.run("paused")?;
        b.berth(&format!("pause {paused}"))?;
        let ended = c.run("ended")?;
        c.berth(&format!("kill -s KILL {ended}"))?;
        c.berth(&format!("wait {ended}"))?;
        converged(&cluster.members)?;
        lists::are_the_same_from_each_node(cluster)?;
        lists::can_be_narrowed(cluster, &images)?;
        lists::come_in_parts(cluster)?;
        lists::tell_where_an_image_is(cluster, &images)?;
        lists::show_a_node_that_is_asked_itself(cluster, &images)?;
        lists::are_for_people_too(cluster, &images)?;
        lists::tell_what_is_missing(cluster, &images)?;
        watches::tell_the_same_from_each_node(cluster, &etcd)?;
        watches::go_on_through_another_node(cluster)?;
        converged(&cluster.members)
    })
}
