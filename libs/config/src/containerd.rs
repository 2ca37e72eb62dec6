//! containerd's configuration file, versions 1 to 4, as one of ours.
//!
//! Owns: containerd's keys, the rules by which its files are merged and migrated, and what its keys
//! are called here. Must not know: what a service does with them.
//!
//! Source: containerd 2.3's documentation of its configuration, and its behaviour.

mod carry;
mod cri;
mod duration;
mod files;
mod merge;
mod migrate;
mod rules;

use std::collections::BTreeSet;
use std::path::Path;

use toml::Value;

use crate::Error;
use crate::tree::{Node, Tree, dotted};
use merge::says_nothing;
use rules::{RULES, absent, was_default, without_effect};

pub use carry::carry;
pub(crate) use carry::in_ours;
pub(crate) use cri::TABLES as CRI_TABLES;
pub(crate) use merge::replace;
pub(crate) use migrate::NEWEST;
pub(crate) use rules::PROGRAMS;

/// containerd's own configuration, in its newest version, as far as its keys exist here. As the CRI's tables are in it,
/// it serves kubelets.
pub const DEFAULTS: &str =
    concat!(include_str!("containerd/defaults.toml"), include_str!("containerd/cri/defaults.toml"));
/// The same without the CRI's tables, as a node has it without a file.
pub const WITHOUT_CRI: &str = include_str!("containerd/defaults.toml");

/// One of containerd's files and what it imports, as one tree of version 4, and the version that
/// the first file had.
///
/// # Errors
/// [`Error`] names the file, the line and the key.
pub(crate) fn read(path: &Path) -> Result<(Tree, i64), Error> {
    let (mut whole, mut first) = (Tree::default(), None);
    for (_, mut tree) in files::all(path)? {
        let version = migrate::version(&tree)?;
        let most = *first.get_or_insert(version);
        if let (true, Some(Node::Value(_, origin))) = (version > most, tree.get(&["version"])) {
            return Err(Error::Containerd {
                origin: origin.clone(),
                key: "version".into(),
                message: format!(
                    "it is {version}, above that of {}, {most}: write one of them in the other's version",
                    path.display(),
                ),
            });
        }
        migrate::migrate(&mut tree, version);
        tree.take(&["version"]);
        merge::merge(&mut whole, tree);
    }
    Ok((whole, first.unwrap_or(migrate::NEWEST)))
}

/// One of containerd's files with what it imports, in the newest version; over containerd's own
/// defaults if `with_defaults`.
///
/// # Errors
/// [`Error`] names the file, the line and the key.
pub fn print(path: &Path, with_defaults: bool) -> Result<String, Error> {
    let (mut theirs, version) = read(path)?;
    // What is said of a file speaks of the table that was written, so it is divided here alone.
    if version < NEWEST {
        cri::divide(&mut theirs);
    }
    let mut whole = Tree::default();
    if with_defaults {
        let has_cri = CRI_TABLES.iter().any(|table| theirs.get(&["plugins", table]).is_some());
        // A file without these tables does not serve kubelets, and one with all keys in it does not either.
        let defaults = if has_cri { DEFAULTS } else { WITHOUT_CRI };
        whole = Tree::read(defaults, Path::new("containerd's defaults"))?;
    }
    merge::merge(&mut whole, theirs);
    whole.take(&["version"]);
    let body = whole.to_table().to_string();
    Ok(format!("version = {NEWEST}\n{body}"))
}

/// The same as a tree of ours, and what of it has no effect: a line for each key, or for a plugin
/// that is not here.
///
/// `version` is that of the file, whose names of keys are the ones to speak of.
///
/// # Errors
/// [`Error::Containerd`] for a value that cannot be.
pub(crate) fn translate(mut theirs: Tree, version: i64) -> Result<(Tree, Vec<String>), Error> {
    let (mut ours, mut remarks) = (Tree::default(), Vec::new());
    let carried = cri::take(&mut theirs, version);
    for rule in RULES {
        let Some(Node::Value(value, origin)) = theirs.take(rule.from) else { continue };
        if let Some(said) = rule.how.remark(&value) {
            remarks.push(format!("{origin}: {} {said}", dotted(rule.from)));
        }
        let converted = rule.how.convert(value).map_err(|message| Error::Containerd {
            origin: origin.clone(),
            key: dotted(rule.from),
            message,
        })?;
        if let Some(value) = converted {
            ours.put(rule.to, Node::Value(value, origin));
        }
    }
    // A server without an address does not listen, whatever else is said of it.
    if ours.get(&["gateway", "tcp", "address"]).is_none() {
        ours.take(&["gateway", "tcp"]);
    }
    check_certificates(&ours, version)?;
    name_collector(&mut theirs, &mut ours);
    for (table, keys) in PROGRAMS {
        move_programs(&mut theirs, &mut ours, table, keys);
    }
    choose_content_store(&mut ours);
    if let Some(carried) = carried {
        remarks.extend(carry::judge(carried, &mut ours)?);
    }
    theirs.take(&["imports"]);
    let defaults = Tree::read(WITHOUT_CRI, Path::new("containerd's defaults"))?;
    let mut told = BTreeSet::new();
    for (keys, value, origin) in theirs.values() {
        let Some(said) = remark(&defaults, &keys, value) else { continue };
        // One line for all keys of a plugin that is not here.
        if told.insert(said.clone()) {
            remarks.push(format!("{origin}: {said}"));
        }
    }
    Ok((ours, remarks))
}

