//! `disabled_plugins`: which parts of the node are left out, by the names that containerd's plugins
//! have, and which others cannot be there without those.
//!
//! Asked here and nowhere else. Who asks does without the part, or does not show it to clients: a
//! service that nobody can call may run on for the others'.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Config, Error, ProxyKind};

/// What all of their names begin with.
const PREFIX: &str = "io.containerd.";
/// Parts that were named otherwise until version 4 of containerd's file.
const RENAMED: [(&str, &str); 1] = [("internal.v1.restart", "monitor.container.v1.restart")];
/// Parts without which nobody could call the node, and no shim tell it what happens.
const KEPT: [&str; 3] = ["server.v1.grpc", "server.v1.ttrpc", "ttrpc.v1.events"];

const CONTENT: &str = "content.v1";
const DIFFER: &str = "differ.v1";
const SANDBOXER: &str = "sandbox.controller.v1";
const SNAPSHOTTER: &str = "snapshotter.v1";
const BOLT: &str = "metadata.v1.bolt";
const DIFF: &str = "service.v1.diff-service";

/// Those of berth's own that there are, of kinds of which one is enough.
const SNAPSHOTTERS: [&str; 5] = ["overlayfs", "native", "blockfile", "btrfs", "erofs"];
const SANDBOXERS: [&str; 1] = ["shim"];

/// What a part cannot be there without, as with containerd. Of what depends on other keys it is said
/// below.
const NEEDS: [(&str, &[&str]); 39] = [
    (BOLT, &["event.v1.exchange"]),
    (
        "cri.v1.images",
        &[
            BOLT,
            "lease.v1.manager",
            "sandbox.store.v1.local",
            "transfer.v1.local",
            "warning.v1.deprecations",
        ],
    ),
    ("cri.v1.runtime", &["warning.v1.deprecations"]),
    ("differ.v1.erofs", &[BOLT]),
    ("differ.v1.walking", &[BOLT]),
    ("gc.v1.scheduler", &[BOLT]),
    ("grpc.v1.containers", &["service.v1.containers-service"]),
    ("grpc.v1.content", &["service.v1.content-service"]),
    ("grpc.v1.cri", &["cri.v1.runtime", "cri.v1.images", "event.v1.exchange", "shim.v1.manager"]),
    ("grpc.v1.diff", &[DIFF]),
    ("grpc.v1.events", &["event.v1.exchange"]),
    ("grpc.v1.images", &["service.v1.images-service"]),
    ("grpc.v1.introspection", &["service.v1.introspection-service"]),
    ("grpc.v1.leases", &["lease.v1.manager"]),
    ("grpc.v1.mounts", &["mount-manager.v1.bolt"]),
    ("grpc.v1.namespaces", &["service.v1.namespaces-service"]),
    ("grpc.v1.sandbox-controllers", &["event.v1.exchange"]),
    ("grpc.v1.sandboxes", &["sandbox.store.v1.local"]),
    ("grpc.v1.snapshots", &["service.v1.snapshots-service"]),
    ("grpc.v1.streaming", &["streaming.v1.manager"]),
    ("grpc.v1.tasks", &["service.v1.tasks-service"]),
    ("grpc.v1.transfer", &["transfer.v1.local", "streaming.v1.manager"]),
    ("lease.v1.manager", &[BOLT, "gc.v1.scheduler"]),
    (
        "monitor.container.v1.restart",
        &["service.v1.containers-service", "service.v1.tasks-service"],
    ),
    ("mount-manager.v1.bolt", &[BOLT]),
    ("runtime.v2.task", &["shim.v1.manager", "warning.v1.deprecations"]),
    ("sandbox.controller.v1.shim", &["shim.v1.manager", "event.v1.exchange"]),
    ("sandbox.store.v1.local", &[BOLT]),
    ("service.v1.containers-service", &[BOLT, "event.v1.exchange"]),
    ("service.v1.content-service", &[BOLT]),
    ("service.v1.images-service", &[BOLT, "gc.v1.scheduler", "warning.v1.deprecations"]),
    ("service.v1.introspection-service", &["warning.v1.deprecations"]),
    ("service.v1.namespaces-service", &[BOLT, "event.v1.exchange"]),
    ("service.v1.snapshots-service", &[BOLT]),
    (
        "service.v1.tasks-service",
        &["runtime.v2.task", BOLT, "event.v1.exchange", "warning.v1.deprecations"],
    ),
    ("shim.v1.manager", &[BOLT, "event.v1.exchange"]),
    ("streaming.v1.manager", &[BOLT]),
    ("transfer.v1.local", &[BOLT, "lease.v1.manager"]),
    (DIFF, &[]),
];

/// Whether a part is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    There,
    /// It is left out: nobody is told of it.
    Disabled,
    /// It is not, for want of another, and this is said of it.
    Failed(String),
}

