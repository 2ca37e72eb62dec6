//! Lines of the log to systemd's journal, with fields, when standard error leads there.
//!
//! The protocol is <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>: one datagram for each line. One that
//! the journal does not take goes to standard error, with its level in front as sd-daemon(3) has it.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::text::is_for_collectors;

const SOCKET: &str = "/run/systemd/journal/socket";
/// A journal that is stuck holds up a line for so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// What is sent of a value, and of a line: kernels take datagrams of about 200 KiB.
const LONGEST: usize = 16 << 10;
const MOST: usize = 96 << 10;

/// Sends lines to the journal.
pub(crate) struct Journal {
    socket: UnixDatagram,
    service: &'static str,
}

/// The journal, if standard error leads there, as systemd says in `JOURNAL_STREAM`.
pub(crate) fn of_stderr(service: &'static str) -> Option<Journal> {
    let said = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
    let stream = std::fs::File::from(stderr).metadata().ok()?;
    (said == format!("{}:{}", stream.dev(), stream.ino())).then_some(())?;
    Journal::at(Path::new(SOCKET), service).ok()
}

impl Journal {
    fn at(path: &Path, service: &'static str) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, service })
    }
}

/// The fields of a span or a line, as text.
#[derive(Default)]
struct Fields {
    message: String,
    named: Vec<(&'static str, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name if is_for_collectors(name) => {}
            name => self.named.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Fields::default();
        event.record(&mut line);
        let mut text = line.message;
        for (name, value) in &line.named {
            let _ = write!(text, " {name}={value:?}");
        }
        let priority = priority(*event.metadata().level());
        let mut datagram = Vec::new();
        for (name, value) in [
            ("PRIORITY", priority),
            ("SYSLOG_IDENTIFIER", self.service),
            ("TARGET", event.metadata().target()),
            ("MESSAGE", &text),
        ] {
            add(&mut datagram, name, value);
        }
        // The journal keeps all values of a field that comes more than once.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                fields.named.iter().for_each(|(name, value)| add(&mut datagram, &key(name), value));
            }
        }
        line.named.iter().for_each(|(name, value)| add(&mut datagram, &key(name), value));
        if self.socket.send(&datagram).is_err() {
            // Nowhere is left to say that this failed, too.
            let _ = writeln!(std::io::stderr(), "<{priority}>{text}");
        }
    }
}

/// As syslog has them.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// What the journal calls a field of ours: the trace by its own name, others with ours in front.
fn key(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    match name {
        "trace_id" => "TRACE_ID".into(),
        "span_id" => "SPAN_ID".into(),
        "id" => "BERTH_CONTAINER_ID".into(),
        name => format!("BERTH_{}", name.chars().map(fits).take(58).collect::<String>()),
    }
}

/// A field in the form that has room for any value; none if the line is full.
fn add(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value.as_bytes()[..value.len().min(LONGEST)];
    if datagram.len() + name.len() + value.len() > MOST {
        return;
    }
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value);
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn read(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !bytes.is_empty() {
            let at = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let (name, rest) = (&bytes[..at], &bytes[at + 1..]);
            let (length, rest) = rest.split_first_chunk().unwrap();
            let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.insert(text(name), text(value));
            assert_eq!(rest[0], b'\n');
            bytes = &rest[1..];
        }
        fields
    }

    #[test]
    fn a_line_arrives_with_its_level_and_the_fields_of_its_spans() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let layer = Journal::at(&path, "berth-test").unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let long = "x".repeat(MOST * 2);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "call",
                otel.name = "n",
                namespace = "default",
                id = tracing::field::Empty,
                trace_id = "0af7",
            );
            span.record("id", "box");
            span.in_scope(|| tracing::error!(error = "a\nb", "cannot\nMESSAGE=forged"));
            tracing::warn!(long, "long");
        });
        let mut bytes = vec![0; 1 << 20];
        let length = journal.recv(&mut bytes).unwrap();
        let fields = read(&bytes[..length]);
        for (name, value) in [
            ("PRIORITY", "3"),
            ("SYSLOG_IDENTIFIER", "berth-test"),
            ("MESSAGE", "cannot\nMESSAGE=forged error=\"a\\nb\""),
            ("BERTH_NAMESPACE", "default"),
            ("BERTH_CONTAINER_ID", "box"),
            ("BERTH_ERROR", "a\nb"),
            ("TRACE_ID", "0af7"),
        ] {
            assert_eq!(fields.get(name).map(String::as_str), Some(value), "{fields:?}");
        }
        assert!(!fields.keys().any(|name| name.contains("OTEL")), "{fields:?}");
        let length = journal.recv(&mut bytes).unwrap();
        assert_eq!(read(&bytes[..length])["PRIORITY"], "4");
        assert!(length <= MOST + 1024, "{length}");
    }
}
