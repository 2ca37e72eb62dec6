//! Objects as values of keys: what is written to etcd, and what is taken from there after it was checked.
//!
//! Also the form that objects have in answers to clients, which is the same.

use std::collections::BTreeMap;

use ::time::OffsetDateTime;
use berth_grpc::time;
use berth_ids::{Algorithm, Digest};
use berth_proto::berth::cluster::v1 as wire;
use prost::Message;
use prost_types::Timestamp;

use crate::keys::Kind;
use crate::objects::{
    Capacity, Container, Image, MAX_LABELS, MAX_LABELS_BYTES, MAX_LAYERS, MAX_VALUE, Node, Object,
    Pressure, Published, Resource, ServiceHealth, TaskState,
};
use crate::{Error, Result};

/// The most of each list of a node: services, addresses, resources.
const MAX_LIST: usize = 32;
/// The longest text of a value.
const MAX_TEXT: usize = 1 << 10;

/// The value of an object.
#[must_use]
pub fn encode(object: &Object) -> Vec<u8> {
    match object {
        Object::Node(node) => node_to_wire(node).encode_to_vec(),
        Object::Image(image) => image_to_wire(image).encode_to_vec(),
        Object::Container(container) => container_to_wire(container).encode_to_vec(),
    }
}

/// The object of a value that lies under a key of this kind. `key` is only named in errors.
///
/// # Errors
/// [`Error::Unreadable`] for what berth does not write: too large, not of this kind, out of bounds.
pub fn decode(kind: Kind, key: &[u8], value: &[u8]) -> Result<Object> {
    let wrong = |why: String| Error::Unreadable {
        key: String::from_utf8_lossy(key).chars().take(160).collect(),
        why,
    };
    if value.len() > MAX_VALUE {
        return Err(wrong(format!("its value has {} bytes, more than {MAX_VALUE}", value.len())));
    }
    let broken = |error: prost::DecodeError| wrong(error.to_string());
    let object = match kind {
        Kind::Nodes => wire::Node::decode(value)
            .map_err(broken)
            .map(|node| node_from_wire(node).map(|node| Object::Node(Box::new(node)))),
        Kind::Images => wire::Image::decode(value)
            .map_err(broken)
            .map(|it| image_from_wire(it).map(Object::Image)),
        Kind::Containers => wire::Container::decode(value)
            .map_err(broken)
            .map(|it| container_from_wire(it).map(Object::Container)),
    };
    object?.map_err(|why| wrong(why.to_owned()))
}

/// An object as it is answered: what its value in etcd says.
#[must_use]
pub(super) fn to_wire(object: &Object) -> wire::object::Is {
    use wire::object::Is;
    match object {
        Object::Node(node) => Is::AsNode(node_to_wire(node)),
        Object::Image(image) => Is::AsImage(image_to_wire(image)),
        Object::Container(container) => Is::AsContainer(container_to_wire(container)),
    }
}

/// The object of an answer, checked as a value from etcd is.
pub(super) fn from_wire(is: wire::object::Is) -> Checked<Object> {
    use wire::object::Is;
    let size = match &is {
        Is::AsNode(node) => node.encoded_len(),
        Is::AsImage(image) => image.encoded_len(),
        Is::AsContainer(container) => container.encoded_len(),
    };
    if size > MAX_VALUE {
        return Err("it is too large");
    }
    match is {
        Is::AsNode(node) => node_from_wire(node).map(|node| Object::Node(Box::new(node))),
        Is::AsImage(image) => image_from_wire(image).map(Object::Image),
        Is::AsContainer(container) => container_from_wire(container).map(Object::Container),
    }
}

fn to_timestamp(at: OffsetDateTime) -> Timestamp {
    time::to_wire(at.into())
}

fn from_timestamp(at: Option<&Timestamp>) -> Option<OffsetDateTime> {
    time::from_wire(at).map(OffsetDateTime::from)
}

type Checked<T> = std::result::Result<T, &'static str>;

fn text(text: String) -> Checked<String> {
    if text.len() > MAX_TEXT { Err("a text of it is too long") } else { Ok(text) }
}

fn list<T>(list: Vec<T>) -> Checked<Vec<T>> {
    if list.len() > MAX_LIST { Err("a list of it is too long") } else { Ok(list) }
}

fn labels(labels: BTreeMap<String, String>) -> Checked<BTreeMap<String, String>> {
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if labels.len() > MAX_LABELS || bytes > MAX_LABELS_BYTES {
        return Err("it has too many labels");
    }
    Ok(labels)
}

/// A node as it is stored and answered.
#[must_use]
pub fn node_to_wire(node: &Node) -> wire::Node {
    let node = node.clone();
    wire::Node {
        uuid: node.uuid,
        incarnation: node.incarnation,
        boot: node.boot,
        addresses: node.addresses,
        peer_address: node.peer_address,
        version: node.version,
        labels: node.labels,
        capacity: Some(wire::Capacity {
            processors: node.capacity.processors,
            memory_bytes: node.capacity.memory_bytes,
            disk_bytes: node.capacity.disk_bytes,
            architecture: node.capacity.architecture,
            kernel: node.capacity.kernel,
        }),
        services: node
            .services
            .into_iter()
            .map(|ServiceHealth { name, serves, reason }| wire::ServiceHealth {
                name,
                serves,
                reason,
            })
            .collect(),
        pressure: node
            .pressure
            .into_iter()
            .map(|Pressure { resource, under_pressure, used_percent }| wire::Pressure {
                resource: resource.name().to_owned(),
                under_pressure,
                used_percent,
            })
            .collect(),
        registered: node.registered.map(to_timestamp),
        published: Some(wire::Published {
            images: node.published.images,
            containers: node.published.containers,
            left_out: node.published.left_out,
        }),
    }
}

