//! Which service answers which call, by the path alone.

use berth_config::{Plugins, Service};
use berth_introspection::kind::GRPC;

use crate::Error;

/// Who answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Another process; its bytes are passed on as they are.
    Service(Service, Lane),
    /// The gateway itself.
    Own,
}

/// Which of a service's connections a call takes: file contents must not delay small calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Small messages.
    Calls,
    /// File contents, and streams that their readers hold up.
    Bulk,
}

/// Every gRPC service that clients can call, and its owner. `None` is the gateway.
///
/// Services of berth.node.v1 that are missing here are between the processes of the node only.
const OWNERS: [(&str, Option<Service>); 29] = [
    ("berth.cluster.v1.Cluster", Some(Service::Cluster)),
    ("berth.node.v1.BundleCheck", Some(Service::Bundle)),
    ("berth.node.v1.Collection", Some(Service::Distribution)),
    ("berth.node.v1.DistributionCheck", Some(Service::Distribution)),
    ("berth.node.v1.DistributionRecent", Some(Service::Distribution)),
    ("berth.node.v1.Networks", Some(Service::Runtime)),
    ("berth.node.v1.RuntimeCheck", Some(Service::Runtime)),
    ("berth.node.v1.RuntimeRecent", Some(Service::Runtime)),
    ("containerd.services.containers.v1.Containers", Some(Service::Runtime)),
    ("containerd.services.content.v1.Content", Some(Service::Distribution)),
    ("containerd.services.diff.v1.Diff", Some(Service::Bundle)),
    ("containerd.services.events.v1.Events", None),
    ("containerd.services.images.v1.Images", Some(Service::Distribution)),
    ("containerd.services.introspection.v1.Introspection", None),
    ("containerd.services.leases.v1.Leases", Some(Service::Distribution)),
    ("containerd.services.mounts.v1.Mounts", Some(Service::Bundle)),
    ("containerd.services.namespaces.v1.Namespaces", Some(Service::Distribution)),
    ("containerd.services.sandbox.v1.Controller", Some(Service::Runtime)),
    ("containerd.services.sandbox.v1.Store", Some(Service::Runtime)),
    ("containerd.services.snapshots.v1.Snapshots", Some(Service::Bundle)),
    ("containerd.services.streaming.v1.Streaming", Some(Service::Distribution)),
    ("containerd.services.tasks.v1.Tasks", Some(Service::Runtime)),
    ("containerd.services.transfer.v1.Transfer", Some(Service::Distribution)),
    ("containerd.services.version.v1.Version", None),
    ("grpc.health.v1.Health", None),
    ("grpc.reflection.v1.ServerReflection", None),
    ("grpc.reflection.v1alpha.ServerReflection", None),
    ("runtime.v1.ImageService", Some(Service::Cri)),
    ("runtime.v1.RuntimeService", Some(Service::Cri)),
];

/// Methods that another process answers although their service is the gateway's.
const EXCEPTIONS: [(&str, Service); 2] = [
    ("/containerd.services.events.v1.Events/Forward", Service::Runtime),
    ("/containerd.services.events.v1.Events/Publish", Service::Runtime),
];

/// Methods that move file contents or as much as that, at the pace of who reads.
const BULK: [&str; 6] = [
    "/berth.cluster.v1.Cluster/Inspect",
    "/berth.cluster.v1.Cluster/Watch",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Write",
    "/containerd.services.streaming.v1.Streaming/Stream",
    "/runtime.v1.RuntimeService/GetContainerEvents",
];

/// Who answers the call of this path, of those services that are not `left_out`.
pub fn of(path: &str, left_out: &[&str]) -> Result<Route, Error> {
    let (service, method) = path
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'))
        .filter(|(service, method)| !service.is_empty() && !method.is_empty())
        .ok_or_else(|| Error::MalformedPath(path.to_owned()))?;
    debug_assert!(!method.contains('/'));
    let owner = owner(service).filter(|_| !left_out.contains(&service));
    match owner.ok_or_else(|| Error::UnknownService(service.to_owned()))? {
        Some(owner) if BULK.contains(&path) => Ok(Route::Service(owner, Lane::Bulk)),
        Some(owner) => Ok(Route::Service(owner, Lane::Calls)),
        None => Ok(EXCEPTIONS
            .iter()
            .find(|(exception, _)| *exception == path)
            .map_or(Route::Own, |(_, owner)| Route::Service(*owner, Lane::Calls))),
    }
}

