//! Records of pods, by which one is found that is not whole.

use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types;

use super::{Node, Packed, QUICK, WORK, call, gone_is_fine, refused};
use crate::{Result, time};

/// Who makes them, as they say it.
const SANDBOXER: &str = "podsandbox";
/// The extension with what is said of the pod.
const METADATA: &str = "metadata";

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The pod's number.
    pub id: String,
    /// What is said of it.
    pub metadata: Packed,
    /// When it was made, in nanoseconds since 1970; 1 if nobody knows.
    pub created_at: i64,
}

/// Makes one for a pod of this number and name, which is run by this runtime.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn create(
    node: &Node,
    (id, name): (&str, &str),
    (runtime, options): (String, Option<Packed>),
    metadata: Packed,
) -> Result<()> {
    let options = options.map(Into::into);
    let sandbox = types::Sandbox {
        sandbox_id: id.to_owned(),
        runtime: Some(types::sandbox::Runtime { name: runtime, options }),
        labels: [("name".to_owned(), name.to_owned())].into(),
        extensions: [(METADATA.to_owned(), metadata.into())].into(),
        sandboxer: SANDBOXER.to_owned(),
        ..Default::default()
    };
    let request = call(wire::StoreCreateRequest { sandbox: Some(sandbox) }, QUICK);
    let made = node.sandboxes().create(request).await;
    made.map(drop).map_err(refused("create record of sandbox"))
}

/// What is said of the pod from now on.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn put_metadata(node: &Node, id: &str, metadata: Packed) -> Result<()> {
    put(node, id, METADATA, metadata).await
}

/// Keeps something else for whoever asks.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn put(node: &Node, id: &str, extension: &str, held: Packed) -> Result<()> {
    let sandbox = types::Sandbox {
        sandbox_id: id.to_owned(),
        extensions: [(extension.to_owned(), held.into())].into(),
        ..Default::default()
    };
    let fields = vec![format!("extensions.{extension}")];
    let request = call(wire::StoreUpdateRequest { sandbox: Some(sandbox), fields }, QUICK);
    let noted = node.sandboxes().update(request).await;
    noted.map(drop).map_err(refused("update record of sandbox"))
}

/// What is kept in an extension; `None` where there is nothing.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn held(node: &Node, id: &str, extension: &str) -> Result<Option<Packed>> {
    let request = wire::StoreGetRequest { sandbox_id: id.to_owned() };
    let found = match node.sandboxes().get(call(request, QUICK)).await {
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        found => found.map_err(refused("look for record of sandbox"))?.into_inner().sandbox,
    };
    Ok(found.unwrap_or_default().extensions.remove(extension).map(Into::into))
}

/// Takes one away. It is no error if there is none.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn delete(node: &Node, id: &str) -> Result<()> {
    let request = wire::StoreDeleteRequest { sandbox_id: id.to_owned() };
    gone_is_fine(node.sandboxes().delete(call(request, QUICK)).await)
        .map_err(refused("delete record of sandbox"))
}

/// All that were made here.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn list(node: &Node) -> Result<Vec<Record>> {
    let request = call(wire::StoreListRequest { filters: Vec::new() }, WORK);
    let listed = node.sandboxes().list(request).await;
    let listed = listed.map_err(refused("list sandboxes"))?.into_inner().list;
    let ours = listed.into_iter().filter(|sandbox| sandbox.sandboxer == SANDBOXER);
    let record = |mut sandbox: types::Sandbox| {
        let metadata = sandbox.extensions.remove(METADATA)?.into();
        let created_at = time::of_record(sandbox.created_at.as_ref());
        Some(Record { id: sandbox.sandbox_id, metadata, created_at })
    };
    Ok(ours.filter_map(record).collect())
}