/// The parts of a node. Nothing is left out by default.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    /// Names without what all begin with.
    disabled: BTreeSet<String>,
    /// What a part needs: of each set one.
    needs: BTreeMap<String, Vec<Vec<String>>>,
}

impl Config {
    /// Which parts are there.
    #[must_use]
    pub fn plugins(&self) -> Plugins {
        let disabled: BTreeSet<_> =
            self.disabled_plugins.iter().filter_map(|name| short(name)).collect();
        if disabled.is_empty() {
            return Plugins::default();
        }
        let mut needs: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for (part, needed) in NEEDS {
            let each = needed.iter().map(|needed| vec![(*needed).to_owned()]);
            needs.entry(part.to_owned()).or_default().extend(each);
        }
        let mut need = |part: &str, sets: Vec<Vec<String>>| {
            needs.entry(part.to_owned()).or_default().extend(sets);
        };
        let store = self.distribution.content_store.as_deref().unwrap_or("content");
        need(BOLT, vec![vec![format!("{CONTENT}.{store}")]]);
        need(BOLT, vec![self.any(SNAPSHOTTER, &SNAPSHOTTERS, ProxyKind::Snapshotter)]);
        let differs = self.bundle.differs.iter().map(|name| vec![format!("{DIFFER}.{name}")]);
        need(DIFF, differs.collect());
        let sandboxers = self.any(SANDBOXER, &SANDBOXERS, ProxyKind::SandboxController);
        need("grpc.v1.sandbox-controllers", vec![sandboxers.clone()]);
        need("grpc.v1.cri", vec![sandboxers]);
        Plugins { disabled, needs }
    }

    /// All parts of a kind, berth's `own` and those of others.
    fn any(&self, kind: &str, own: &[&str], of: ProxyKind) -> Vec<String> {
        let theirs = self.proxy_plugins.iter().filter(|(_, plugin)| plugin.serves() == Some(of));
        let theirs = theirs.map(|(name, _)| name.as_str());
        own.iter().copied().chain(theirs).map(|name| format!("{kind}.{name}")).collect()
    }

    /// Does without what is left out, as far as other keys say what it is like.
    pub(crate) fn leave_out(&mut self) -> Result<(), Error> {
        let wrong = |key: &str, value: &str, rule| {
            Err(Error::Value { key: key.to_owned(), value: value.to_owned(), rule })
        };
        const KEY: &str = "disabled_plugins";
        for name in &self.disabled_plugins {
            if !name.contains('.') {
                return wrong(KEY, name, "the whole name of a plugin, io.containerd.TYPE.ID");
            }
            if short(name).is_some_and(|name| KEPT.contains(&&*name)) {
                return wrong(KEY, name, "another: without it nobody can call the node");
            }
        }
        let plugins = self.plugins();
        let out = |kind: &str, id: &str| plugins.is_disabled(kind, id);
        if let Some(name) = self.bundle.snapshotter.as_deref().filter(|name| out(SNAPSHOTTER, name))
        {
            return wrong("bundle.snapshotter", name, "another: that one is in disabled_plugins");
        }
        self.proxy_plugins.retain(|name, plugin| {
            plugin.serves().is_none_or(|kind| !out(kind.type_of_plugins(), name))
        });
        if out("server.v1", "metrics") {
            self.metrics.address.clear();
        }
        if out("server.v1", "grpc-tcp") {
            self.gateway.tcp = None;
        }
        if out("grpc.v1", "cri") {
            self.cri.enabled = false;
        }
        if out("internal.v1", "opt") {
            self.opt.clear();
        }
        self.telemetry.left_out =
            out("tracing.processor.v1", "otlp") || out("internal.v1", "tracing");
        self.distribution.image_verifiers.left_out = out("image-verifier.v1", "bindir");
        Ok(())
    }
}

impl Plugins {
    /// Whether a part is there. Its kind is containerd's type, with or without what all begin with.
    #[must_use]
    pub fn presence(&self, kind: &str, id: &str) -> Presence {
        self.of(&format!("{}.{id}", kind.strip_prefix(PREFIX).unwrap_or(kind)))
    }

    /// Whether it is there, in one word.
    #[must_use]
    pub fn has(&self, kind: &str, id: &str) -> bool {
        self.presence(kind, id) == Presence::There
    }

    /// The names of those of a kind that are left out.
    #[must_use]
    pub fn disabled(&self, kind: &str) -> Vec<String> {
        let kind = kind.strip_prefix(PREFIX).unwrap_or(kind);
        let of_it = |name: &String| name.strip_prefix(kind)?.strip_prefix('.').map(str::to_owned);
        self.disabled.iter().filter_map(of_it).collect()
    }

    fn is_disabled(&self, kind: &str, id: &str) -> bool {
        self.presence(kind, id) == Presence::Disabled
    }

