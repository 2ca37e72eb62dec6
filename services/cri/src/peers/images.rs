//! Records of images.

use std::collections::HashMap;

use berth_errors::Code;
use berth_grpc::code_of;
use berth_proto::containerd::services::images::v1 as wire;
use berth_proto::containerd::types;
use prost_types::FieldMask;

use super::{Node, QUICK, WORK, call, refused};
use crate::Result;

/// What containerd's CRI labels records with that it made.
const MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");
/// The same, of images that the kubelet is to leave where they are.
const PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

/// What a record points at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub media_type: String,
    /// Its name.
    pub digest: String,
    /// Its bytes.
    pub size: i64,
    /// What was said of it where it was found.
    pub annotations: HashMap<String, String>,
}

/// A name of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub target: Target,
    /// The kubelet is to leave the image where it is.
    pub pinned: bool,
}

impl Record {
    /// `None` of one that points at nothing.
    fn new(of: wire::Image) -> Option<Self> {
        let types::Descriptor { media_type, digest, size, annotations } = of.target?;
        let pinned = of.labels.get(PINNED.0).is_some_and(|value| value == PINNED.1);
        let target = Target { media_type, digest, size, annotations };
        Some(Self { name: of.name, target, pinned })
    }
}

/// The labels of what is pulled for kubelets.
#[must_use]
pub fn labels(pinned: bool) -> HashMap<String, String> {
    let all = [Some(MANAGED), pinned.then_some(PINNED)];
    all.into_iter().flatten().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// All of them.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn list(node: &Node) -> Result<Vec<Record>> {
    let request = call(wire::ListImagesRequest::default(), QUICK);
    let answer = node.images().list(request).await.map_err(refused("list images"))?;
    Ok(answer.into_inner().images.into_iter().filter_map(Record::new).collect())
}

/// Those that point at this digest.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn pointing_at(node: &Node, digest: &str) -> Result<Vec<Record>> {
    let filters = vec![format!("target.digest=={digest:?}")];
    let request = call(wire::ListImagesRequest { filters }, QUICK);
    let answer = node.images().list(request).await.map_err(refused("list images"))?;
    Ok(answer.into_inner().images.into_iter().filter_map(Record::new).collect())
}

/// One, by its name.
///
/// # Errors
/// [`crate::Error::Peer`]; no such record is none.
pub async fn get(node: &Node, name: &str) -> Result<Option<Record>> {
    let request = call(wire::GetImageRequest { name: name.to_owned() }, QUICK);
    match node.images().get(request).await {
        Ok(answer) => Ok(answer.into_inner().image.and_then(Record::new)),
        Err(status) if code_of(&status) == Code::NotFound => Ok(None),
        Err(status) => Err(refused("look for an image")(status)),
    }
}

/// Has a name stand for this from now on. Labels that are not ours stay.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn put(node: &Node, name: &str, target: &Target, pinned: bool) -> Result<()> {
    let Target { media_type, digest, size, annotations } = target.clone();
    let image = wire::Image {
        name: name.to_owned(),
        labels: labels(pinned),
        target: Some(types::Descriptor { media_type, digest, size, annotations }),
        ..Default::default()
    };
    let paths = image.labels.keys().map(|key| format!("labels.{key}"));
    let paths = paths.chain(["target".to_owned()]).collect();
    let create = wire::CreateImageRequest { image: Some(image.clone()), source_date_epoch: None };
    match node.images().create(call(create, QUICK)).await {
        Err(status) if code_of(&status) == Code::AlreadyExists => {}
        other => return other.map(drop).map_err(refused("name an image")),
    }
    let update_mask = Some(FieldMask { paths });
    let update = wire::UpdateImageRequest { image: Some(image), update_mask, ..Default::default() };
    let updated = node.images().update(call(update, QUICK)).await;
    updated.map(drop).map_err(refused("name an image anew"))
}

/// Takes a name away; with `sync` what only it held is gone afterwards.
///
/// # Errors
/// [`crate::Error::Peer`]; no such record is no error.
pub async fn delete(node: &Node, name: &str, sync: bool) -> Result<()> {
    let request = wire::DeleteImageRequest { name: name.to_owned(), sync, target: None };
    match node.images().delete(call(request, WORK)).await {
        Err(status) if code_of(&status) != Code::NotFound => {
            Err(refused("delete a name of an image")(status))
        }
        _ => Ok(()),
    }
}
