//! What filters find in an object.
//!
//! | of | fields |
//! |---|---|
//! | all | `node`, `namespace`, `name` (a node's own name, too) |
//! | nodes | `uuid`, `version`, `architecture`, `kernel`, `address` (all of them, with a space between), `labels.KEY`, `health` (all services serve), `health.SERVICE`, `pressure.disk`, `pressure.memory` |
//! | images | `digest`, `mediatype`, the same behind `target.`, `size`, `complete`, `layers` (digests with a space between) |
//! | containers | `id`, `image`, `runtime`, `runtime.name`, `status`, `state`, `pid`, `labels.KEY` |
//!
//! What is so or not is `true` or `false`.

use std::borrow::Cow;
use std::cell::OnceCell;

use berth_filters::{Adaptor, label};

use super::item::Item;
use crate::keys::Kind;
use crate::objects::{Container, Image, Node, Object};

/// An object before filters. Its value is read when a filter asks for what only that says.
pub(super) struct Fields<'a> {
    kind: Kind,
    item: &'a Item,
    object: OnceCell<Option<Object>>,
}

type Found<'a> = Option<Cow<'a, str>>;

impl<'a> Fields<'a> {
    pub fn new(kind: Kind, item: &'a Item) -> Self {
        Self { kind, item, object: OnceCell::new() }
    }
}

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[&str]) -> Found<'_> {
        let key = self.item.key();
        match path {
            ["node"] => return text(key.node),
            ["namespace"] => return text(key.namespace),
            ["name"] if self.kind == Kind::Nodes => return text(key.node),
            ["name"] => return text(key.name),
            ["id"] if self.kind == Kind::Containers => return text(key.name),
            _ => {}
        }
        match self.object.get_or_init(|| self.item.object(self.kind)).as_ref()? {
            Object::Node(node) => of_node(node, path),
            Object::Image(image) => of_image(image, path),
            Object::Container(container) => of_container(container, path),
        }
    }
}

/// The empty text is as good as none, as containerd has it.
fn text(text: &str) -> Found<'_> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

fn whether(so: bool) -> Found<'static> {
    Some(Cow::Borrowed(if so { "true" } else { "false" }))
}

fn of_node<'a>(node: &'a Node, path: &[&str]) -> Found<'a> {
    match path {
        ["uuid"] => text(&node.uuid),
        ["version"] => text(&node.version),
        ["architecture"] => text(&node.capacity.architecture),
        ["kernel"] => text(&node.capacity.kernel),
        ["address"] if node.addresses.is_empty() => None,
        ["address"] => Some(node.addresses.join(" ").into()),
        ["labels", rest @ ..] => label(&node.labels, rest),
        ["health"] => whether(node.services.iter().all(|service| service.serves)),
        ["health", name] => {
            let service = node.services.iter().find(|service| service.name == *name)?;
            whether(service.serves)
        }
        ["pressure", name] => {
            let of = node.pressure.iter().find(|pressure| pressure.resource.name() == *name)?;
            whether(of.under_pressure)
        }
        _ => None,
    }
}

fn of_image<'a>(image: &'a Image, path: &[&str]) -> Found<'a> {
    match path {
        ["digest"] | ["target", "digest"] => text(image.digest.as_str()),
        ["mediatype"] | ["target", "mediatype"] => text(&image.media_type),
        ["size"] => Some(image.size.to_string().into()),
        ["complete"] => whether(image.complete),
        ["layers"] => {
            let layers: Vec<&str> = image.layers.iter().map(|layer| layer.as_str()).collect();
            (!layers.is_empty()).then(|| layers.join(" ").into())
        }
        _ => None,
    }
}