    fn of(&self, name: &str) -> Presence {
        if self.disabled.contains(name) {
            return Presence::Disabled;
        }
        // What needs what goes in no circles.
        for set in self.needs.get(name).into_iter().flatten() {
            let mut found = set.iter().map(|needed| (needed, self.of(needed)));
            let Some((first, presence)) = found.next() else { continue };
            if presence == Presence::There || found.any(|(_, more)| more == Presence::There) {
                continue;
            }
            return Presence::Failed(match presence {
                Presence::Failed(why) => why,
                // In containerd's words.
                _ => format!("no plugins registered for {PREFIX}{first}: plugin: not found"),
            });
        }
        Presence::There
    }
}

/// A name as it is looked for here. Those of nothing that there is are none.
fn short(name: &str) -> Option<String> {
    let short = name.strip_prefix(PREFIX)?;
    let renamed = RENAMED.iter().find(|(old, _)| *old == short);
    Some(renamed.map_or(short, |(_, new)| new).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(names: &[&str]) -> Config {
        let disabled_plugins = names.iter().map(|name| format!("{PREFIX}{name}")).collect();
        Config { disabled_plugins, ..Config::default() }
    }

    #[test]
    fn what_needs_what_is_left_out_fails() {
        let plugins = without(&["gc.v1.scheduler"]).plugins();
        assert_eq!(plugins.presence("io.containerd.gc.v1", "scheduler"), Presence::Disabled);
        let why = "no plugins registered for io.containerd.gc.v1.scheduler: plugin: not found";
        for (kind, id) in [
            ("lease.v1", "manager"),
            ("grpc.v1", "images"),
            ("grpc.v1", "transfer"),
            ("cri.v1", "images"),
            ("grpc.v1", "cri"),
        ] {
            assert_eq!(plugins.presence(kind, id), Presence::Failed(why.into()), "{kind}.{id}");
        }
        for (kind, id) in
            [("grpc.v1", "content"), ("grpc.v1", "tasks"), ("cri.v1", "runtime"), ("x.v1", "none")]
        {
            assert!(plugins.has(kind, id), "{kind}.{id}");
        }
        let plugins = without(&["metadata.v1.bolt"]).plugins();
        let left = ["events", "healthcheck", "introspection", "version"];
        for (part, _) in NEEDS {
            let Some(id) = part.strip_prefix("grpc.v1.") else { continue };
            let there = plugins.has("grpc.v1", id);
            assert_eq!(there, left.contains(&id), "{part}");
        }
    }

    #[test]
    fn of_some_parts_one_is_enough() {
        let one = without(&["snapshotter.v1.overlayfs", "internal.v1.restart"]);
        assert!(one.plugins().has("grpc.v1", "snapshots"));
        assert_eq!(one.plugins().disabled("io.containerd.snapshotter.v1"), ["overlayfs"]);
        assert!(!one.plugins().has("monitor.container.v1", "restart"));
        let all = SNAPSHOTTERS.iter().map(|name| format!("{SNAPSHOTTER}.{name}"));
        let all: Vec<_> = all.collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        assert!(!without(&all).plugins().has("grpc.v1", "snapshots"));
        let mut pods = without(&["sandbox.controller.v1.shim"]);
        for needs in ["sandbox-controllers", "cri"] {
            assert!(!pods.plugins().has("grpc.v1", needs), "{needs}");
        }
        let theirs = toml::from_str("type = 'sandbox'\naddress = '/s.sock'").unwrap();
        pods.proxy_plugins.insert("theirs".into(), theirs);
        assert!(pods.plugins().has("grpc.v1", "sandbox-controllers"));
        assert!(pods.plugins().has("grpc.v1", "cri"));
        let mut walking = without(&["differ.v1.walking"]);
        assert!(!walking.plugins().has("grpc.v1", "diff"));
        walking.bundle.differs = vec!["theirs".into()];
        assert!(walking.plugins().has("grpc.v1", "diff"));
        let mut bytes = without(&["content.v1.content"]);
        assert!(!bytes.plugins().has("grpc.v1", "content"));
        bytes.distribution.content_store = Some("theirs".into());
        assert!(bytes.plugins().has("grpc.v1", "content"));
    }

    #[test]
    fn other_keys_do_without() {
        let names =
            ["server.v1.metrics", "internal.v1.opt", "tracing.processor.v1.otlp", "grpc.v1.cri"];
        let mut config = without(&names);
        config.metrics.address = "[::1]:1".into();
        config.cri.enabled = true;
        config.leave_out().unwrap();
        assert!(!config.cri.enabled);
        assert_eq!((&*config.metrics.address, config.opt.as_os_str().len()), ("", 0));
        assert!(config.telemetry.left_out && !config.distribution.image_verifiers.left_out);
        for kept in KEPT {
            let error = without(&[kept]).leave_out().unwrap_err().to_string();
            assert!(error.contains("nobody can call the node"), "{error}");
        }
        let mut chosen = without(&["snapshotter.v1.native"]);
        chosen.bundle.snapshotter = Some("native".into());
        assert!(chosen.leave_out().unwrap_err().to_string().starts_with("bundle.snapshotter is"));
    }
}
