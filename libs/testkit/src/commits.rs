//! The commits that a service's source makes, for tests that end it at each.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

/// The names of all commits of a store (`.commit("NAME"`) in the sources below a folder, but for those
/// of the sources' own tests.
///
/// # Errors
/// When a source can't be read.
pub fn commits_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            names.extend(commits_in(&path)?);
            continue;
        }
        let text = fs_err::read_to_string(&path)?;
        let own = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        let calls = own.split(".commit(").skip(1).map(str::trim_start);
        let quoted = calls.filter_map(|call| call.strip_prefix('"'));
        names.extend(quoted.filter_map(|call| call.split('"').next().map(str::to_owned)));
    }
    Ok(names)
}
