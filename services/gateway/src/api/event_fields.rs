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
            ["namespace"] => Cow::Borrowed(envelope.namespace.as_str()),
            ["topic"] => Cow::Borrowed(envelope.topic.as_str()),
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
        (Value::String(text), []) => Some(text.clone()),
        (Value::Bool(value), []) => Some(value.to_string()),
        (Value::I32(value), []) => Some(value.to_string()),
        (Value::I64(value), []) => Some(value.to_string()),
        (Value::U32(value), []) => Some(value.to_string()),
        (Value::U64(value), []) => Some(value.to_string()),
        (Value::Message(inner), [_, ..]) => in_message(inner, rest),
        // A key with dots comes in one part or in several.
        (Value::Map(labels), [_, ..]) => {
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

    #[test]
    fn a_payload_of_an_unknown_type_has_no_fields() {
        let any = prost_types::Any { type_url: "x.Y".into(), value: vec![1, 2] };
        assert!(!matches("event.id==x", any.clone()));
        assert!(matches("topic==\"/tasks/exit\"", any));
    }
}
