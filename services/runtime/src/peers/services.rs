//! The other services of the node.

use std::path::Path;

use berth_errors::Code;
use berth_grpc::code_of;
use berth_ids::Namespace;
use berth_proto::berth::node::v1 as wire;
use futures::future::BoxFuture;
use tonic::transport::Channel;
use wire::collector_client::CollectorClient;
use wire::namespaces_client::NamespacesClient;

use crate::error::{Error, Result};
use crate::gate::Neighbours;
use crate::refs::Ref;

/// Connections to distribution and bundle, made when they are needed.
#[derive(Clone)]
pub struct Services {
    distribution: Channel,
    bundle: Channel,
}

impl Services {
    /// Will connect to these sockets.
    #[must_use]
    pub fn new(distribution: &Path, bundle: &Path) -> Self {
        Self {
            distribution: berth_grpc::channel(distribution),
            bundle: berth_grpc::channel(bundle),
        }
    }
}

impl Neighbours for Services {
    fn register<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut client = NamespacesClient::new(self.distribution.clone());
            let request = wire::RegisterNamespaceRequest { namespace: namespace.to_string() };
            client.register(request).await.map_err(refused("register namespace"))?;
            Ok(())
        })
    }

    fn pin<'a>(&'a self, namespace: &'a Namespace, to: &'a Ref) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let owner = match to.kind.starts_with("snapshots/") {
                true => &self.bundle,
                false => &self.distribution,
            };
            let (kind, key) = (to.kind.clone(), to.key.clone());
            let request = wire::PinRequest { namespace: namespace.to_string(), kind, key };
            match CollectorClient::new(owner.clone()).pin(request).await {
                Ok(_) => Ok(()),
                // What is not there cannot be collected; containerd takes such references too.
                Err(status) if code_of(&status) == Code::NotFound => Ok(()),
                Err(status) => Err(refused("announce reference")(status)),
            }
        })
    }
}

fn refused(step: &'static str) -> impl Fn(tonic::Status) -> Error {
    move |status| Error::Peer { step, message: status.message().to_owned(), code: code_of(&status) }
}
