//! Objects as rows of tables, and as JSON. What others wrote is nothing to trust a terminal with.

use berth_proto::berth::cluster::v1::object::Is;
use berth_proto::berth::cluster::v1::{Container, Image, Node, Object, TaskState, View};
use serde_json::{Value, json};

use super::Kinds;
use crate::{output, reference};

/// The headings of a kind's table.
pub fn headings(kind: Kinds) -> &'static [&'static str] {
    match kind {
        Kinds::Nodes => {
            &["NODE", "ADDRESS", "VERSION", "STATUS", "PRESSURE", "IMAGES", "CONTAINERS", "SINCE"]
        }
        Kinds::Images => &["NODE", "NAMESPACE", "IMAGE", "DIGEST", "SIZE", "STATE"],
        Kinds::Containers => &["NODE", "NAMESPACE", "NAME", "IMAGE", "STATUS", "PID", "CREATED"],
    }
}

/// An object's row below them.
pub fn row(object: &Object) -> Vec<String> {
    let named = |name: &str| vec![object.node.clone(), object.namespace.clone(), name.to_owned()];
    let cells = match &object.is {
        Some(Is::AsNode(node)) => of_node(&object.node, node),
        Some(Is::AsImage(image)) => {
            let more = [output::short(&image.digest), output::size(image.size), state(image)];
            [named(reference::familiar(&object.name)), more.into()].concat()
        }
        Some(Is::AsContainer(container)) => {
            let pid = Some(container.pid).filter(|pid| *pid != 0 && is_alive(container));
            let more = [
                reference::familiar(&container.image).to_owned(),
                status(container),
                pid.map_or("-".to_owned(), |pid| pid.to_string()),
                output::age(container.created.as_ref()),
            ];
            [named(&object.name), more.into()].concat()
        }
        None => named(&object.name),
    };
    cells.iter().map(|cell| plain(cell)).collect()
}

fn of_node(name: &str, node: &Node) -> Vec<String> {
    let published = node.published.unwrap_or_default();
    vec![
        name.to_owned(),
        node.addresses.first().cloned().unwrap_or_else(|| "-".to_owned()),
        node.version.clone(),
        health(node),
        pressure(node),
        published.images.to_string(),
        published.containers.to_string(),
        output::age(node.registered.as_ref()),
    ]
}

/// Whether a node's services can do their work.
fn health(node: &Node) -> String {
    let down = node.services.iter().filter(|service| !service.serves);
    let reasons: Vec<_> = down.map(|of| format!("{}: {}", of.name, of.reason)).collect();
    if reasons.is_empty() { "ok".to_owned() } else { reasons.join("; ") }
}

/// What a node runs out of.
fn pressure(node: &Node) -> String {
    let short = node.pressure.iter().filter(|of| of.under_pressure);
    let short: Vec<_> = short.map(|of| format!("{} {} %", of.resource, of.used_percent)).collect();
    if short.is_empty() { "-".to_owned() } else { short.join(", ") }
}

/// How much of an image is there.
fn state(image: &Image) -> String {
    match (image.complete, image.missing.len()) {
        (true, _) => "complete".to_owned(),
        (false, 0) => "partial".to_owned(),
        (false, missing) => format!("{missing} of {} layers missing", image.layers.len()),
    }
}

fn is_alive(container: &Container) -> bool {
    !matches!(container.state(), TaskState::None | TaskState::Stopped)
}

/// What a container does, in the words of `berth ps`.
fn status(container: &Container) -> String {
    match container.state() {
        TaskState::None => "no task".to_owned(),
        TaskState::Created => "created".to_owned(),
        TaskState::Running => "up".to_owned(),
        TaskState::Paused => "paused".to_owned(),
        TaskState::Stopped => format!("exited ({})", container.exit_status),
        TaskState::Unknown => "unknown".to_owned(),
    }
}

/// A text without what moves a cursor, or turns the direction of what follows.
pub fn plain(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect()
}

/// What the view is worth, for people; none if there is nothing to be said against it but its age.
pub fn worth(view: &View) -> String {
    let age = view.age.as_ref().map_or(0, |age| age.seconds.max(0));
    let mut text = match view.connected {
        true => format!("as of {age}s ago"),
        false => format!("warning: etcd is away, this is as of {age}s ago"),
    };
    if view.unreadable > 0 {
        let unreadable = view.unreadable;
        text.push_str(&format!("; {unreadable} in etcd cannot be read and are not shown"));
    }
    text
}

