//! Leases, which keep from collection what is made for a pod.

use std::collections::HashMap;

use berth_proto::containerd::services::leases::v1 as wire;

use super::{Node, QUICK, call, gone_is_fine, refused};
use crate::Result;

/// Makes one of this number.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn create(node: &Node, id: &str) -> Result<()> {
    let request = wire::CreateRequest { id: id.to_owned(), labels: HashMap::new() };
    let made = node.leases().create(call(request, QUICK)).await;
    made.map(drop).map_err(refused("create lease of pod"))
}

/// Takes one away. It is no error if there is none.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn delete(node: &Node, id: &str) -> Result<()> {
    let request = wire::DeleteRequest { id: id.to_owned(), sync: false };
    gone_is_fine(node.leases().delete(call(request, QUICK)).await)
        .map_err(refused("delete lease of pod"))
}
