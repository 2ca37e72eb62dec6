//! Messages as JSON: keys are the fields' names in the interface, values of enumerations are names. Fields are there
//! whatever their value, except messages that are not set.

use std::collections::HashMap;

use prost::{Message, Name};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value as Field,
};
use serde_json::{Map, Value};

use super::descriptor;

/// A message as JSON.
pub fn json<M: Message + Name>(message: &M) -> Value {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    // It is the same message.
    let _ = dynamic.merge(&*message.encode_to_vec());
    object(&dynamic)
}

/// What a service adds for people: JSON in text, as JSON.
pub fn info(info: &HashMap<String, String>) -> Value {
    let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.clone().into());
    Value::Object(info.iter().map(|(key, text)| (key.clone(), value(text))).collect())
}

fn object(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    let shown =
        descriptor.fields().filter(|field| !field.supports_presence() || message.has_field(field));
    let fields = shown.map(|field| {
        let value = message.get_field(&field);
        (field.name().to_owned(), value_of(&field, &value))
    });
    Value::Object(fields.collect())
}

fn value_of(field: &FieldDescriptor, value: &Field) -> Value {
    match value {
        Field::List(values) => values.iter().map(|value| one_of(&field.kind(), value)).collect(),
        Field::Map(entries) => {
            let Kind::Message(entry) = field.kind() else { return Value::Null };
            let kind = entry.map_entry_value_field().kind();
            let entries = entries.iter().map(|(key, value)| (key_of(key), one_of(&kind, value)));
            // In order: the same message is always the same text.
            Value::Object(entries.collect::<Map<_, _>>())
        }
        value => one_of(&field.kind(), value),
    }
}

fn one_of(kind: &Kind, value: &Field) -> Value {
    match value {
        Field::Bool(value) => (*value).into(),
        Field::EnumNumber(number) => {
            let named = kind.as_enum().and_then(|of| of.get_value(*number));
            named.map_or_else(|| (*number).into(), |value| value.name().into())
        }
        Field::I32(value) => (*value).into(),
        Field::I64(value) => (*value).into(),
        Field::U32(value) => (*value).into(),
        Field::U64(value) => (*value).into(),
        Field::F32(value) => f64::from(*value).into(),
        Field::F64(value) => (*value).into(),
        Field::String(value) => value.clone().into(),
        Field::Bytes(value) => String::from_utf8_lossy(value).into_owned().into(),
        Field::Message(value) => object(value),
        // Lists have no lists in them.
        Field::List(_) | Field::Map(_) => Value::Null,
    }
}

fn key_of(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use berth_proto::runtime::v1 as wire;
    use serde_json::json;

    use super::super::read;
    use super::*;

    #[test]
    fn what_is_zero_is_shown_and_what_is_not_set_is_not() {
        let pod = wire::PodSandbox {
            id: "p".into(),
            metadata: Some(wire::PodSandboxMetadata { name: "n".into(), ..Default::default() }),
            created_at: 5,
            labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        let expected = json!({
            "id": "p",
            "metadata": {"name": "n", "uid": "", "namespace": "", "attempt": 0},
            "state": "SANDBOX_READY",
            "created_at": 5,
            "labels": {"a": "1", "b": "2"},
            "annotations": {},
            "runtime_handler": ""
        });
        assert_eq!(json(&pod), expected);
        let status = wire::PodSandboxStatus::default();
        assert_eq!(json(&status).get("network"), None);
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let config = wire::ContainerConfig {
            envs: vec![wire::KeyValue { key: "K".into(), value: b"v".to_vec() }],
            mounts: vec![wire::Mount { propagation: 2, ..Default::default() }],
            linux: Some(wire::LinuxContainerConfig {
                security_context: Some(wire::LinuxContainerSecurityContext {
                    run_as_user: Some(wire::Int64Value { value: 0 }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let shown = json(&config);
        assert_eq!(shown["mounts"][0]["propagation"], "PROPAGATION_BIDIRECTIONAL");
        assert_eq!(shown["linux"]["security_context"]["run_as_user"], json!({"value": 0}));
        assert_eq!(read::message::<wire::ContainerConfig>(&shown).unwrap(), config);
    }

    #[test]
    fn a_services_own_words_are_shown_as_what_they_are() {
        let told = [("a", r#"{"pid":3}"#), ("b", "no JSON")];
        let told = told.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
        assert_eq!(info(&told), json!({"a": {"pid": 3}, "b": "no JSON"}));
    }
}
