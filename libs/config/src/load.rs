//! From a file of either format, and a command line, to a configuration that says where each of its
//! values comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;

use crate::tree::{Node, Origin, Tree, dotted};
use crate::{Args, Config, Error, Overrides, containerd, read};

/// Where containerd looks for its file, and what it has without one.
const CONTAINERDS: [(&str, &str); 3] = [
    ("root", "/var/lib/containerd"),
    ("state", "/run/containerd"),
    ("address", "/run/containerd/containerd.sock"),
];
const CONTAINERDS_PATH: &str = "/etc/containerd/config.toml";

/// A configuration, and what is to be said of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// What of containerd's file has no effect, a line each with file, line and key.
    pub remarks: Vec<String>,
    containerds: bool,
    written: Tree,
    overrides: Overrides,
}

/// What a file says.
struct Said {
    config: Config,
    remarks: Vec<String>,
    containerds: bool,
    written: Tree,
}

/// One value that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Its key with its tables, `distribution.gc.deadline`.
    pub key: String,
    /// The value as it would be written; none for a key that is not set.
    pub value: Option<String>,
    /// Who says so.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is written there.
    File(Origin),
    /// This option of the command line.
    CommandLine(&'static str),
    /// Nobody said otherwise.
    Default,
}

impl Loaded {
    /// What `args` choose. Of a process that runs, what it leaves out since its start (`in_force`) is what is
    /// left out, whatever the file says now: that counts after a restart, and as a whole.
    pub(crate) fn of(args: &Args, in_force: Option<&[String]>) -> Result<Self, Error> {
        let usual = if args.as_containerd { CONTAINERDS_PATH } else { crate::DEFAULT_PATH };
        let usual = || Some(PathBuf::from(usual)).filter(|path| path.exists());
        let file = args.config.clone().or_else(usual);
        let said = match &file {
            Some(path) => from_file(path, args.as_containerd)?,
            None if args.as_containerd => {
                from_containerds(Tree::default(), containerd::NEWEST, true, Vec::new())?
            }
            None => ours(Config::default(), Tree::default()),
        };
        let Said { config, remarks, containerds, written } = said;
        let overrides = args.overrides.clone();
        let mut loaded = Self { config, file, remarks, containerds, written, overrides };
        args.overrides.clone().apply(&mut loaded.config);
        let said = loaded.config.disabled_plugins.clone();
        if let Some(in_force) = in_force {
            // What the file says is judged all the same.
            loaded.config.clone().complete()?;
            loaded.config.disabled_plugins = in_force.to_vec();
        }
        loaded.config.complete()?;
        loaded.config.disabled_plugins = said;
        Ok(loaded)
    }

    /// Whether the file is in containerd's format.
    #[must_use]
    pub fn is_containerds(&self) -> bool {
        self.containerds
    }

    /// Every value that is in force, by its key.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        let table = Value::try_from(&self.config).ok();
        let mut found = Vec::new();
        self.explain_in(table.as_ref(), &mut Vec::new(), &mut found);
        found
    }

    /// The keys of which `newer` has other values.
    #[must_use]
    pub fn differs(&self, newer: &Self) -> Vec<String> {
        let of = |loaded: &Self| -> BTreeMap<String, Option<String>> {
            loaded.explain().into_iter().map(|value| (value.key, value.value)).collect()
        };
        let (here, there) = (of(self), of(newer));
        let keys: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        keys.into_iter().filter(|key| here.get(*key) != there.get(*key)).cloned().collect()
    }

    fn explain_in(
        &self,
        value: Option<&Value>,
        keys: &mut Vec<String>,
        found: &mut Vec<Explained>,
    ) {
        if let Some(Value::Table(table)) = value {
            for (name, value) in table {
                keys.push(name.clone());
                self.explain_in(Some(value), keys, found);
                keys.pop();
            }
            return;
        }
        let source = self.source(keys);
        found.push(Explained { key: dotted(keys), value: value.map(Value::to_string), source });
    }

    fn source(&self, keys: &[String]) -> Source {
        let path: Vec<&str> = keys.iter().map(String::as_str).collect();
        if let Some(option) = self.overrides.option_of(&path) {
            return Source::CommandLine(option);
        }
        match self.written.get(&path) {
            Some(Node::Value(_, origin)) => Source::File(origin.clone()),
            _ => Source::Default,
        }
    }
}

