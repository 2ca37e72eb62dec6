//! Records of containers, of which each pod has one for its own process.

use std::collections::HashMap;

use berth_proto::containerd::services::containers::v1 as wire;
use berth_runtime_spec::Spec;
use prost_types::FieldMask;

use super::{Node, Packed, QUICK, WORK, call, gone_is_fine, refused};
use crate::{Error, Result, time};

/// A record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: String,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// The name of its image; empty: none.
    pub image: String,
    /// The runtime's name, and what its shim is told.
    pub runtime: (String, Option<Packed>),
    /// Its specification, as it is kept.
    pub spec: Packed,
    /// Where its root file system is; empty: nowhere.
    pub snapshotter: String,
    /// The key that it has there.
    pub snapshot_key: String,
    /// What is said of it for those who made it.
    pub extensions: HashMap<String, Packed>,
    /// Its pod; empty for a pod's own.
    pub sandbox: String,
    /// When it was made, in nanoseconds since 1970; 1 if nobody knows.
    pub created_at: i64,
}

impl Record {
    fn new(of: wire::Container) -> Self {
        let runtime = of.runtime.unwrap_or_default();
        Self {
            id: of.id,
            labels: of.labels,
            image: of.image,
            runtime: (runtime.name, runtime.options.map(Into::into)),
            spec: of.spec.unwrap_or_default().into(),
            snapshotter: of.snapshotter,
            snapshot_key: of.snapshot_key,
            extensions: of.extensions.into_iter().map(|(key, any)| (key, any.into())).collect(),
            sandbox: of.sandbox,
            created_at: time::of_record(of.created_at.as_ref()),
        }
    }

    /// The specification.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn spec(&self) -> Result<Spec> {
        let unreadable = |error: serde_json::Error| Error::Unreadable {
            what: "specification of container",
            id: self.id.clone(),
            why: error.to_string(),
        };
        serde_json::from_slice(&self.spec.value).map_err(unreadable)
    }
}

impl From<Record> for wire::Container {
    fn from(of: Record) -> Self {
        let (name, options) = of.runtime;
        let options = options.map(Into::into);
        Self {
            id: of.id,
            labels: of.labels,
            image: of.image,
            runtime: Some(wire::container::Runtime { name, options }),
            spec: Some(of.spec.into()),
            snapshotter: of.snapshotter,
            snapshot_key: of.snapshot_key,
            extensions: of.extensions.into_iter().map(|(key, held)| (key, held.into())).collect(),
            sandbox: of.sandbox,
            ..Default::default()
        }
    }
}

/// Gives each record of a kind to `take`. They come one by one: all of a node are more than one message may have.
///
/// # Errors
/// [`Error::Peer`].
pub async fn each(
    node: &Node,
    kind: berth_cri_spec::Kind,
    mut take: impl FnMut(Record),
) -> Result<()> {
    let filters = vec![format!("labels.{:?}=={}", berth_cri_spec::KIND_LABEL, kind.as_str())];
    let request = call(wire::ListContainersRequest { filters }, WORK);
    let listed = node.containers().list_stream(request).await;
    let mut listed = listed.map_err(refused("list records of containers"))?.into_inner();
    while let Some(message) =
        listed.message().await.map_err(refused("list records of containers"))?
    {
        message.container.into_iter().map(Record::new).for_each(&mut take);
    }
    Ok(())
}

/// Makes one. Answers when it was made, in nanoseconds since 1970.
///
/// # Errors
/// [`Error::Peer`].
pub async fn create(node: &Node, record: Record) -> Result<i64> {
    let request = wire::CreateContainerRequest { container: Some(record.into()) };
    let made = node.containers().create(call(request, QUICK)).await;
    let made = made.map_err(refused("create record of container"))?.into_inner().container;
    Ok(time::of_record(made.unwrap_or_default().created_at.as_ref()))
}

/// One, by its number.
///
/// # Errors
/// [`Error::Peer`].
pub async fn get(node: &Node, id: &str) -> Result<Record> {
    let request = call(wire::GetContainerRequest { id: id.to_owned() }, QUICK);
    let found = node.containers().get(request).await;
    let found = found.map_err(refused("look for record of container"))?.into_inner().container;
    Ok(Record::new(found.unwrap_or_default()))
}

/// Gives one another specification.
///
/// # Errors
/// [`Error::Peer`].
pub async fn put_spec(node: &Node, id: &str, spec: &Spec) -> Result<()> {
    let spec = Some(Packed::spec(spec).into());
    let container = wire::Container { id: id.to_owned(), spec, ..Default::default() };
    let request = wire::UpdateContainerRequest {
        container: Some(container),
        update_mask: Some(FieldMask { paths: vec!["spec".to_owned()] }),
    };
    let kept = node.containers().update(call(request, QUICK)).await;
    kept.map(drop).map_err(refused("update record of container"))
}

/// Takes one away. It is no error if there is none.
///
/// # Errors
/// [`Error::Peer`].
pub async fn delete(node: &Node, id: &str) -> Result<()> {
    let request = call(wire::DeleteContainerRequest { id: id.to_owned() }, QUICK);
    let deleted = node.containers().delete(request).await;
    gone_is_fine(deleted).map_err(refused("delete record of container"))
}
