//! Leases, which keep from collection what is made: for a pod as long as it is there, or until something is whole.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use berth_proto::containerd::services::leases::v1 as wire;
use prost_types::Timestamp;

use super::{Node, QUICK, call, gone_is_fine, refused};
use crate::{Result, ids};

/// When what was made so far is collected should we die in the middle.
const SHORT: Duration = Duration::from_secs(3600);

/// Makes one of this number.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn create(node: &Node, id: &str) -> Result<()> {
    make(node, id, HashMap::new()).await
}

/// Makes one for what is under way, which ends by itself if nobody ends it. Answers its number.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn create_short(node: &Node) -> Result<String> {
    let until = Timestamp::from(SystemTime::now() + SHORT).to_string();
    let id = format!("cri-{}", ids::new()?);
    make(node, &id, [("containerd.io/gc.expire".to_owned(), until)].into()).await?;
    Ok(id)
}

async fn make(node: &Node, id: &str, labels: HashMap<String, String>) -> Result<()> {
    let request = wire::CreateRequest { id: id.to_owned(), labels };
    let made = node.leases().create(call(request, QUICK)).await;
    made.map(drop).map_err(refused("create lease"))
}

/// Takes one away. It is no error if there is none.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn delete(node: &Node, id: &str) -> Result<()> {
    let request = wire::DeleteRequest { id: id.to_owned(), sync: false };
    gone_is_fine(node.leases().delete(call(request, QUICK)).await).map_err(refused("delete lease"))
}
