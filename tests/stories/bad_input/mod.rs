//! What people and registries get wrong: a clear error, the right code, nothing lost.

mod disk;
mod hostile;
mod layers;
mod names;
mod registries;
mod runtime;

use anyhow::Result;
use berth_testkit::Node;

/// All that a node lists.
fn listed(node: &Node) -> Result<Vec<String>> {
    let mut lists = Vec::new();
    for line in ["images ls -q", "content ls -q", "snapshots ls", "containers ls -q", "tasks ls"] {
        lists.push(node.ctr(line).output()?.ok()?);
    }
    Ok(lists)
}

/// What `berth` printed when it had to refuse, in one line that has all of `parts`. What the node
/// lists is as before.
fn refused(node: &Node, line: &str, code: i32, parts: &[&str]) -> Result<String> {
    let before = listed(node)?;
    let out = node.berth(line).output()?;
    assert_eq!(out.code, code, "{out}");
    let error = out.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(error.starts_with("berth: "), "{out}");
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
    let mut after = listed(node)?;
    if after != before {
        // What a refused pull has fetched is nobody's: listed until the next collection.
        node.berth("gc").output()?.ok()?;
        after = listed(node)?;
    }
    assert_eq!(after, before, "after {line}");
    Ok(error)
}
