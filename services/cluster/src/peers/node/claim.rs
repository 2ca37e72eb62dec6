//! Who says to have a node's key, where what it says of itself cannot be shown.
//!
//! A newer version may say more of a node than this one takes. It is a node all the same, and its key is no
//! rubbish.

use ::time::OffsetDateTime;
use berth_grpc::time;
use berth_proto::berth::cluster::v1 as wire;
use prost::Message;

use super::convert::cut;
use crate::objects::Node;

/// The identity and an address of the node that wrote this value, each text cut; the rest is empty. None for what
/// is no node whatever its bounds.
#[must_use]
pub fn claim(value: &[u8]) -> Option<Node> {
    let node = wire::Node::decode(value).ok()?;
    Some(Node {
        uuid: cut(node.uuid),
        incarnation: cut(node.incarnation),
        boot: cut(node.boot),
        addresses: node.addresses.into_iter().take(1).map(cut).collect(),
        peer_address: cut(node.peer_address),
        registered: time::from_wire(node.registered.as_ref()).map(OffsetDateTime::from),
        ..Node::default()
    })
}