/// The same for programs.
pub fn worth_as_json(view: &View) -> Value {
    let age = view.age.unwrap_or_default();
    json!({
        "revision": view.revision,
        "age_seconds": age.seconds as f64 + f64::from(age.nanos) / 1e9,
        "connected": view.connected,
        "unreadable": view.unreadable,
    })
}

/// An object of a view as JSON, with what that is worth: whoever reads one line of many has it there.
pub fn in_view_as_json(object: &Object, view: &View) -> Value {
    let mut whole = as_json(object);
    whole["view"] = worth_as_json(view);
    whole
}

/// An object as JSON.
pub fn as_json(object: &Object) -> Value {
    let (kind, is) = match &object.is {
        Some(Is::AsNode(node)) => ("node", node_as_json(node)),
        Some(Is::AsImage(image)) => ("image", image_as_json(image)),
        Some(Is::AsContainer(container)) => ("container", container_as_json(container)),
        None => ("unknown", Value::Null),
    };
    let mut whole = json!({ "kind": kind, "node": object.node, "revision": object.revision });
    if let Value::Object(fields) = &mut whole {
        if kind != "node" {
            fields.insert("namespace".into(), object.namespace.clone().into());
            fields.insert("name".into(), object.name.clone().into());
        }
        if let Value::Object(more) = is {
            fields.extend(more);
        }
    }
    whole
}

fn node_as_json(node: &Node) -> Value {
    let capacity = node.capacity.clone().unwrap_or_default();
    let published = node.published.unwrap_or_default();
    let services = node.services.iter();
    let services = services
        .map(|of| json!({ "name": of.name, "serves": of.serves, "reason": of.reason }))
        .collect::<Vec<_>>();
    let pressure = node.pressure.iter().map(|of| {
        json!({ "resource": of.resource, "under_pressure": of.under_pressure,
            "used_percent": of.used_percent })
    });
    json!({
        "uuid": node.uuid,
        "incarnation": node.incarnation,
        "boot": node.boot,
        "addresses": node.addresses,
        "peer_address": node.peer_address,
        "version": node.version,
        "labels": node.labels,
        "capacity": {
            "processors": capacity.processors,
            "memory_bytes": capacity.memory_bytes,
            "disk_bytes": capacity.disk_bytes,
            "architecture": capacity.architecture,
            "kernel": capacity.kernel,
        },
        "services": services,
        "pressure": pressure.collect::<Vec<_>>(),
        "registered_at": output::moment(node.registered.as_ref()),
        "published": {
            "images": published.images,
            "containers": published.containers,
            "left_out": published.left_out,
        },
    })
}

fn image_as_json(image: &Image) -> Value {
    json!({
        "digest": image.digest,
        "media_type": image.media_type,
        "size": image.size,
        "complete": image.complete,
        "layers": image.layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>(),
        "missing": image.missing,
    })
}

/// A layer's digest, as it is written.
fn digest(layer: &[u8]) -> String {
    match layer.len() {
        32 => format!("sha256:{}", layer.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        _ => String::from_utf8_lossy(layer).into_owned(),
    }
}

fn container_as_json(container: &Container) -> Value {
    let stopped = container.state() == TaskState::Stopped;
    json!({
        "image": container.image,
        "runtime": container.runtime,
        "labels": container.labels,
        "labels_left_out": container.labels_left_out,
        "created_at": output::moment(container.created.as_ref()),
        "state": container.state().as_str_name().to_ascii_lowercase(),
        "pid": is_alive(container).then_some(container.pid),
        "exit_code": stopped.then_some(container.exit_status),
        "exited_at": output::moment(container.exited.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_a_view_says_how_old_that_is() {
        let object = Object { node: "n".into(), name: "i".into(), ..Object::default() };
        let age = Some(prost_types::Duration { seconds: 7, nanos: 500_000_000 });
        let view = View { revision: 3, age, connected: false, unreadable: 2 };
        let told = in_view_as_json(&object, &view);
        let worth = json!({
            "revision": 3, "age_seconds": 7.5, "connected": false, "unreadable": 2,
        });
        assert_eq!((&told["node"], &told["view"]), (&json!("n"), &worth));
        assert_eq!(as_json(&object).get("view"), None, "of a node that is asked itself");
    }
}
