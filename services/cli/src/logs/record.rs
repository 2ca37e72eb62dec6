//! One record of a log: `TIME STREAM TAG TEXT`.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

/// A line, or a part of one that is too long for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub time: String,
    /// Whether it was written to standard error.
    pub is_error: bool,
    /// Whether the line ends here.
    pub whole: bool,
    /// What was written.
    pub text: Vec<u8>,
}

impl Record {
    /// Reads a line without its end; none when it is damaged.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = String::from_utf8(fields.next()?.to_vec()).ok()?;
        let is_error = match fields.next()? {
            b"stdout" => false,
            b"stderr" => true,
            _ => return None,
        };
        // Tags may be added after a colon.
        let whole = fields.next()?.split(|byte| *byte == b':').next()? == b"F";
        Some(Self { time, is_error, whole, text: fields.next().unwrap_or_default().to_vec() })
    }

    /// Its fields; what is not text in it is replaced.
    pub fn as_json(&self) -> Value {
        json!({
            "time": self.time,
            "stream": if self.is_error { "stderr" } else { "stdout" },
            "text": String::from_utf8_lossy(&self.text),
            "whole": self.whole,
        })
    }

    /// Writes it to the stream it came from, with its time before it if that is wanted.
    pub fn write(&self, with_time: bool) -> Result<()> {
        let mut bytes = Vec::with_capacity(self.text.len() + 40);
        if with_time {
            bytes.extend_from_slice(self.time.as_bytes());
            bytes.push(b' ');
        }
        bytes.extend_from_slice(&self.text);
        if self.whole {
            bytes.push(b'\n');
        }
        if self.is_error {
            std::io::stderr().write_all(&bytes)?;
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes)?;
            out.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read() {
        let record = Record::parse(b"2026-11-24T00:00:00.000000000Z stderr F a b  c").unwrap();
        assert!(record.is_error && record.whole);
        assert_eq!(record.text, b"a b  c");
        let empty = Record::parse(b"2026-11-24T00:00:00.000000000Z stdout P ").unwrap();
        assert!(!empty.whole && empty.text.is_empty());
        assert_eq!(
            record.as_json().to_string(),
            r#"{"stream":"stderr","text":"a b  c","time":"2026-11-24T00:00:00.000000000Z","whole":true}"#
        );
        assert!(Record::parse(b"nonsense").is_none() && Record::parse(b"t other F x").is_none());
    }
}
