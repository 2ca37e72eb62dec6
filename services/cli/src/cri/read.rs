//! Messages from JSON, as crictl takes them: keys are the fields' names in the interface, values of enumerations
//! are names or numbers. A key that is no field is refused: what was mistyped would have no effect.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use prost::{Message, Name};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value as Field,
};
use serde_json::{Map, Value};

use super::{TEXT_IN_BYTES, descriptor};

/// The largest file that is read, in bytes.
const MOST: u64 = 4 << 20;

/// A message of a file; `-` is standard input.
pub fn file<M: Message + Name + Default>(path: &Path) -> Result<M> {
    let doing = || format!("read {}", path.display());
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MOST + 1).read_to_end(&mut text).with_context(doing)?;
    } else {
        let file = fs_err::File::open(path).with_context(doing)?;
        file.take(MOST + 1).read_to_end(&mut text).with_context(doing)?;
    }
    if text.len() as u64 > MOST {
        bail!("{}: it is larger than {MOST} bytes", doing());
    }
    let json = serde_json::from_slice(&text).context("it is no JSON").with_context(doing)?;
    message(&json).with_context(doing)
}

/// A message of JSON.
pub fn message<M: Message + Name + Default>(json: &Value) -> Result<M> {
    let read = object(descriptor::<M>(), json).map_err(anyhow::Error::new)?;
    M::decode(&*read.encode_to_vec()).with_context(|| format!("take it for a {}", M::NAME))
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    /// Keys and positions, the outermost one last.
    place: Vec<String>,
    why: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, part) in self.place.iter().rev().enumerate() {
            let point = if at > 0 && !part.starts_with('[') { "." } else { "" };
            write!(f, "{point}{part}")?;
        }
        let space = if self.place.is_empty() { "it " } else { " " };
        write!(f, "{space}{}", self.why)
    }
}

impl std::error::Error for Wrong {}

fn wrong(why: impl Into<String>) -> Wrong {
    Wrong { place: Vec::new(), why: why.into() }
}

/// Says where it is.
fn at(place: impl Into<String>) -> impl FnOnce(Wrong) -> Wrong {
    let place = place.into();
    move |mut wrong| {
        wrong.place.push(place);
        wrong
    }
}

// serde_json reads no deeper than 128 levels, so neither does this.
fn object(of: MessageDescriptor, json: &Value) -> Result<DynamicMessage, Wrong> {
    let mut message = DynamicMessage::new(of);
    let of = message.descriptor();
    let Value::Object(fields) = json else {
        return Err(wrong(format!("is no object, as a {} is", of.name())));
    };
    for (name, json) in fields {
        let unknown = || at(name)(wrong(format!("is no field of a {}", of.name())));
        let field = of.get_field_by_name(name).ok_or_else(unknown)?;
        // As if it were not there.
        if json.is_null() {
            continue;
        }
        let value = value_of(&field, json).map_err(at(name))?;
        message.try_set_field(&field, value).map_err(|error| at(name)(wrong(error.to_string())))?;
    }
    Ok(message)
}

fn value_of(field: &FieldDescriptor, json: &Value) -> Result<Field, Wrong> {
    if field.is_map() {
        let Value::Object(entries) = json else { return Err(wrong("is no object")) };
        return map_of(field, entries);
    }
    if field.is_list() {
        let Value::Array(values) = json else { return Err(wrong("is no list")) };
        let values = values.iter().enumerate().map(|(number, json)| {
            one_of(field, &field.kind(), json).map_err(at(format!("[{number}]")))
        });
        return Ok(Field::List(values.collect::<Result<_, _>>()?));
    }
    one_of(field, &field.kind(), json)
}

/// The interface has no maps but those by text.
fn map_of(field: &FieldDescriptor, entries: &Map<String, Value>) -> Result<Field, Wrong> {
    let Kind::Message(entry) = field.kind() else { return Err(wrong("is no map")) };
    let kind = entry.map_entry_value_field().kind();
    let entries = entries.iter().map(|(key, json)| {
        Ok((MapKey::String(key.clone()), one_of(field, &kind, json).map_err(at(key))?))
    });
    Ok(Field::Map(entries.collect::<Result<_, _>>()?))
}