fn of_container<'a>(container: &'a Container, path: &[&str]) -> Found<'a> {
    match path {
        ["image"] => text(&container.image),
        ["runtime"] | ["runtime", "name"] => text(&container.runtime),
        ["status"] | ["state"] => text(container.state.name()),
        ["pid"] if container.pid > 0 => Some(container.pid.to_string().into()),
        ["labels", rest @ ..] => label(&container.labels, rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use berth_filters::Filter;

    use super::*;
    use crate::objects::{Capacity, Pressure, Resource, ServiceHealth, TaskState};
    use crate::peers::stored;

    fn item(name: &str, object: &Object) -> Item {
        let (node, namespace) = ("n-1".into(), if name.is_empty() { "" } else { "default" }.into());
        let value = Some(stored::encode(object).into());
        Item { node, namespace, name: name.into(), revision: 1, put: 1, value }
    }

    fn check(item: &Item, kind: Kind, yes: &[&str], no: &[&str]) {
        for (filters, wanted) in [(yes, true), (no, false)] {
            for filter in filters {
                let matches = Filter::parse(filter).unwrap().matches(&Fields::new(kind, item));
                assert_eq!(matches, wanted, "{filter}");
            }
        }
    }

    #[test]
    fn nodes_are_found_by_what_they_are() {
        let node = Node {
            uuid: "u-1".into(),
            version: "1.0".into(),
            addresses: vec!["10.0.0.1".into(), "fd00::1".into()],
            labels: [("zone.io/a".into(), "x".into())].into(),
            capacity: Capacity { architecture: "amd64".into(), ..Capacity::default() },
            services: [("distribution", true), ("runtime", false)]
                .map(|(name, serves)| ServiceHealth {
                    name: name.into(),
                    serves,
                    reason: "".into(),
                })
                .into(),
            pressure: vec![Pressure {
                resource: Resource::Disk,
                under_pressure: true,
                used_percent: 95,
            }],
            ..Node::default()
        };
        let item = item("", &Object::Node(Box::new(node)));
        let yes = [
            "node==n-1",
            "name~=^n-",
            "uuid==u-1",
            "version==1.0,architecture==amd64",
            "address~=\"10.0.0.1( |$)\"",
            "labels.\"zone.io/a\"==x",
            "labels.zone",
            "pressure.disk==true",
            "health==false,health.distribution==true,health.runtime==false",
            "pressure.memory!=true",
        ];
        let (yes, no) = (
            yes.map(|it| it.replace("labels.zone", "node")),
            [
                "namespace",
                "kernel",
                "labels.zone",
                "health.bundle",
                "pressure.disk==false",
                "image==x",
            ],
        );
        check(&item, Kind::Nodes, &yes.each_ref().map(String::as_str), &no);
    }

    #[test]
    fn images_are_found_by_what_they_are() {
        let digest = |c: &str| format!("sha256:{}", c.repeat(64));
        let image = Image {
            digest: digest("a").parse().unwrap(),
            media_type: "application/x".into(),
            size: 7,
            complete: false,
            layers: ["b", "c"].map(|c| digest(c).parse().unwrap()).into(),
            missing: vec![1],
        };
        let item = item("a/b:1", &Object::Image(image));
        let of_layer = format!("layers~={}", digest("c"));
        let yes = [
            "name==a/b:1",
            "namespace==default,node==n-1",
            "size==7,complete==false",
            "mediatype==\"application/x\",target.mediatype",
            &of_layer,
            &format!("digest=={0},target.digest=={0}", digest("a")),
        ];
        let other = format!("layers~={}", digest("d"));
        check(&item, Kind::Images, &yes, &["id", "complete==true", &other, "labels.a"]);
    }

    #[test]
    fn containers_are_found_by_what_they_are() {
        let container = Container {
            image: "a/b:1".into(),
            runtime: "io.containerd.runc.v2".into(),
            labels: [("app".into(), "web".into())].into(),
            labels_left_out: false,
            created: None,
            state: TaskState::Running,
            pid: 12,
            exit_status: 0,
            exited: None,
        };
        let mut item = item("c1", &Object::Container(container));
        let yes = [
            "id==c1,name==c1",
            "image==a/b:1,runtime==io.containerd.runc.v2",
            "runtime.name~=runc",
            "status==running,state==running,pid==12",
            "labels.app==web",
        ];
        check(&item, Kind::Containers, &yes, &["labels.b", "status==stopped", "digest"]);
        item.value = None;
        check(&item, Kind::Containers, &["id==c1"], &["image", "status==running"]);
    }
}
