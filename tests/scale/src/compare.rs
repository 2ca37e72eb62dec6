//! Whether a view is what the nodes hold, exactly.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_cluster::keys::{Held, Kind};
use berth_cluster::objects::Object;
use berth_cluster::peers::stored;
use berth_cluster::view::{MAX_PAGE, Views};
use berth_filters::Filter;
use tokio::time::Instant;

use crate::fleet::Fleet;

/// Waits until nothing differs. Nothing may happen on the nodes meanwhile.
///
/// # Errors
/// With the first difference that is left after `patience`.
pub async fn equal(fleet: &Fleet, views: &Views, patience: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let Some(difference) = difference(fleet, views).await? else { return Ok(()) };
        if start.elapsed() > patience {
            bail!("after {patience:?}: {difference}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The first thing that differs, in words.
///
/// # Errors
/// When a view cannot be listed.
pub async fn difference(fleet: &Fleet, views: &Views) -> Result<Option<String>> {
    for kind in [Kind::Images, Kind::Containers] {
        let mut seen = listed(views, kind).await?;
        for node in fleet.nodes() {
            let mut there = seen.remove(node.name().as_str()).unwrap_or_default();
            for (held, object) in node.all(kind) {
                let value = there.remove(&held);
                if value.as_deref() != Some(stored::encode(&object).as_slice()) {
                    let what = if value.is_some() { "differs" } else { "is missing" };
                    return Ok(Some(format!("{held:?} of {} {what}", node.name())));
                }
            }
            if let Some((held, _)) = there.pop_first() {
                return Ok(Some(format!("{held:?} of {} is not there any more", node.name())));
            }
        }
        if let Some((node, _)) = seen.pop_first() {
            return Ok(Some(format!("{} has what no node has: {node}", kind.name())));
        }
    }
    nodes(fleet, views).await
}

type OfNodes = BTreeMap<String, BTreeMap<Held, Vec<u8>>>;

async fn listed(views: &Views, kind: Kind) -> Result<OfNodes> {
    let (mut found, mut token) = (OfNodes::new(), String::new());
    loop {
        let page = views.list(kind, &Filter::default(), MAX_PAGE, &token).await?;
        for item in &page.items {
            let key = item.key();
            let held = Held::new(kind, key.namespace, key.name)?;
            let value = item.value().context("an object without a value")?.to_vec();
            found.entry(key.node.to_owned()).or_default().insert(held, value);
        }
        match page.next {
            Some(next) => token = next,
            None => return Ok(found),
        }
    }
}

async fn nodes(fleet: &Fleet, views: &Views) -> Result<Option<String>> {
    let (mut seen, mut token) = (BTreeMap::new(), String::new());
    loop {
        let page = views.list(Kind::Nodes, &Filter::default(), MAX_PAGE, &token).await?;
        for item in &page.items {
            let Some(Object::Node(node)) = item.object(Kind::Nodes) else { bail!("no node") };
            seen.insert(item.key().node.to_owned(), node.published);
        }
        match page.next {
            Some(next) => token = next,
            None => break,
        }
    }
    for node in fleet.nodes() {
        let Some(published) = seen.remove(node.name().as_str()) else {
            return Ok(Some(format!("{} is missing", node.name())));
        };
        let has = |kind| node.all(kind).len() as u64;
        if (published.images, published.containers) != (has(Kind::Images), has(Kind::Containers)) {
            return Ok(Some(format!("{} says that it holds {published:?}", node.name())));
        }
    }
    Ok(seen.pop_first().map(|(node, _)| format!("there is no node {node}")))
}
