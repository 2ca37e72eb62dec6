//! What this service answers over gRPC: containerd's services and the node's own.
//!
//! One file per service: namespace, from wire, one domain call, to wire.

mod auth_stream;
mod blobs;
mod bytes;
mod check;
mod collection;
mod collector;
mod content;
mod content_read;
mod content_write;
mod debug_stream;
pub mod events;
mod holdings;
mod images;
mod introspection;
mod lease_directory;
mod leases;
mod namespaces;
mod node_namespaces;
mod recent;
mod streaming;
mod transfer;
mod transfer_wire;
mod wire;

use std::sync::Arc;

use berth_fdpass::FdServer;
use berth_grpc::NODE_MESSAGE;
use berth_lifecycle::Tasks;
use berth_proto::berth::node::v1::blobs_server::BlobsServer;
use berth_proto::berth::node::v1::collection_server::CollectionServer;
use berth_proto::berth::node::v1::collector_server::CollectorServer;
use berth_proto::berth::node::v1::distribution_check_server::DistributionCheckServer;
use berth_proto::berth::node::v1::distribution_recent_server::DistributionRecentServer;
use berth_proto::berth::node::v1::image_holdings_server::ImageHoldingsServer;
use berth_proto::berth::node::v1::lease_directory_server::LeaseDirectoryServer;
use berth_proto::berth::node::v1::namespaces_server::NamespacesServer as NodeNamespacesServer;
use berth_proto::containerd::services::content::v1::content_server::ContentServer;
use berth_proto::containerd::services::images::v1::images_server::ImagesServer;
use berth_proto::containerd::services::introspection::v1::introspection_server::IntrospectionServer;
use berth_proto::containerd::services::leases::v1::leases_server::LeasesServer;
use berth_proto::containerd::services::namespaces::v1::namespaces_server::NamespacesServer;
use berth_proto::containerd::services::streaming::v1::streaming_server::StreamingServer;
use berth_proto::containerd::services::transfer::v1::transfer_server::TransferServer;
use tonic::service::Routes;

use crate::Distribution;
use crate::holdings::Holdings;
use crate::live::Live;

/// All services.
#[must_use]
pub fn routes(
    node: &Distribution,
    journal: &Arc<events::Journal>,
    descriptors: &FdServer,
    live: &Live,
    tasks: &Tasks,
) -> Routes {
    let content = content::Service(node.content.clone());
    let blobs = blobs::Service { content: node.content.clone(), descriptors: descriptors.clone() };
    let holdings = holdings::Service(Holdings::new(node.content.clone()));
    let introspection = introspection::Service { uuid: node.uuid.clone(), live: live.clone() };
    let streams = streaming::Streams::default();
    let streaming = streaming::Service {
        streams: streams.clone(),
        leased: node.streams.clone(),
        tasks: tasks.clone(),
    };
    let transfer = transfer::Service { live: live.clone(), streams, tasks: tasks.clone() };
    macro_rules! service {
        ($server:ident, $served:expr) => {
            $server::new($served)
                .max_decoding_message_size(NODE_MESSAGE)
                .max_encoding_message_size(NODE_MESSAGE)
        };
    }
    Routes::new(service!(ContentServer, content))
        .add_service(service!(ImagesServer, images::Service(node.images.clone())))
        .add_service(service!(NamespacesServer, namespaces::Service(node.namespaces.clone())))
        .add_service(service!(LeasesServer, leases::Service(node.leases.clone())))
        .add_service(service!(IntrospectionServer, introspection))
        .add_service(service!(StreamingServer, streaming))
        .add_service(service!(TransferServer, transfer))
        .add_service(NodeNamespacesServer::new(node_namespaces::Service(node.namespaces.clone())))
        .add_service(LeaseDirectoryServer::new(lease_directory::Service(node.leases.clone())))
        .add_service(service!(CollectionServer, collection::Service(node.collector.clone())))
        .add_service(CollectorServer::new(collector::Service(node.clone())))
        .add_service(service!(DistributionCheckServer, check::Service(node.clone())))
        .add_service(service!(ImageHoldingsServer, holdings))
        .add_service(DistributionRecentServer::new(recent::Service))
        .add_service(BlobsServer::new(blobs))
        .add_service(berth_grpc::health(tasks.token()))
        .add_service(berth_node_events::service(journal.ring.clone(), tasks.token()))
}
