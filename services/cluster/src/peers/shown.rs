//! Objects with their names, as they are answered to clients and to other nodes.
//!
//! What another node answers is taken like what comes from etcd: as something that anybody may have written.

use berth_proto::berth::cluster::v1 as wire;

use crate::keys::{Held, Kind};
use crate::names::NodeName;
use crate::objects::Object;
use crate::peers::stored;
use crate::{Error, Result};

/// An object with its name. `held` is [`None`] for the node itself; `revision` is that of its last change
/// in etcd, 0 if it does not come from there.
#[must_use]
pub fn to_wire(
    node: &NodeName,
    held: Option<&Held>,
    object: &Object,
    revision: i64,
) -> wire::Object {
    wire::Object {
        node: node.to_string(),
        namespace: held.map(|held| held.namespace.to_string()).unwrap_or_default(),
        name: held.map(|held| held.name.to_string()).unwrap_or_default(),
        revision,
        is: Some(stored::to_wire(object)),
    }
}

/// The object of an answer with its name and revision; the name is there for all but nodes.
///
/// # Errors
/// [`Error::Malformed`] for what berth does not send: without a name, of no kind, out of bounds.
pub fn from_wire(object: wire::Object) -> Result<(NodeName, Option<Held>, Object, i64)> {
    let wire::Object { node, namespace, name, revision, is } = object;
    let wrong = |why| Error::Malformed { node: start(&node), name: start(&name), why };
    let of: NodeName = node.parse().map_err(|_| wrong("its node has no name"))?;
    let object = stored::from_wire(is.ok_or_else(|| wrong("it is of no kind"))?).map_err(wrong)?;
    let held = match object.kind() {
        Kind::Nodes if namespace.is_empty() && name.is_empty() => None,
        Kind::Nodes => return Err(wrong("a node has a name within a namespace")),
        kind => {
            let held = Held::new(kind, &namespace, &name);
            Some(held.map_err(|_| wrong("its name or namespace is none"))?)
        }
    };
    if revision < 0 {
        return Err(wrong("its revision is none"));
    }
    Ok((of, held, object, revision))
}

fn start(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Container, Image, Node, TaskState};

    fn image() -> Object {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let (media_type, layers, missing) = ("application/x".into(), Vec::new(), Vec::new());
        Object::Image(Image { digest, media_type, size: 1, complete: true, layers, missing })
    }

    fn container() -> Object {
        Object::Container(Container {
            image: "i".into(),
            runtime: "r".into(),
            labels: [("a".into(), "b".into())].into(),
            labels_left_out: true,
            created: Some(time::OffsetDateTime::UNIX_EPOCH),
            state: TaskState::Running,
            pid: 7,
            exit_status: 0,
            exited: None,
        })
    }

    #[test]
    fn what_is_sent_is_what_is_received() {
        let node: NodeName = "n-1".parse().unwrap();
        let held = |kind| Held::new(kind, "k8s.io", "a/b:1").unwrap();
        for (held, object) in [
            (None, Object::Node(Box::new(Node { uuid: "u".into(), ..Node::default() }))),
            (Some(held(Kind::Images)), image()),
            (Some(held(Kind::Containers)), container()),
        ] {
            let sent = to_wire(&node, held.as_ref(), &object, 42);
            assert_eq!(from_wire(sent).unwrap(), (node.clone(), held, object, 42));
        }
    }

    #[test]
    fn what_berth_does_not_send_is_not_taken() {
        let node: NodeName = "n-1".parse().unwrap();
        let held = Held::new(Kind::Images, "default", "a").unwrap();
        let good = to_wire(&node, Some(&held), &image(), 0);
        let of_node = to_wire(&node, None, &Object::Node(Box::default()), 0);
        let large = Node { labels: [("a".into(), "b".repeat(3 << 10))].into(), ..Node::default() };
        let long = wire::Object { name: "x".repeat(9000), ..good.clone() };
        for (object, why) in [
            (wire::Object { node: String::new(), ..good.clone() }, "its node has no name"),
            (wire::Object { node: "a/b".into(), ..good.clone() }, "its node has no name"),
            (wire::Object { is: None, ..good.clone() }, "it is of no kind"),
            (wire::Object { namespace: "a b".into(), ..good.clone() }, "namespace is none"),
            (wire::Object { name: String::new(), ..good.clone() }, "its name or namespace"),
            (wire::Object { revision: -1, ..good }, "its revision is none"),
            (wire::Object { name: "a".into(), ..of_node }, "a node has a name"),
            (to_wire(&node, None, &Object::Node(Box::new(large)), 0), "too many labels"),
            (long, "its name or namespace"),
        ] {
            let error = from_wire(object).unwrap_err().to_string();
            assert!(error.contains(why) && error.len() < 300, "{error}");
        }
    }
}