/// A file with a `version` is containerd's; so is every one if this process goes by its name.
fn from_file(path: &Path, as_containerd: bool) -> Result<Said, Error> {
    let text = read(path)?;
    let written = Tree::read(&text, path)?;
    if !as_containerd && written.get(&["version"]).is_none() {
        return ours_with_tables(Config::parse(&text, path)?, written);
    }
    let (theirs, version) = containerd::read(path)?;
    let mut remarks = Vec::new();
    if version < containerd::NEWEST {
        remarks.push(format!(
            "{}: read as containerd's version {version}; `berthd config migrate` prints it in version {}",
            path.display(),
            containerd::NEWEST,
        ));
    }
    from_containerds(theirs, version, as_containerd, remarks)
}

fn from_containerds(
    theirs: Tree,
    version: i64,
    as_containerd: bool,
    mut remarks: Vec<String>,
) -> Result<Said, Error> {
    let (written, more) = containerd::translate(theirs, version)?;
    remarks.extend(more);
    let mut table = written.to_table();
    if as_containerd {
        for (key, value) in CONTAINERDS {
            table.entry(key).or_insert_with(|| Value::String(value.to_owned()));
        }
    }
    let config =
        Config::deserialize(Value::Table(table)).map_err(|error| blame(&written, &error))?;
    Ok(Said { config, remarks, containerds: true, written })
}

/// Tables of containerd's CRI may stand in our file; our own keys go before them.
fn ours_with_tables(config: Config, mut written: Tree) -> Result<Said, Error> {
    let Some(Node::Table(plugins)) = written.take(&["plugins"]) else {
        return Ok(ours(config, written));
    };
    for (name, node) in &plugins.0 {
        if !containerd::CRI_TABLES.contains(&&**name) {
            let (key, known) = (dotted(&["plugins", name]), containerd::CRI_TABLES.join(", "));
            let message = format!("is none of the tables that may stand here: {known}");
            let origin = match node {
                Node::Value(_, origin) => Some(origin.clone()),
                Node::Table(inner) => inner.values().first().map(|(.., origin)| (*origin).clone()),
            };
            let Some(origin) = origin else { continue };
            return Err(Error::Containerd { origin, key, message });
        }
    }
    let disabled = written.get(&["disabled_plugins"]).cloned();
    let (mut whole, remarks) = containerd::in_ours(plugins, disabled)?;
    containerd::replace(&mut whole, written);
    let config = Config::deserialize(Value::Table(whole.to_table()))
        .map_err(|error| blame(&whole, &error))?;
    Ok(Said { config, remarks, containerds: false, written: whole })
}

fn ours(config: Config, written: Tree) -> Said {
    Said { config, remarks: Vec::new(), containerds: false, written }
}

/// Finds the value that is wrong: the first that is so on its own, an entry of a table of programs
/// as a whole.
fn blame(written: &Tree, error: &toml::de::Error) -> Error {
    let wrong = |keys: &[&str]| {
        let mut alone = Tree::default();
        alone.put(keys, written.get(keys)?.clone());
        Config::deserialize(Value::Table(alone.to_table())).err()
    };
    for (keys, _, origin) in written.values() {
        let mut path: Vec<&str> = keys.iter().map(String::as_str).collect();
        if containerd::PROGRAMS.iter().any(|(table, _)| path.first() == Some(table)) {
            path.truncate(2);
        }
        if let Some(error) = wrong(&path) {
            let (origin, key) = (origin.clone(), dotted(&path));
            return Error::Containerd { origin, key, message: error.message().to_owned() };
        }
    }
    // Values that are right alone are right together.
    Error::Parse { path: PathBuf::new(), line: 0, message: error.message().to_owned() }
}
