//! Whether what nodes show of each other is what each of them says itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::soon;
use crate::member::Member;

/// Images and containers in words.
type Held = BTreeSet<String>;

/// Each node shows of all of them what they hold by their own API, and of nobody else anything. Each says of
/// itself, asked by another, what the other shows.
///
/// # Errors
/// Where they differ, if that does not pass.
pub fn converged(members: &[Member]) -> Result<()> {
    let members: Vec<_> = members.iter().collect();
    converged_among(&members)
}

/// The same of these nodes, which are all that there are in the cluster.
pub fn converged_among(members: &[&Member]) -> Result<()> {
    shows_what_is(members, members)?;
    for (at, of) in members.iter().enumerate() {
        let asked = members[(at + 1) % members.len()];
        let line = format!("cluster node {} --compare", of.name);
        asked.berth(&line).with_context(|| format!("asked from {}", asked.name))?;
    }
    Ok(())
}

/// Each of `observers` comes to show what `members` hold, and nothing of others.
pub fn shows_what_is(observers: &[&Member], members: &[&Member]) -> Result<()> {
    let mut last = String::new();
    let all = soon("the nodes show what there is", || {
        last = differences(observers, members)?;
        Ok(last.is_empty())
    });
    all.with_context(|| last.clone())
}

/// What each observer shows too much or not; empty: nothing.
fn differences(observers: &[&Member], members: &[&Member]) -> Result<String> {
    let mut truth = BTreeMap::new();
    for member in members {
        truth.insert(member.name.clone(), own(member)?);
    }
    let mut found = String::new();
    for observer in observers {
        let shown = shown(observer)?;
        let of = &observer.name;
        for node in shown.keys().filter(|node| !truth.contains_key(*node)) {
            found += &format!("{of} shows node {node}, which is not there\n");
        }
        for (node, holds) in &truth {
            let Some(shown) = shown.get(node) else {
                found += &format!("{of} does not show node {node}\n");
                continue;
            };
            for held in holds.difference(shown) {
                found += &format!("{of} does not show of {node}: {held}\n");
            }
            for held in shown.difference(holds) {
                found += &format!("{of} shows of {node}, which has it not: {held}\n");
            }
        }
    }
    Ok(found)
}

/// What a node holds, by its own API.
fn own(member: &Member) -> Result<Held> {
    let mut held = Held::new();
    let namespaces = member.node.ctr("namespaces ls -q").output()?.ok()?;
    for namespace in namespaces.lines() {
        for image in array(member.json(&format!("-n {namespace} images"))?)? {
            held.insert(image_in_words(namespace, &image));
        }
        for container in array(member.json(&format!("-n {namespace} ps -a"))?)? {
            held.insert(container_in_words(namespace, &container["id"], &container));
        }
    }
    Ok(held)
}

/// What a node shows of each.
fn shown(member: &Member) -> Result<BTreeMap<String, Held>> {
    let node = |of: &Value| of["node"].as_str().unwrap_or_default().to_owned();
    let namespace = |of: &Value| of["namespace"].as_str().unwrap_or_default().to_owned();
    let nodes = member.lines("cluster nodes")?;
    let mut shown: BTreeMap<_, Held> = nodes.iter().map(|of| (node(of), Held::new())).collect();
    for image in member.lines("cluster images")? {
        let words = image_in_words(&namespace(&image), &image);
        shown.entry(node(&image)).or_default().insert(words);
    }
    for container in member.lines("cluster ps")? {
        let words = container_in_words(&namespace(&container), &container["name"], &container);
        shown.entry(node(&container)).or_default().insert(words);
    }
    Ok(shown)
}

fn image_in_words(namespace: &str, image: &Value) -> String {
    format!(
        "image {namespace}/{} {} {}",
        text(&image["name"]),
        image["digest"],
        image["media_type"]
    )
}

/// What lists of a node and of the cluster both say of it.
fn container_in_words(namespace: &str, id: &Value, of: &Value) -> String {
    let state = match text(&of["state"]) {
        "running" => "runs",
        "paused" => "is paused",
        // What has no task, or one that is not started, is told by other words here and there.
        _ => "does not run",
    };
    format!(
        "container {namespace}/{} of {} {state}, pid {}",
        text(id),
        text(&of["image"]),
        of["pid"]
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: Value) -> Result<Vec<Value>> {
    let Value::Array(list) = value else { anyhow::bail!("{value} is no list") };
    Ok(list)
}

/// None of these nodes has listed a view as a whole again since it counted `before`.
pub fn no_relist(members: &[Member], before: &[f64]) -> Result<()> {
    for (member, before) in members.iter().zip(before) {
        let now = member.relists()?;
        ensure!(now <= *before, "{} has listed again: {before}, {now}", member.name);
    }
    Ok(())
}

/// How often each node has listed views again so far.
pub fn relists(members: &[Member]) -> Result<Vec<f64>> {
    members.iter().map(Member::relists).collect()
}
