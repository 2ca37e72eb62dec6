//! How a value is read.

use toml::Value;

use super::super::duration::duration;
use super::super::rules::ours;

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// True or false.
    Flag,
    /// A text. An empty one was not set.
    Text,
    /// Texts.
    Texts,
    /// A whole number.
    Number,
    /// A length of time, as Go writes it. An empty text was not set.
    Time,
}

impl Kind {
    /// The value as our file has it; none if it says nothing.
    ///
    /// # Errors
    /// What it has to be.
    pub(super) fn read(self, value: Value) -> Result<Option<Value>, String> {
        let wrong = |what: &str| Err(format!("{value} is {what}"));
        match (self, &value) {
            (Self::Text | Self::Time, Value::String(text)) if text.is_empty() => Ok(None),
            (Self::Time, _) => duration(&value).map(|length| Some(ours(length))),
            (Self::Flag, Value::Boolean(_))
            | (Self::Text, Value::String(_))
            | (Self::Number, Value::Integer(_)) => Ok(Some(value)),
            (Self::Texts, Value::Array(list)) if list.iter().all(Value::is_str) => Ok(Some(value)),
            (Self::Flag, _) => wrong("neither true nor false"),
            (Self::Text, _) => wrong("no text"),
            (Self::Texts, _) => wrong("no list of texts"),
            (Self::Number, _) => wrong("no whole number"),
        }
    }
}
