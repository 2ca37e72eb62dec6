//! What a node says of itself against what the view says of it.

use std::collections::BTreeMap;

use berth_proto::berth::cluster::v1::Object;
use serde_json::Value;

use super::shown;

/// What is compared of a node itself: the rest is counted or measured at another moment.
const OF_NODES: [&str; 8] =
    ["uuid", "incarnation", "boot", "addresses", "peer_address", "version", "labels", "capacity"];

/// Kind, namespace and name.
type Name = (String, String, String);

/// Differences by what they are of: `image default/docker.io/library/a:1`.
pub type Differences = BTreeMap<String, String>;

/// Where the two do not say the same.
pub fn differences(truth: &[Object], view: &[Object]) -> Differences {
    let (truth, view) = (by_name(truth), by_name(view));
    let mut found = Differences::new();
    for (name, is) in &truth {
        match view.get(name) {
            None => found.insert(text(name), "is on the node, and not in the view".to_owned()),
            Some(shown) if shown != is => found.insert(text(name), differing(is, shown)),
            Some(_) => None,
        };
    }
    for name in view.keys().filter(|name| !truth.contains_key(*name)) {
        found.insert(text(name), "is in the view, and not on the node".to_owned());
    }
    found
}

/// Those that both have: what was only on its way between two looks is in one of them.
pub fn lasting(earlier: Differences, later: &Differences) -> Differences {
    earlier.into_iter().filter(|(name, what)| later.get(name) == Some(what)).collect()
}

fn by_name(objects: &[Object]) -> BTreeMap<Name, Value> {
    let named = |object: &Object| {
        let mut is = shown::as_json(object);
        let kind = is["kind"].as_str().unwrap_or_default().to_owned();
        if let Some(fields) = is.as_object_mut() {
            // The truth has none.
            fields.remove("revision");
            fields.retain(|field, _| kind != "node" || OF_NODES.contains(&field.as_str()));
        }
        ((kind, object.namespace.clone(), object.name.clone()), is)
    };
    objects.iter().map(named).collect()
}

fn text((kind, namespace, name): &Name) -> String {
    let name = if kind == "node" { "itself".to_owned() } else { format!("{namespace}/{name}") };
    shown::plain(&format!("{kind} {name}"))
}

fn differing(truth: &Value, view: &Value) -> String {
    let fields = truth.as_object().into_iter().flatten();
    let differing = fields.filter(|(field, value)| view.get(field) != Some(value));
    let each = differing.map(|(field, value)| {
        let shown = view.get(field).unwrap_or(&Value::Null);
        format!("{field} is {value} on the node, and {shown} in the view")
    });
    shown::plain(&each.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use berth_proto::berth::cluster::v1::object::Is;
    use berth_proto::berth::cluster::v1::{Container, Image, Node, Published};

    use super::*;

    fn object(name: &str, is: Is) -> Object {
        let namespace = if name.is_empty() { "" } else { "default" };
        Object {
            node: "n".into(),
            namespace: namespace.into(),
            name: name.into(),
            revision: 0,
            is: Some(is),
        }
    }

    fn image(name: &str, size: u64) -> Object {
        object(name, Is::AsImage(Image { size, ..Image::default() }))
    }

    #[test]
    fn what_is_the_same_does_not_differ() {
        let counted = |images| Published { images, ..Published::default() };
        let node = |images| {
            object("", Is::AsNode(Node { published: Some(counted(images)), ..Node::default() }))
        };
        let shown = Object { revision: 7, ..image("a", 1) };
        assert!(differences(&[node(1), image("a", 1)], &[shown, node(2)]).is_empty());
    }

    #[test]
    fn each_difference_is_told_by_name_and_field() {
        let container = object("c", Is::AsContainer(Container::default()));
        let node =
            |uuid: &str| object("", Is::AsNode(Node { uuid: uuid.into(), ..Node::default() }));
        let truth = [node("u"), image("a", 1), container];
        let view = [node("v"), image("a", 2), image("b", 1)];
        let found: Vec<_> = differences(&truth, &view).into_iter().collect();
        let told = [
            ("container default/c", "is on the node, and not in the view"),
            ("image default/a", "size is 1 on the node, and 2 in the view"),
            ("image default/b", "is in the view, and not on the node"),
            ("node itself", "uuid is \"u\" on the node, and \"v\" in the view"),
        ];
        assert_eq!(found, told.map(|(name, what)| (name.to_owned(), what.to_owned())));
    }

    #[test]
    fn only_what_lasts_is_a_difference() {
        let first = differences(&[image("a", 1), image("b", 1), image("c", 1)], &[image("c", 2)]);
        let second = differences(&[image("a", 1), image("c", 1)], &[image("c", 3)]);
        let found: Vec<_> = lasting(first, &second).into_keys().collect();
        assert_eq!(found, ["image default/a"]);
    }
}
