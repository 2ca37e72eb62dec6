//! Fields of events that filters can name: `namespace`, `topic`, and those of the payload below
//! `event`, such as `event.container_id` or `event.labels."a.b"`.

use std::borrow::Cow;
use std::sync::LazyLock;

use berth_filters::Adaptor;
use berth_proto::containerd::types::Envelope;
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, Value};

/// Made when the first filter asks for a field of a payload.
static TYPES: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(berth_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptor set is embedded by the build")
});

/// An event as filters see it.
pub struct Fields<'a>(pub &'a Envelope);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let Fields(envelope) = self;
        let text = match path {
            ["namespace", ..] => Cow::Borrowed(envelope.namespace.as_str()),
            ["topic", ..] => Cow::Borrowed(envelope.topic.as_str()),
            ["event", rest @ ..] => Cow::Owned(in_payload(envelope.event.as_ref()?, rest)?),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }
}

/// A payload of a type that this version does not know has no fields.
fn in_payload(event: &prost_types::Any, path: &[&str]) -> Option<String> {
    let name = event.type_url.rsplit('/').next()?;
    let message = TYPES.get_message_by_name(name)?;
    let message = DynamicMessage::decode(message, event.value.as_slice()).ok()?;
    in_message(&message, path)
}

fn in_message(message: &DynamicMessage, path: &[&str]) -> Option<String> {
    let (name, rest) = path.split_first()?;
    match (message.get_field_by_name(name)?.as_ref(), rest) {
        (Value::String(text), _) => Some(text.clone()),
        (Value::Bool(value), _) => Some(value.to_string()),
        (Value::I32(value), _) => Some(value.to_string()),
        (Value::I64(value), _) => Some(value.to_string()),
        (Value::U32(value), _) => Some(value.to_string()),
        (Value::U64(value), _) => Some(value.to_string()),
        (Value::Message(inner), [_, ..]) => in_message(inner, rest),
        // A key with dots comes in one part or in several.
        (Value::Map(labels), _) => {
            Some(labels.get(&MapKey::String(rest.join(".")))?.as_str()?.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_filters::Filter;
    use berth_proto::containerd::events::container_create::Runtime;
    use berth_proto::containerd::events::{ContainerCreate, ContainerUpdate, TaskExit};
    use berth_proto::pack;

    fn matches(filter: &str, event: prost_types::Any) -> bool {
        let envelope = Envelope {
            namespace: "default".into(),
            topic: "/tasks/exit".into(),
            event: Some(event),
            timestamp: None,
        };
        Filter::parse_any(&[filter.to_owned()]).unwrap().matches(&Fields(&envelope))
    }

    #[test]
    fn fields_of_envelope_and_payload_are_found() {
        let exit = pack(&TaskExit { container_id: "one".into(), pid: 7, ..Default::default() });
        for filter in [
            "topic==\"/tasks/exit\"",
            "namespace==default,topic~=tasks",
            "event.container_id==one",
            "event.pid==7",
            // What comes behind a field that is no map is not looked at, as in containerd.
            "topic.x==\"/tasks/exit\",namespace.y",
            "event.container_id.x==one",
        ] {
            assert!(matches(filter, exit.clone()), "{filter}");
        }
        for filter in ["event.container_id==two", "event.id", "event.nothing", "other==x"] {
            assert!(!matches(filter, exit.clone()), "{filter}");
        }
    }

    #[test]
    fn nested_fields_and_labels_are_found() {
        let runtime = Some(Runtime { name: "runc".into(), options: None });
        let created = pack(&ContainerCreate { runtime, ..Default::default() });
        assert!(matches("event.runtime.name==runc", created));
        let labels = [("a.b/c".to_owned(), "x".to_owned())].into();
        let updated = pack(&ContainerUpdate { labels, ..Default::default() });
        assert!(matches("event.labels.\"a.b/c\"==x", updated));
    }

    /// Every text, nested ones and labels too, of every event: what containerd lets filters name.
    #[test]
    fn all_texts_of_all_events_are_found() {
        let pool = &*TYPES;
        let events = pool.all_messages().filter(|message| {
            let name = message.full_name();
            let image = name.strip_prefix("containerd.services.images.v1.Image");
            !message.is_map_entry()
                && (name.starts_with("containerd.events.")
                    || image.is_some_and(|rest| ["Create", "Update", "Delete"].contains(&rest)))
        });
        let mut found = 0;
        for event in events.filter(|message| message.parent_message().is_none()) {
            for (path, message) in texts(&event) {
                let value = prost::Message::encode_to_vec(&message);
                let any = prost_types::Any { type_url: event.full_name().to_owned(), value };
                let filter = format!("event.{path}==\"a b\"");
                assert!(matches(&filter, any), "{}: {filter}", event.full_name());
                found += 1;
            }
        }
        assert!(found > 50, "only {found} fields");
    }

    /// The texts of a message: their paths, each with a message where it is "a b".
    fn texts(of: &prost_reflect::MessageDescriptor) -> Vec<(String, DynamicMessage)> {
        let text = || Value::String("a b".into());
        let mut found = Vec::new();
        for field in of.fields().filter(|field| !field.is_list()) {
            let mut put = |path: String, value: Value| {
                let mut message = DynamicMessage::new(of.clone());
                message.set_field(&field, value);
                found.push((path, message));
            };
            let name = field.name();
            match field.kind() {
                _ if field.is_map() => {
                    let map = [(MapKey::String("a.b/c".into()), text())].into();
                    put(format!("{name}.\"a.b/c\""), Value::Map(map));
                }
                prost_reflect::Kind::String => put(name.to_owned(), text()),
                prost_reflect::Kind::Message(inner)
                    if inner.full_name().starts_with("containerd.") =>
                {
                    for (path, inner) in texts(&inner) {
                        put(format!("{name}.{path}"), Value::Message(inner));
                    }
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn a_payload_of_an_unknown_type_has_no_fields() {
        let any = prost_types::Any { type_url: "x.Y".into(), value: vec![1, 2] };
        assert!(!matches("event.id==x", any.clone()));
        assert!(matches("topic==\"/tasks/exit\"", any));
    }
}
