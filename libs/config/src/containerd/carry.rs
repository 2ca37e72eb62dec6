//! The CRI's tables taken over: into what is in force, or as text for a file of ours.

use std::fmt::Write as _;
use std::path::Path;

use super::cri::{self, Carried, Said};
use super::merge::replace;
use super::{migrate, read};
use crate::Error;
use crate::tree::{Node, Tree};

/// Puts what was taken over into `ours`, and answers what is to be said of the rest.
///
/// # Errors
/// [`Error::Containerd`] for the first key that is refused.
pub(super) fn judge(carried: Carried, ours: &mut Tree) -> Result<Vec<String>, Error> {
    let Carried { ours: found, remarks, refused, .. } = carried;
    if let Some(Said { origin, key, what: message }) = refused.into_iter().next() {
        return Err(Error::Containerd { origin, key, message });
    }
    replace(ours, found);
    Ok(remarks.iter().map(line).collect())
}

fn line(said: &Said) -> String {
    let Said { origin, key, what } = said;
    format!("{origin}: {key} {what}")
}

/// What the CRI's tables say that stand in a file of ours: under what is said there by our own keys, and without turning
/// it on.
///
/// # Errors
/// [`Error::Containerd`] for a key that is refused.
pub(crate) fn in_ours(plugins: Tree, disabled: Option<Node>) -> Result<(Tree, Vec<String>), Error> {
    let mut theirs = Tree::default();
    theirs.put(&["plugins"], Node::Table(plugins));
    if let Some(disabled) = disabled {
        theirs.put(&["disabled_plugins"], disabled);
    }
    let mut found = Tree::default();
    let Some(carried) = cri::take(&mut theirs, migrate::NEWEST) else {
        return Ok((found, Vec::new()));
    };
    let remarks = judge(carried, &mut found)?;
    if let Some(Node::Table(cri)) = found.0.get_mut("cri") {
        cri.0.remove("enabled");
    }
    Ok((found, remarks))
}

/// The CRI's part of containerd's file at `path`, of any version and with what it imports, as text for a file of ours:
/// comments say what is not in it, and why.
///
/// # Errors
/// [`Error`] names the file, the line and the key.
pub fn carry(path: &Path) -> Result<String, Error> {
    let (mut theirs, version) = read(path)?;
    // Also of a node whose file leaves the CRI out: who asks wants to see it.
    theirs.take(&["disabled_plugins"]);
    let shown = path.display();
    let Some(carried) = cri::take(&mut theirs, version) else {
        return Ok(format!("# {shown} (version {version}) has no table of the CRI.\n"));
    };
    let Carried { mut ours, remarks, refused, .. } = carried;
    let mut text = format!(
        "# From {shown}, version {version}. Values that are containerd's own are left out.\n"
    );
    // A handler without a word of its own is one all the same.
    let table = std::mem::take(&mut ours).to_table();
    text.push_str(&table.to_string());
    for (head, all) in [("Not taken over", &remarks), ("Refused, and to be done by hand", &refused)]
    {
        if all.is_empty() {
            continue;
        }
        let _ = write!(text, "\n# {head}:\n");
        for said in all {
            let separator = if std::ptr::eq(all, &refused) { ": " } else { " " };
            let Said { origin, key, what } = said;
            let line = format!("{origin}: {key}{separator}{what}");
            for line in line.lines() {
                let _ = writeln!(text, "# - {line}");
            }
        }
    }
    Ok(text)
}
