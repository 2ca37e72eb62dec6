//! Messages of the CRI as Go's encoding/json writes the structs that are generated of them: what containerd's
//! clients find in records, and write there.
//!
//! Keys are the fields' names; what is empty is left out; numbers are numbers, those of enumerations too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_proto::FILE_DESCRIPTOR_SET;
use prost::{Message, Name};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value as Field,
};
use prost_types::FileDescriptorSet;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The CRI's own messages: those of all interfaces take megabytes.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("it was compiled in");
    set.file.retain(|file| file.package() == PACKAGE);
    DescriptorPool::from_file_descriptor_set(set).expect("it imports nothing of others")
});

/// The package of the CRI.
const PACKAGE: &str = "runtime.v1";
/// The deepest message within messages that is read.
const MAX_DEPTH: usize = 32;

/// A message as JSON.
pub fn to_json<M: Message + Name>(message: &M) -> Value {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    // It is the same message.
    let _ = dynamic.merge(&*message.encode_to_vec());
    object(&dynamic)
}

/// A message of JSON. Keys that it does not know are passed over, as newer versions may have written them.
///
/// # Errors
/// Where the JSON is of another type than the message, in words.
pub fn from_json<M: Message + Name + Default>(json: &Value) -> Result<M, String> {
    let dynamic = message(descriptor::<M>(), json, 0)?;
    M::decode(&*dynamic.encode_to_vec()).map_err(|error| error.to_string())
}

fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name()).expect("every message is in the set")
}

fn object(message: &DynamicMessage) -> Value {
    let fields = message.fields().map(|(field, value)| {
        let as_text = field.full_name() == "runtime.v1.KeyValue.value";
        (field.name().to_owned(), value_of(value, as_text))
    });
    Value::Object(fields.collect())
}

