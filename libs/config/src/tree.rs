//! A configuration as it was written: values by the names of their tables, with file and line.
//!
//! Owns: reading TOML with its positions, and looking into what was read. Must not know: any key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::Error;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// The line in it, from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A value, or what is in a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Table(Tree),
    Value(Value, Origin),
}

/// What is in a table, or in a whole file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Node>);

impl Tree {
    /// Reads `text`, which is that of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Parse`] with the line.
    pub(crate) fn read(text: &str, path: &Path) -> Result<Self, Error> {
        let wrong = |error: &toml::de::Error| Error::parse(path, text, error);
        let parsed = DeTable::parse(text).map_err(|error| wrong(&error))?;
        let file = File { text, path: path.into() };
        file.table(parsed.into_inner()).map_err(|error| wrong(&error))
    }

    /// What is at `keys`: a table's name, that of one in it, and so on.
    pub(crate) fn get(&self, keys: &[&str]) -> Option<&Node> {
        let (first, rest) = keys.split_first()?;
        match (self.0.get(*first)?, rest) {
            (node, []) => Some(node),
            (Node::Table(inner), rest) => inner.get(rest),
            (Node::Value(..), _) => None,
        }
    }

    /// Takes what is at `keys` out. Tables that are empty then stay.
    pub(crate) fn take(&mut self, keys: &[&str]) -> Option<Node> {
        let (first, rest) = keys.split_first()?;
        if rest.is_empty() {
            return self.0.remove(*first);
        }
        match self.0.get_mut(*first)? {
            Node::Table(inner) => inner.take(rest),
            Node::Value(..) => None,
        }
    }

    /// Puts `node` at `keys`, in tables that are made where they are missing.
    pub(crate) fn put(&mut self, keys: &[&str], node: Node) {
        let Some((first, rest)) = keys.split_first() else { return };
        if rest.is_empty() {
            self.0.insert((*first).to_owned(), node);
            return;
        }
        let made =
            self.0.entry((*first).to_owned()).or_insert_with(|| Node::Table(Tree::default()));
        if matches!(made, Node::Value(..)) {
            *made = Node::Table(Tree::default());
        }
        if let Node::Table(inner) = made {
            inner.put(rest, node);
        }
    }

    /// Every value with the names that lead to it.
    pub(crate) fn values(&self) -> Vec<(Vec<String>, &Value, &Origin)> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect<'a>(
        &'a self,
        above: &mut Vec<String>,
        found: &mut Vec<(Vec<String>, &'a Value, &'a Origin)>,
    ) {
        for (name, node) in &self.0 {
            above.push(name.clone());
            match node {
                Node::Table(inner) => inner.collect(above, found),
                Node::Value(value, origin) => found.push((above.clone(), value, origin)),
            }
            above.pop();
        }
    }

    /// The same without the positions.
    pub(crate) fn to_table(&self) -> toml::Table {
        let plain = |node: &Node| match node {
            Node::Table(inner) => Value::Table(inner.to_table()),
            Node::Value(value, _) => value.clone(),
        };
        self.0.iter().map(|(name, node)| (name.clone(), plain(node))).collect()
    }
}

/// The names that lead to a value as one writes them: `plugins."io.containerd.gc.v1.scheduler".x`.
pub(crate) fn dotted<T: AsRef<str>>(keys: &[T]) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = |key: &T| match key.as_ref() {
        plain if !plain.is_empty() && plain.chars().all(bare) => plain.to_owned(),
        other => Value::String(other.to_owned()).to_string(),
    };
    keys.iter().map(name).collect::<Vec<_>>().join(".")
}

struct File<'t> {
    text: &'t str,
    path: Arc<Path>,
}

impl File<'_> {
    fn table(&self, table: DeTable<'_>) -> Result<Tree, toml::de::Error> {
        let mut tree = Tree::default();
        for (name, value) in table {
            let line = self.line(name.span().start);
            let node = match value.get_ref() {
                DeValue::Table(_) => {
                    let DeValue::Table(inner) = value.into_inner() else { continue };
                    Node::Table(self.table(inner)?)
                }
                _ => {
                    let value = Value::deserialize(value.into_deserializer())?;
                    Node::Value(value, Origin { file: self.path.clone(), line })
                }
            };
            tree.0.insert(name.into_inner().into_owned(), node);
        }
        Ok(tree)
    }

    fn line(&self, at: usize) -> usize {
        self.text.get(..at).map_or(0, |before| before.matches('\n').count()) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[t]\nb = 'x'\n\n[t.'u.v']\nc = [1,\n 2]\nd.e = true\n";

    fn tree() -> Tree {
        Tree::read(TEXT, Path::new("/f")).expect("it is TOML")
    }

    #[test]
    fn values_keep_where_they_were_written() {
        let tree = tree();
        let seen = tree.values();
        let seen: Vec<_> =
            seen.iter().map(|(keys, _, origin)| (dotted(keys), origin.line)).collect();
        let expected = [("a", 1), ("t.b", 3), ("t.\"u.v\".c", 6), ("t.\"u.v\".d.e", 8)]
            .map(|(k, l)| (k.to_owned(), l));
        assert_eq!(seen, expected);
        let plain: toml::Table = toml::from_str(TEXT).expect("it is TOML");
        assert_eq!(tree.to_table(), plain);
    }

    #[test]
    fn what_is_taken_is_gone_and_can_be_put_elsewhere() {
        let mut tree = tree();
        let taken = tree.take(&["t", "u.v", "c"]).expect("it is there");
        assert_eq!(tree.take(&["t", "u.v", "c"]), None);
        assert_eq!(tree.take(&["a", "b"]), None);
        tree.put(&["x", "y"], taken.clone());
        tree.put(&["a", "b"], taken.clone());
        assert_eq!(tree.get(&["x", "y"]), Some(&taken));
        assert_eq!(tree.get(&["a", "b"]), Some(&taken));
        assert_eq!(tree.get(&[]), None);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let error = Tree::read("a = 1\nb = = 2\n", Path::new("/f")).expect_err("it is none");
        assert!(error.to_string().starts_with("/f:2: "), "{error}");
        let error =
            Tree::read("a = 99999999999999999999\n", Path::new("/f")).expect_err("too large");
        assert!(error.to_string().starts_with("/f:1: "), "{error}");
    }
}
