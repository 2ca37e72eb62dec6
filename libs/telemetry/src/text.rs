//! Fields in a line for people: those that are for collectors alone are left out.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};

/// Whether a field is for collectors: OpenTelemetry's own, and what its conventions say of calls.
pub(crate) fn is_for_collectors(name: &str) -> bool {
    ["otel.", "rpc.", "http.", "server.", "url."].iter().any(|start| name.starts_with(start))
}

/// `message key=value`.
#[derive(Debug)]
pub(crate) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, between: "", result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    between: &'static str,
    result: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let (name, between) = (field.name(), self.between);
        if self.result.is_err() || is_for_collectors(name) {
            return;
        }
        self.result = match name {
            "message" => write!(self.writer, "{between}{value:?}"),
            name => write!(self.writer, "{between}{name}={value:?}"),
        };
        self.between = " ";
    }
}
