//! Pulls with unpacking from a registry on loopback, as whole commands.

use std::time::Instant;

use anyhow::Result;
use berth_testkit::{Image, Registry, program};

use crate::daemon::{Kind, Node, Pair};
use crate::turns::take;
use crate::{images, report};

/// Measures pulls of a tiny image, of six layers and of one large layer.
pub async fn measure(pair: &Pair, rounds: usize) -> Result<()> {
    let registry = Registry::start()?;
    let tiny = images::tiny()?;
    one(pair, rounds, &registry, "tiny", &tiny).await?;
    let rounds = rounds.div_ceil(3);
    one(pair, rounds, &registry, "six", &images::large(6, 62 << 20)?).await?;
    one(pair, rounds, &registry, "one", &images::large(1, 250 << 20)?).await
}

async fn one(
    pair: &Pair,
    rounds: usize,
    registry: &Registry,
    name: &str,
    image: &Image,
) -> Result<()> {
    let reference = image.push(registry, &format!("{name}:1"))?;
    let bytes: usize = image.layer_sizes.iter().sum();
    let layers = image.layer_sizes.len();
    report::one(name, &format!("{layers} layers, {:.1} MB compressed", bytes as f64 / 1e6));
    let by_ctr = async |node: &Node, _| {
        let began = Instant::now();
        images::pull(node, &reference)?;
        let took = began.elapsed();
        images::remove(node, &reference)?;
        Ok(took)
    };
    take(pair, rounds, by_ctr).await?.report(&format!("{name}: ctr images pull on both"));
    let by_own = async |node: &Node, _| {
        let began = Instant::now();
        match node.place.kind {
            Kind::Containerd => images::pull(node, &reference)?,
            Kind::Berth => berth_pull(node, &reference)?,
        }
        let took = began.elapsed();
        images::remove(node, &reference)?;
        Ok(took)
    };
    take(pair, rounds, by_own).await?.report(&format!("{name}: ctr images pull, berth pull"));
    Ok(())
}

fn berth_pull(node: &Node, image: &str) -> Result<()> {
    program(berth_testkit::Node::binary("berth")?)
        .args(["--address"])
        .args([node.place.socket()])
        .args(["-n", "measure", "pull", "--plain-http", image])
        .output()?
        .ok()?;
    Ok(())
}
