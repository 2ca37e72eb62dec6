//! From a configuration to a service that answers: wiring only.

use std::sync::Arc;

use anyhow::Context;
use berth_config::{Config, Service};
use berth_lifecycle::Tasks;
use tokio::sync::watch;

use crate::api;
use crate::api::peer::Door;
use crate::inspect::{Inspector, Itself};
use crate::objects::Node;
use crate::peers::node::{self, NodeTruth};
use crate::peers::nodes::{Deadlines, Nodes};
use crate::publish::{Publisher, Standing, register_metrics};
use crate::settings::Settings;
use crate::truth::Truth;
use crate::view::Views;

/// A service that answers. Other nodes are answered as long as this is there.
pub struct Served {
    _door: Door,
}

/// Serves until the token of `tasks` is cancelled. Returns as soon as the socket answers, whether etcd does
/// or not.
///
/// # Errors
/// A socket cannot be bound, a certificate for other nodes cannot be used, or the configuration names what is
/// not there.
pub fn serve(config: &Config, tasks: &Tasks) -> anyhow::Result<Served> {
    let settings = Settings::of(config)?;
    let (cluster, name) = (&settings.cluster, &settings.name);
    tracing::info!(%cluster, node = %name, etcd = settings.etcd.endpoints.join(", "), "shows this node");
    let truth: Arc<dyn Truth> = Arc::new(NodeTruth::new(node::Settings {
        thresholds: settings.thresholds(),
        ..node::Settings::of(config)
    }));
    let publisher = Publisher::new(settings.publishing(), settings.etcd.clone(), truth.clone());
    let standing = publisher.standing();
    register_metrics(publisher.counts(), standing.clone());
    let views = Views::new(settings.viewing(), tasks.clone());
    views.register();

    let record = record(settings.node(), standing.clone());
    let own = Arc::new(Itself::new(name.clone(), truth, record));
    let others = Nodes::new(Deadlines::default(), tasks.clone());
    let peer = settings.peer();
    others.show(peer.as_ref().map(|peer| peer.files.clone())).context("read [cluster.peer]")?;
    let mut door = Door::new(own.clone(), tasks.clone());
    door.at(peer.as_ref()).context("listen for other nodes")?;
    let service = api::Service {
        cluster: cluster.clone(),
        node: name.clone(),
        views: views.clone(),
        standing,
        inspect: Arc::new(Inspector::new(own, Arc::new(views), Arc::new(others))),
        stop: tasks.token(),
    };
    let routes = api::routes(service);
    berth_grpc::server::serve(&config.socket(Service::Cluster), 0o600, routes, tasks)?;
    tasks.spawn("publish", Box::pin(publisher.run(tasks.token())));
    Ok(Served { _door: door })
}

/// What is known of this node without asking anybody.
fn record(node: Node, standing: watch::Receiver<Standing>) -> impl Fn() -> Node {
    move || Node { published: standing.borrow().published, ..node.clone() }
}
