//! Messages that no honest client sends, the same in every run.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

/// How deep messages hold messages.
const DEPTH: u32 = 4;
/// Longer than any name, label or path may be.
const LONG: usize = 70_000;

/// Numbers that look random (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Where the values of fields come from.
pub enum Values<'a> {
    /// Each at its limit.
    Limits,
    /// What passes for a name, with an Any of another type than is meant.
    WrongTypes,
    /// Some of both, some left out.
    Mixed(&'a mut Random),
}

impl Values<'_> {
    fn choice(&mut self, of: u64) -> u64 {
        match self {
            Self::Limits => 0,
            Self::WrongTypes => 1,
            Self::Mixed(random) => random.below(of),
        }
    }
}

/// A message with every field set.
pub fn message(kind: &MessageDescriptor, values: &mut Values<'_>, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    if depth == DEPTH {
        return message;
    }
    if kind.full_name() == "google.protobuf.Any" {
        any(&mut message, values);
        return message;
    }
    for field in kind.fields() {
        if matches!(values, Values::Mixed(_)) && values.choice(3) == 2 {
            continue;
        }
        let value = if field.is_map() {
            map(&field, values, depth)
        } else if field.is_list() {
            let one = |_| single(&field.kind(), values, depth);
            Value::List((0..3).map(one).collect())
        } else {
            single(&field.kind(), values, depth)
        };
        message.set_field(&field, value);
    }
    message
}

fn any(message: &mut DynamicMessage, values: &mut Values<'_>) {
    let (name, value) = match values.choice(4) {
        0 => ("x".repeat(LONG), vec![0xff; LONG]),
        1 => ("containerd.events.TaskExit".to_owned(), vec![8, 1]),
        2 => ("types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(), b"{".to_vec()),
        _ => {
            ("containerd.types.transfer.ImageStore".to_owned(), vec![0x0a, 0xff, 0xff, 0xff, 0x0f])
        }
    };
    message.set_field_by_name("type_url", Value::String(name));
    message.set_field_by_name("value", Value::Bytes(value.into()));
}

fn map(field: &FieldDescriptor, values: &mut Values<'_>, depth: u32) -> Value {
    let entry = field.kind();
    let entry = entry.as_message().expect("an entry of a map").map_entry_value_field().kind();
    let keys =
        ["", "containerd.io/gc.root", "a/b", "hostile"].map(|key| MapKey::String(key.into()));
    Value::Map(keys.into_iter().map(|key| (key, single(&entry, values, depth))).collect())
}

fn single(kind: &Kind, values: &mut Values<'_>, depth: u32) -> Value {
    match kind {
        Kind::String => Value::String(text(values)),
        Kind::Bytes => {
            Value::Bytes(vec![0xff; if values.choice(2) == 0 { 1 << 20 } else { 3 }].into())
        }
        Kind::Bool => Value::Bool(values.choice(2) == 0),
        Kind::Message(kind) => Value::Message(message(kind, values, depth + 1)),
        Kind::Enum(_) => Value::EnumNumber([i32::MAX, 1, i32::MIN][at(values, 3)]),
        Kind::Uint32 | Kind::Fixed32 => Value::U32([u32::MAX, 1, 1 << 31][at(values, 3)]),
        Kind::Uint64 | Kind::Fixed64 => Value::U64([u64::MAX, 1, 1 << 63][at(values, 3)]),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32([i32::MIN, 1, i32::MAX, -1][at(values, 4)])
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Value::I64([i64::MIN, 1, i64::MAX, -1][at(values, 4)])
        }
        Kind::Double => Value::F64([f64::NAN, 1.0, f64::MAX][at(values, 3)]),
        Kind::Float => Value::F32([f32::NAN, 1.0, f32::MAX][at(values, 3)]),
    }
}

fn at(values: &mut Values<'_>, of: u64) -> usize {
    usize::try_from(values.choice(of)).expect("few")
}

fn text(values: &mut Values<'_>) -> String {
    match values.choice(8) {
        0 => "x\0/../é%".repeat(LONG / 9),
        1 => "hostile".into(),
        2 => String::new(),
        3 => "../../../etc/hostile".into(),
        4 => "sha256:".to_owned() + &"0".repeat(64),
        5 => "overlayfs".into(),
        6 => "name==".into(),
        _ => "/".into(),
    }
}

/// All that one method is sent, by what it is. Besides these there is the empty message.
pub fn all(kind: &MessageDescriptor, seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    use prost::Message as _;
    let limits = message(kind, &mut Values::Limits, 0).encode_to_vec();
    let wrong = message(kind, &mut Values::WrongTypes, 0).encode_to_vec();
    let mut messages = vec![("limits", limits.clone()), ("wrong types", wrong.clone())];
    let mut random = Random(seed);
    for _ in 0..12 {
        messages.push(("random bytes", random.bytes(300)));
        let mixed = message(kind, &mut Values::Mixed(&mut random), 0);
        debug_assert_eq!(mixed.descriptor(), *kind);
        messages.push(("mixed", mixed.encode_to_vec()));
        // One that is broken in one place.
        let mut broken = wrong.clone();
        if let Some(place) = u64::try_from(broken.len()).ok().filter(|length| *length > 0) {
            let place = usize::try_from(random.below(place)).expect("within");
            broken[place] ^= random.bytes(2).first().copied().unwrap_or(0x80) | 1;
            messages.push(("broken", broken));
        }
    }
    let half = limits[..limits.len() / 2].to_vec();
    messages.push(("cut off", half));
    messages
}