/// containerd also listens without TLS, to anybody.
fn check_certificates(ours: &Tree, version: i64) -> Result<(), Error> {
    let Some(Node::Value(_, origin)) = ours.get(&["gateway", "tcp", "address"]) else {
        return Ok(());
    };
    let missing = ["ca", "cert", "key"].into_iter();
    let missing: Vec<_> =
        missing.filter(|key| ours.get(&["gateway", "tcp", key]).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (key, prefix) = match version {
        NEWEST.. => (dotted(&["plugins", rules::TCP, "address"]), ""),
        _ => ("grpc.tcp_address".to_owned(), "tcp_"),
    };
    let named: Vec<_> = missing.iter().map(|key| format!("{prefix}tls_{key}")).collect();
    let message =
        format!("needs {} beside it: clients over TCP must have certificates", named.join(", "));
    Err(Error::Containerd { origin: origin.clone(), key, message })
}

/// containerd has in keys of their own what the address of a collector says here: whether there is TLS.
fn name_collector(theirs: &mut Tree, ours: &mut Tree) {
    let named = |key| ["plugins", rules::OTLP, key];
    let text = |tree: &Tree, keys: &[&str]| match tree.get(keys) {
        Some(Node::Value(value, _)) => value.as_str().map(str::to_owned),
        _ => None,
    };
    let insecure = theirs.take(&named("insecure"));
    let plain = matches!(insecure, Some(Node::Value(Value::Boolean(true), _)));
    if text(theirs, &named("protocol")).as_deref() == Some("grpc") {
        theirs.take(&named("protocol"));
    }
    let ours_is = ["telemetry", "otlp_endpoint"];
    if let (Some(address), Some(Node::Value(_, origin))) =
        (text(ours, &ours_is), ours.get(&ours_is))
        && !address.contains("://")
    {
        let (scheme, origin) = (if plain { "http" } else { "https" }, origin.clone());
        ours.put(&ours_is, Node::Value(Value::String(format!("{scheme}://{address}")), origin));
    }
}

/// With containerd the bytes of blobs are kept by whoever is left of that kind.
fn choose_content_store(ours: &mut Tree) {
    let Some(Node::Value(disabled, origin)) = ours.get(&["disabled_plugins"]).cloned() else {
        return;
    };
    let is_disabled = |name: &str| {
        let full = Value::String(format!("io.containerd.content.v1.{name}"));
        disabled.as_array().is_some_and(|names| names.contains(&full))
    };
    let Some(Node::Table(programs)) = ours.get(&["proxy_plugins"]) else { return };
    let is_store = |program: &Tree| match program.get(&["type"]) {
        Some(Node::Value(kind, _)) => {
            matches!(kind.as_str(), Some("content" | "io.containerd.content.v1"))
        }
        _ => false,
    };
    let left = |(name, program): (&String, &Node)| match program {
        Node::Table(program) if is_store(program) && !is_disabled(name) => Some(name.clone()),
        _ => None,
    };
    let mut left = programs.0.iter().filter_map(left);
    if let (true, Some(store), None) = (is_disabled("content"), left.next(), left.next()) {
        let chosen = Node::Value(Value::String(store), origin);
        ours.put(&["distribution", "content_store"], chosen);
    }
}

/// Moves the keys that we know of each entry of a table of programs.
fn move_programs(theirs: &mut Tree, ours: &mut Tree, table: &str, keys: &[&str]) {
    let Some(Node::Table(entries)) = theirs.0.get_mut(table) else { return };
    for (name, entry) in &mut entries.0 {
        let Node::Table(entry) = entry else { continue };
        for key in keys {
            if let Some(node) = entry.take(&[key]) {
                ours.put(&[table, name, key], node);
            }
        }
    }
}

/// What is to be said of a value that sets nothing here: nothing if it is what containerd has
/// anyway, or what it writes for what was not set.
fn remark(defaults: &Tree, keys: &[String], value: &Value) -> Option<String> {
    let key = dotted(keys);
    let path: Vec<&str> = keys.iter().map(String::as_str).collect();
    let default = match defaults.get(&path) {
        Some(Node::Value(default, _)) => Some(default),
        _ => None,
    };
    if default == Some(value) || was_default(keys, value) {
        return None;
    }
    let (absent, reason) = (absent(keys), without_effect(keys));
    if default.is_none() && says_nothing(value) && (absent.is_some() || reason.is_some()) {
        return None;
    }
    Some(match (absent, reason, default) {
        (Some((plugin, reason)), ..) => {
            format!("{} has no effect here: {reason}", dotted(&["plugins", plugin]))
        }
        (None, Some(reason), _) => format!("{key} has no effect here: {reason}"),
        (None, None, Some(_)) => format!("{key} has no effect here yet"),
        (None, None, None) => format!("unknown key {key} is ignored"),
    })
}
