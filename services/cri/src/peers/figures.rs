//! What tasks use, as their shims measure it, and which processes they have.

use berth_proto::containerd::services::tasks::v1::{ListPidsRequest, MetricsRequest};
use berth_proto::containerd::types::Metric;

use super::{Node, QUICK, WORK, call, refused};
use crate::Result;

/// The most tasks that are asked about by name; of more all are measured.
const BY_NAME: usize = 20;

/// What shims tell of these, and maybe of others. Those that cannot be measured are left out.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn of(node: &Node, ids: &[String]) -> Result<Vec<Metric>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let named = if ids.len() <= BY_NAME { ids } else { &[] };
    let filters = named.iter().map(|id| format!("id=={id}")).collect();
    let asked = node.tasks().metrics(call(MetricsRequest { filters }, WORK)).await;
    Ok(asked.map_err(refused("read metrics"))?.into_inner().metrics)
}

/// The numbers of a task's processes.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn processes(node: &Node, id: &str) -> Result<Vec<u32>> {
    let request = ListPidsRequest { container_id: id.to_owned() };
    let listed = node.tasks().list_pids(call(request, QUICK)).await;
    let listed = listed.map_err(refused("list processes"))?.into_inner().processes;
    Ok(listed.into_iter().map(|process| process.pid).collect())
}