fn node_from_wire(node: wire::Node) -> Checked<Node> {
    let capacity = node.capacity.unwrap_or_default();
    let published = node.published.unwrap_or_default();
    let services = list(node.services)?.into_iter().map(|service| {
        let (name, reason) = (text(service.name)?, text(service.reason)?);
        Ok(ServiceHealth { name, serves: service.serves, reason })
    });
    let pressure = list(node.pressure)?.into_iter().filter_map(pressure_from_wire);
    Ok(Node {
        uuid: text(node.uuid)?,
        incarnation: text(node.incarnation)?,
        boot: text(node.boot)?,
        addresses: list(node.addresses)?.into_iter().map(text).collect::<Checked<_>>()?,
        peer_address: text(node.peer_address)?,
        version: text(node.version)?,
        labels: labels(node.labels)?,
        capacity: Capacity {
            processors: capacity.processors,
            memory_bytes: capacity.memory_bytes,
            disk_bytes: capacity.disk_bytes,
            architecture: text(capacity.architecture)?,
            kernel: text(capacity.kernel)?,
        },
        services: services.collect::<Checked<_>>()?,
        pressure: pressure.collect(),
        registered: from_timestamp(node.registered.as_ref()),
        published: Published {
            images: published.images,
            containers: published.containers,
            left_out: published.left_out,
        },
    })
}

/// Of a resource that this version knows.
fn pressure_from_wire(wire: wire::Pressure) -> Option<Pressure> {
    let known = [Resource::Disk, Resource::Memory];
    let resource = known.into_iter().find(|known| known.name() == wire.resource)?;
    let wire::Pressure { under_pressure, used_percent, .. } = wire;
    Some(Pressure { resource, under_pressure, used_percent: used_percent.min(100) })
}

/// An image as it is stored and answered.
#[must_use]
pub fn image_to_wire(image: &Image) -> wire::Image {
    wire::Image {
        digest: image.digest.to_string(),
        media_type: image.media_type.clone(),
        size: image.size,
        complete: image.complete,
        layers: image.layers.iter().map(digest_to_wire).collect(),
        missing: image.missing.clone(),
    }
}

fn image_from_wire(image: wire::Image) -> Checked<Image> {
    if image.layers.len() > MAX_LAYERS || image.missing.len() > image.layers.len() {
        return Err("it has too many layers");
    }
    let layers = image.layers.iter().map(|layer| digest_from_wire(layer));
    let layers: Vec<_> = layers.collect::<Checked<_>>()?;
    let outside = |place: &u32| usize::try_from(*place).map_or(true, |place| place >= layers.len());
    if image.missing.iter().any(outside) {
        return Err("it misses a layer that it has not");
    }
    Ok(Image {
        digest: image.digest.parse().map_err(|_| "its digest is none")?,
        media_type: text(image.media_type)?,
        size: image.size,
        complete: image.complete,
        layers,
        missing: image.missing,
    })
}

fn digest_to_wire(digest: &Digest) -> Vec<u8> {
    let hex = digest.hex().as_bytes();
    let value = |at: usize| (hex[at] as char).to_digit(16).unwrap_or(0) as u8;
    match digest.algorithm() {
        Algorithm::Sha256 => (0..32).map(|at| value(2 * at) << 4 | value(2 * at + 1)).collect(),
        Algorithm::Sha512 => digest.as_str().as_bytes().to_vec(),
    }
}

fn digest_from_wire(bytes: &[u8]) -> Checked<Digest> {
    if bytes.len() == 32 {
        return Digest::of_hash(Algorithm::Sha256, bytes).map_err(|_| "a layer has no digest");
    }
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.parse().ok()).ok_or("a layer has no digest")
}

/// A container as it is stored and answered.
#[must_use]
pub fn container_to_wire(container: &Container) -> wire::Container {
    wire::Container {
        image: container.image.clone(),
        runtime: container.runtime.clone(),
        labels: container.labels.clone(),
        labels_left_out: container.labels_left_out,
        created: container.created.map(to_timestamp),
        state: state_to_wire(container.state).into(),
        pid: container.pid,
        exit_status: container.exit_status,
        exited: container.exited.map(to_timestamp),
    }
}

fn container_from_wire(container: wire::Container) -> Checked<Container> {
    // One that a newer version has is none of those known here.
    let state = wire::TaskState::try_from(container.state).unwrap_or(wire::TaskState::Unknown);
    let state = state_from_wire(state);
    Ok(Container {
        image: text(container.image)?,
        runtime: text(container.runtime)?,
        labels: labels(container.labels)?,
        labels_left_out: container.labels_left_out,
        created: from_timestamp(container.created.as_ref()),
        state,
        pid: container.pid,
        exit_status: container.exit_status,
        exited: from_timestamp(container.exited.as_ref()),
    })
}

fn state_to_wire(state: TaskState) -> wire::TaskState {
    match state {
        TaskState::None => wire::TaskState::None,
        TaskState::Created => wire::TaskState::Created,
        TaskState::Running => wire::TaskState::Running,
        TaskState::Paused => wire::TaskState::Paused,
        TaskState::Stopped => wire::TaskState::Stopped,
        TaskState::Unknown => wire::TaskState::Unknown,
    }
}

fn state_from_wire(state: wire::TaskState) -> TaskState {
    match state {
        wire::TaskState::None => TaskState::None,
        wire::TaskState::Created => TaskState::Created,
        wire::TaskState::Running => TaskState::Running,
        wire::TaskState::Paused => TaskState::Paused,
        wire::TaskState::Stopped => TaskState::Stopped,
        wire::TaskState::Unknown => TaskState::Unknown,
    }
}
