//! A file and those that it imports.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::tree::{Node, Tree};
use crate::{Error, read};

/// The most files of one configuration.
const MOST: usize = 256;

/// The file at `path`, then those that it imports, then those that these import: each once.
///
/// # Errors
/// [`Error`] of one that cannot be read, or is not TOML.
pub(super) fn all(path: &Path) -> Result<Vec<(PathBuf, Tree)>, Error> {
    let (mut pending, mut seen, mut files) = (vec![path.to_owned()], HashSet::new(), Vec::new());
    while !pending.is_empty() {
        let mut next = Vec::new();
        for path in pending {
            // One file may be named in several ways.
            if !seen.insert(std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
                continue;
            }
            if seen.len() > MOST {
                return Err(Error::TooManyFiles { path, most: MOST });
            }
            let tree = Tree::read(&read(&path)?, &path)?;
            next.extend(imports(&tree, &path)?);
            files.push((path, tree));
        }
        pending = next;
    }
    Ok(files)
}

/// What a file imports: patterns are those of a shell, relative paths start beside the file.
fn imports(tree: &Tree, file: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some(Node::Value(toml::Value::Array(patterns), origin)) = tree.get(&["imports"]) else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for pattern in patterns.iter().filter_map(toml::Value::as_str) {
        let path = file.parent().unwrap_or(Path::new("/")).join(pattern);
        if !pattern.contains('*') {
            paths.push(path);
            continue;
        }
        let found = glob::glob(&path.to_string_lossy()).map_err(|error| Error::Containerd {
            origin: origin.clone(),
            key: "imports".into(),
            message: format!("{pattern:?} is no pattern: {error}"),
        })?;
        paths.extend(found.filter_map(Result::ok));
    }
    Ok(paths)
}