/// The owner of a gRPC service: `Some(None)` is the gateway, `None` nobody.
pub fn owner(service: &str) -> Option<Option<Service>> {
    let at = OWNERS.binary_search_by(|(name, _)| (*name).cmp(service)).ok()?;
    Some(OWNERS[at].1)
}

/// The ID of the plugin that serves a gRPC service, for those that are plugins of containerd's.
fn plugin(service: &str) -> Option<&str> {
    match service {
        "containerd.services.sandbox.v1.Controller" => Some("sandbox-controllers"),
        "containerd.services.sandbox.v1.Store" => Some("sandboxes"),
        "grpc.health.v1.Health" => Some("healthcheck"),
        "runtime.v1.ImageService" | "runtime.v1.RuntimeService" => Some("cri"),
        other => other.strip_prefix("containerd.services.")?.split('.').next(),
    }
}

/// The gRPC services that clients cannot call, as they are left out or need what is.
pub fn left_out(plugins: &Plugins) -> Vec<&'static str> {
    let is_there = |service: &&str| plugin(service).is_none_or(|id| plugins.has(GRPC, id));
    services().filter(|service| !is_there(service)).collect()
}

/// Every gRPC service that clients can call.
pub fn services() -> impl Iterator<Item = &'static str> {
    OWNERS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_in_order() {
        assert!(OWNERS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn calls_go_to_their_owners() {
        let calls = |service| Route::Service(service, Lane::Calls);
        for (path, route) in [
            ("/containerd.services.images.v1.Images/List", calls(Service::Distribution)),
            ("/containerd.services.snapshots.v1.Snapshots/Stat", calls(Service::Bundle)),
            ("/containerd.services.tasks.v1.Tasks/Wait", calls(Service::Runtime)),
            ("/containerd.services.events.v1.Events/Publish", calls(Service::Runtime)),
            ("/berth.cluster.v1.Cluster/List", calls(Service::Cluster)),
            ("/runtime.v1.ImageService/ListImages", calls(Service::Cri)),
            ("/containerd.services.events.v1.Events/Subscribe", Route::Own),
            (
                "/containerd.services.content.v1.Content/Read",
                Route::Service(Service::Distribution, Lane::Bulk),
            ),
        ] {
            assert_eq!(of(path, &[]).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn what_is_between_processes_is_not_exposed() {
        for name in
            ["berth.node.v1.Collector", "berth.node.v1.ImageHoldings", "berth.cluster.v1.Peer"]
        {
            let error = of(&format!("/{name}/Call"), &[]).unwrap_err();
            assert_eq!(error.to_string(), format!("unknown service {name}"));
        }
        assert!(matches!(of("/x", &[]), Err(Error::MalformedPath(_))));
        assert!(matches!(of("//x", &[]), Err(Error::MalformedPath(_))));
    }

    #[test]
    fn what_is_left_out_is_as_unknown() {
        let text = "disabled_plugins = ['io.containerd.grpc.v1.images', 'io.containerd.grpc.v1.events', \
                    'io.containerd.sandbox.store.v1.local']\n[cri]\nenabled = true\n";
        let config = berth_config::Config::parse(text, std::path::Path::new("test")).unwrap();
        let left_out = left_out(&config.plugins());
        let expected = [
            "containerd.services.events.v1.Events",
            "containerd.services.images.v1.Images",
            "containerd.services.sandbox.v1.Store",
            // It needs pods' records.
            "runtime.v1.ImageService",
            "runtime.v1.RuntimeService",
        ];
        assert_eq!(left_out, expected);
        for path in ["images.v1.Images/List", "events.v1.Events/Publish", "sandbox.v1.Store/Get"] {
            let error = of(&format!("/containerd.services.{path}"), &left_out).unwrap_err();
            assert!(matches!(error, Error::UnknownService(_)), "{error}");
        }
        of("/containerd.services.sandbox.v1.Controller/Stop", &left_out).unwrap();
    }

    /// Every gRPC service of containerd's interface has an owner, and nothing else but our own.
    #[test]
    fn every_service_of_the_interface_has_an_owner() {
        let facts = include_str!("../../../proto/facts/containerd.tsv");
        let ttrpc =
            ["containerd.runtime.", "containerd.task.", "containerd.services.events.ttrpc."];
        let expected: BTreeSet<_> = facts
            .lines()
            .filter_map(|row| row.strip_prefix("method\t")?.split('\t').next())
            .filter(|name| !ttrpc.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        let owned: BTreeSet<_> =
            services().filter(|name| name.starts_with("containerd.")).collect();
        assert_eq!(owned, expected);
    }
}