fn one_of(field: &FieldDescriptor, kind: &Kind, json: &Value) -> Result<Field, Wrong> {
    let number = || json.as_i64().ok_or_else(|| wrong("is no number that it can be"));
    let natural = || json.as_u64().ok_or_else(|| wrong("is no number of 0 or more"));
    let text = || json.as_str().ok_or_else(|| wrong("is no text"));
    let large = |_| wrong("is too large or too small a number");
    Ok(match kind {
        Kind::Bool => {
            Field::Bool(json.as_bool().ok_or_else(|| wrong("is neither true nor false"))?)
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Field::I32(number()?.try_into().map_err(large)?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(number()?),
        Kind::Uint32 | Kind::Fixed32 => Field::U32(natural()?.try_into().map_err(large)?),
        Kind::Uint64 | Kind::Fixed64 => Field::U64(natural()?),
        Kind::Enum(of) => Field::EnumNumber(enumerated(of, json)?),
        Kind::Float => Field::F32(json.as_f64().ok_or_else(|| wrong("is no number"))? as f32),
        Kind::Double => Field::F64(json.as_f64().ok_or_else(|| wrong("is no number"))?),
        Kind::String => Field::String(text()?.to_owned()),
        Kind::Bytes if field.full_name() == TEXT_IN_BYTES => {
            Field::Bytes(text()?.to_owned().into())
        }
        Kind::Bytes => return Err(wrong("are bytes, which no file has")),
        Kind::Message(of) => Field::Message(object(of.clone(), json)?),
    })
}

/// By number or name. A number that has no name yet may be another runtime's.
fn enumerated(of: &EnumDescriptor, json: &Value) -> Result<i32, Wrong> {
    if let Some(name) = json.as_str() {
        let found = of.get_value_by_name(name).map(|value| value.number());
        let names = || of.values().take(8).map(|value| value.name().to_owned()).collect::<Vec<_>>();
        let unknown = || wrong(format!("is {name:?}, which is none of {}", names().join(", ")));
        return found.ok_or_else(unknown);
    }
    let number = json.as_i64().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| wrong("is neither a name nor a number"))
}

#[cfg(test)]
mod tests {
    use berth_proto::runtime::v1 as wire;
    use serde_json::json;

    use super::*;

    fn refused(json: &Value) -> String {
        message::<wire::ContainerConfig>(json).unwrap_err().to_string()
    }

    #[test]
    fn a_container_is_read_as_crictl_takes_it() {
        let config = message::<wire::ContainerConfig>(&json!({
            "metadata": {"name": "c", "attempt": 2},
            "image": {"image": "busybox:1"},
            "command": ["sh", "-c"],
            "envs": [{"key": "K", "value": "a b"}],
            "labels": {"a": "1"},
            "mounts": [{"container_path": "/d", "propagation": 1, "readonly": true}],
            "stop_signal": "SIGNAL_SIGINT",
            "linux": {
                "resources": {"memory_limit_in_bytes": 1_099_511_627_776_i64},
                "security_context": {
                    "run_as_user": {"value": 7},
                    "namespace_options": {"pid": "NODE", "network": 2}
                }
            },
            "windows": null
        }))
        .unwrap();
        assert_eq!(config.metadata, Some(wire::ContainerMetadata { name: "c".into(), attempt: 2 }));
        assert_eq!(
            (config.command, config.envs[0].value.as_slice()),
            (vec!["sh".to_owned(), "-c".to_owned()], b"a b".as_slice())
        );
        assert_eq!((config.mounts[0].propagation, config.mounts[0].readonly), (1, true));
        assert_eq!(config.stop_signal, wire::Signal::Sigint as i32);
        let linux = config.linux.unwrap();
        assert_eq!(linux.resources.unwrap().memory_limit_in_bytes, 1 << 40);
        let security = linux.security_context.unwrap();
        assert_eq!(security.run_as_user, Some(wire::Int64Value { value: 7 }));
        let namespaces = security.namespace_options.unwrap();
        assert_eq!(
            (namespaces.pid(), namespaces.network()),
            (wire::NamespaceMode::Node, wire::NamespaceMode::Node)
        );
        assert_eq!(config.windows, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (json, why) in [
            (json!([]), "it is no object, as a ContainerConfig is"),
            (json!({"metadata": {"nam": "c"}}), "metadata.nam is no field of a ContainerMetadata"),
            (json!({"logPath": "c"}), "logPath is no field of a ContainerConfig"),
            (json!({"metadata": {"attempt": -1}}), "metadata.attempt is no number of 0 or more"),
            (json!({"labels": {"a": 1}}), "labels.a is no text"),
            (
                json!({"mounts": [{}, {"readonly": 1}]}),
                "mounts[1].readonly is neither true nor false",
            ),
            (json!({"mounts": {}}), "mounts is no list"),
            (json!({"stop_signal": true}), "stop_signal is neither a name nor a number"),
        ] {
            assert_eq!(refused(&json), why);
        }
        let unknown = refused(&json!({"mounts": [{"propagation": "SHARED"}]}));
        assert!(unknown.starts_with("mounts[0].propagation is \"SHARED\""), "{unknown}");
        assert!(
            unknown.contains("PROPAGATION_PRIVATE, PROPAGATION_HOST_TO_CONTAINER"),
            "{unknown}"
        );
    }

    #[test]
    fn a_file_is_named_in_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.json");
        let told = |text: &str| {
            fs_err::write(&path, text).unwrap();
            crate::client::one_line(&file::<wire::PodSandboxConfig>(&path).unwrap_err())
        };
        let (json, key) = (told("metadata:\n  name: p\n"), told(r#"{"metdata": {}}"#));
        assert!(json.contains("pod.json: it is no JSON: "), "{json}");
        assert!(key.ends_with("pod.json: metdata is no field of a PodSandboxConfig"), "{key}");
        fs_err::write(&path, r#"{"metadata": {"name": "p"}, "log_directory": "/l"}"#).unwrap();
        assert_eq!(file::<wire::PodSandboxConfig>(&path).unwrap().log_directory, "/l");
    }
}
