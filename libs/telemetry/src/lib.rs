//! Logs to standard error, spans to a collector if one is configured.
//!
//! Owns: how a log line looks, what is let through, and the exporter. Must not know: what is
//! logged. A process calls [`init`] once, and [`Guard::close`] when it has drained.

mod journal;
mod keeping;
mod reload;
mod sampler;
mod spans;
mod text;

use std::io::IsTerminal;

use berth_config::{Loaded, Log, LogFormat, Telemetry};
use berth_errors::{Code, Coded};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

pub use reload::Reload;

use crate::keeping::{Spans, Wanted};

/// Says what of containerd's file, and of the variables for the export of spans, has no effect. One process of a node does so at its start: berthd, and
/// where there is none the gateway.
pub fn remark(loaded: &Loaded) {
    for remark in &loaded.remarks {
        tracing::warn!(target: "berth_config", "{remark}");
    }
    let sends = spans::endpoint(&loaded.config.telemetry, spans::variable).is_some();
    if let Some(protocol) = spans::other_protocol(spans::variable).filter(|_| sends) {
        tracing::warn!(protocol, "spans go by gRPC, whatever OTEL_EXPORTER_OTLP_PROTOCOL says");
    }
}

/// Telemetry that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is none.
    #[error(
        "log.level is {level:?}: {source}; write error, warn, info, debug, trace or \"info,h2=warn\""
    )]
    Level {
        /// As configured.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter could not be made.
    #[error("send spans to telemetry.otlp_endpoint {endpoint:?}: {source}")]
    Exporter {
        /// As configured.
        endpoint: String,
        /// What is wrong with it.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The share of traces is none.
    #[error("telemetry.sampling_ratio is {0}; write a number from 0 to 1")]
    Ratio(f64),
    /// Another subscriber is in place.
    #[error("set up logging a second time: {0}")]
    Twice(#[from] TryInitError),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Level { .. } | Error::Exporter { .. } | Error::Ratio(_) => Code::InvalidArgument,
            Error::Twice(_) => Code::Internal,
        }
    }
}

/// What must be flushed before the process ends.
#[derive(Debug)]
#[must_use = "call close when the process has drained"]
pub struct Guard {
    live: Live,
}

/// What can be changed while the process runs. Clones are the same.
#[derive(Clone, Debug)]
pub struct Live {
    levels: tracing_subscriber::reload::Handle<Targets, Registry>,
    spans: Spans,
}

impl Live {
    /// Lets through to the log what `level` says from now on.
    ///
    /// # Errors
    /// [`Error::Level`] for one that is none.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        // It fails only when the subscriber is gone, and then nothing is logged.
        let _ = self.levels.reload(targets(level)?);
        Ok(())
    }

    /// Keeps and sends the spans that `telemetry` says from now on. What an earlier collector has not got
    /// yet is sent to it meanwhile. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`Error::Exporter`] and [`Error::Ratio`]; what was in force stays.
    pub fn set_spans(&self, telemetry: &Telemetry) -> Result<(), Error> {
        self.spans.set(telemetry)
    }
}

fn targets(level: &str) -> Result<Targets, Error> {
    let targets: Targets =
        level.parse().map_err(|source| Error::Level { level: level.to_owned(), source })?;
    // Where only some targets are logged, their lines have the ids of calls all the same.
    let nothing = targets.iter().chain(targets.default_level().map(|of| ("", of)));
    let nothing = nothing.map(|(_, level)| level).all(|level| level == LevelFilter::OFF);
    Ok(if nothing { targets } else { targets.with_target(berth_trace::CALLS, Level::ERROR) })
}

/// Sets up logging, and tracing if it is configured, for the whole process. Must be called inside
/// the runtime.
///
/// # Errors
/// [`Error`] names the key of the configuration.
pub fn init(service: &'static str, log: &Log, telemetry: &Telemetry) -> Result<Guard, Error> {
    let (targets, levels) = tracing_subscriber::reload::Layer::new(targets(&log.level)?);
    let spans = Spans::new(service);
    let kept = tracing_opentelemetry::layer().with_tracer(spans.tracer());
    tracing_subscriber::registry()
        .with(lines(service, log.format).with_filter(targets))
        .with(kept.with_filter(Wanted::new()))
        .try_init()?;
    // What is to be said of variables is logged.
    spans.set(telemetry)?;
    Ok(Guard { live: Live { levels, spans } })
}

fn lines<S>(service: &'static str, format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    if format == LogFormat::Text
        && let Some(journal) = journal::of_stderr(service)
    {
        return Box::new(journal);
    }
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let lines = lines.fmt_fields(text::Fields);
            Box::new(lines.with_ansi(std::io::stderr().is_terminal()))
        }
        LogFormat::Json => Box::new(lines.json().with_ansi(false)),
    }
}

impl Guard {
    /// What can be changed.
    #[must_use]
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Sends the last spans. A collector that does not take them is no failure of the process.
    pub async fn close(self) {
        if let Err(error) = self.finish().await {
            tracing::warn!(error, "the last spans were not sent");
        }
    }

    /// Sends the last spans, for at most five seconds.
    ///
    /// # Errors
    /// What the exporter said, as text for the log: nobody can do more about it.
    pub async fn finish(self) -> Result<(), String> {
        self.live.spans.finish().await
    }
}