fn value_of(value: &Field, as_text: bool) -> Value {
    match value {
        Field::Bool(value) => (*value).into(),
        Field::I32(value) | Field::EnumNumber(value) => (*value).into(),
        Field::I64(value) => (*value).into(),
        Field::U32(value) => (*value).into(),
        Field::U64(value) => (*value).into(),
        Field::F32(value) => f64::from(*value).into(),
        Field::F64(value) => (*value).into(),
        Field::String(value) => value.clone().into(),
        Field::Bytes(value) if as_text => String::from_utf8_lossy(value).into_owned().into(),
        Field::Bytes(value) => STANDARD.encode(value).into(),
        Field::Message(value) => object(value),
        Field::List(values) => values.iter().map(|value| value_of(value, as_text)).collect(),
        Field::Map(values) => {
            // In order: the same message is always the same text.
            let mut sorted: Vec<_> =
                values.iter().map(|(key, value)| (key_of(key), value_of(value, as_text))).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(sorted.into_iter().collect())
        }
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

fn message(of: MessageDescriptor, json: &Value, depth: usize) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(of);
    let Value::Object(fields) = json else {
        return Err(format!("{} is no object", message.descriptor().name()));
    };
    if depth > MAX_DEPTH {
        return Err("too deep".to_owned());
    }
    for (name, json) in fields {
        let Some(field) = message.descriptor().get_field_by_name(name) else { continue };
        if json.is_null() {
            continue;
        }
        let value = field_of(&field, json, depth).map_err(|why| format!("{name}: {why}"))?;
        message.try_set_field(&field, value).map_err(|error| error.to_string())?;
    }
    Ok(message)
}

fn field_of(field: &FieldDescriptor, json: &Value, depth: usize) -> Result<Field, String> {
    if field.is_map() {
        let Value::Object(entries) = json else { return Err("is no object".to_owned()) };
        return map_of(field, entries, depth);
    }
    if field.is_list() {
        let Value::Array(values) = json else { return Err("is no list".to_owned()) };
        let values = values.iter().map(|json| one_of(field, &field.kind(), json, depth));
        return Ok(Field::List(values.collect::<Result<_, _>>()?));
    }
    one_of(field, &field.kind(), json, depth)
}

fn map_of(
    field: &FieldDescriptor,
    entries: &Map<String, Value>,
    depth: usize,
) -> Result<Field, String> {
    let Kind::Message(entry) = field.kind() else { return Err("is no map".to_owned()) };
    let kind = entry.map_entry_value_field().kind();
    let is_text = matches!(entry.map_entry_key_field().kind(), Kind::String);
    let entries = entries.iter().map(|(key, json)| {
        // The CRI's maps have no other keys.
        let key =
            is_text.then(|| MapKey::String(key.clone())).ok_or("has keys that are no text")?;
        Ok((key, one_of(field, &kind, json, depth)?))
    });
    Ok(Field::Map(entries.collect::<Result<_, String>>()?))
}

fn one_of(
    field: &FieldDescriptor,
    kind: &Kind,
    json: &Value,
    depth: usize,
) -> Result<Field, String> {
    let number = || json.as_i64().ok_or_else(|| "is no number".to_owned());
    let natural = || json.as_u64().ok_or_else(|| "is no number above 0".to_owned());
    let text = || json.as_str().ok_or_else(|| "is no text".to_owned());
    let large = |_| "is too large".to_owned();
    Ok(match kind {
        Kind::Bool => Field::Bool(json.as_bool().ok_or("is neither true nor false")?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Field::I32(number()?.try_into().map_err(large)?)
        }
        Kind::Enum(_) => Field::EnumNumber(number()?.try_into().map_err(large)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(number()?),
        Kind::Uint32 | Kind::Fixed32 => Field::U32(natural()?.try_into().map_err(large)?),
        Kind::Uint64 | Kind::Fixed64 => Field::U64(natural()?),
        Kind::Float | Kind::Double => {
            let value = json.as_f64().ok_or("is no number")?;
            if matches!(kind, Kind::Float) { Field::F32(value as f32) } else { Field::F64(value) }
        }
        Kind::String => Field::String(text()?.to_owned()),
        Kind::Bytes if field.full_name() == "runtime.v1.KeyValue.value" => {
            Field::Bytes(text()?.to_owned().into())
        }
        Kind::Bytes => {
            let bytes = STANDARD.decode(text()?).map_err(|_| "is no base64".to_owned())?;
            Field::Bytes(bytes.into())
        }
        Kind::Message(of) => Field::Message(message(of.clone(), json, depth + 1)?),
    })
}

#[cfg(test)]
mod tests {
    use berth_proto::runtime::v1 as wire;
    use serde_json::json;

    use super::*;

    fn config() -> wire::ContainerConfig {
        wire::ContainerConfig {
            metadata: Some(wire::ContainerMetadata { name: "c".into(), attempt: 2 }),
            envs: vec![wire::KeyValue { key: "K".into(), value: b"a b".to_vec() }],
            labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            mounts: vec![wire::Mount {
                container_path: "/d".into(),
                propagation: wire::MountPropagation::PropagationHostToContainer as i32,
                ..Default::default()
            }],
            linux: Some(wire::LinuxContainerConfig {
                resources: Some(wire::LinuxContainerResources {
                    memory_limit_in_bytes: 1 << 40,
                    ..Default::default()
                }),
                security_context: Some(wire::LinuxContainerSecurityContext {
                    run_as_user: Some(wire::Int64Value { value: 0 }),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_message_is_as_go_writes_it() {
        let expected = json!({
            "metadata": {"name": "c", "attempt": 2},
            "envs": [{"key": "K", "value": "a b"}],
            "labels": {"a": "1", "b": "2"},
            "mounts": [{"container_path": "/d", "propagation": 1}],
            "linux": {
                "resources": {"memory_limit_in_bytes": 1_099_511_627_776_i64},
                "security_context": {"run_as_user": {}}
            }
        });
        assert_eq!(to_json(&config()), expected);
        assert_eq!(from_json::<wire::ContainerConfig>(&expected).unwrap(), config());
    }

    #[test]
    fn what_is_of_another_type_is_told_and_what_is_unknown_passed_over() {
        let parse = |json| from_json::<wire::ContainerConfig>(&json);
        assert_eq!(
            parse(json!({"metadata": {"name": "c", "new": 1}})).unwrap().metadata.unwrap().name,
            "c"
        );
        assert_eq!(parse(json!({"mounts": null})).unwrap(), wire::ContainerConfig::default());
        for (json, why) in [
            (json!([]), "ContainerConfig is no object"),
            (json!({"metadata": {"attempt": -1}}), "metadata: attempt: is no number above 0"),
            (json!({"labels": {"a": 1}}), "labels: is no text"),
            (json!({"mounts": {}}), "mounts: is no list"),
        ] {
            assert_eq!(parse(json).unwrap_err(), why);
        }
    }
}
