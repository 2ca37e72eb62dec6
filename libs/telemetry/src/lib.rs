//! Logs to standard error, spans to a collector if one is configured.
//!
//! Owns: how a log line looks, what is let through, and the exporter. Must not know: what is
//! logged. A process calls [`init`] once, and [`Guard::close`] when it has drained.

mod journal;
mod reload;
mod sampler;
mod spans;
mod text;

use std::io::IsTerminal;

use berth_config::{Log, LogFormat, Telemetry};
use berth_errors::{Code, Coded};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

pub use reload::Reload;

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
    provider: Option<SdkTracerProvider>,
    levels: Levels,
}

/// What is let through to the log, which can be changed while the process runs.
#[derive(Clone, Debug)]
pub struct Levels(tracing_subscriber::reload::Handle<Targets, Registry>);

impl Levels {
    /// Lets through what `level` says from now on.
    ///
    /// # Errors
    /// [`Error::Level`] for one that is none.
    pub fn set(&self, level: &str) -> Result<(), Error> {
        // It fails only when the subscriber is gone, and then nothing is logged.
        let _ = self.0.reload(targets(level)?);
        Ok(())
    }
}

fn targets(level: &str) -> Result<Targets, Error> {
    level.parse().map_err(|source| Error::Level { level: level.to_owned(), source })
}

/// Sets up logging, and tracing if it is configured, for the whole process. Must be called inside
/// the runtime when spans are exported.
///
/// # Errors
/// [`Error`] names the key of the configuration.
pub fn init(service: &'static str, log: &Log, telemetry: &Telemetry) -> Result<Guard, Error> {
    let (targets, levels) = tracing_subscriber::reload::Layer::new(targets(&log.level)?);
    let provider = spans::provider(service, telemetry)?;
    let spans = provider.as_ref().map(|provider| {
        let tracer: SdkTracer = provider.tracer(service);
        // The exporter's own calls would be traced and exported without end.
        let own = Targets::new()
            .with_default(tracing::Level::DEBUG)
            .with_target("h2", tracing::Level::ERROR)
            .with_target("hyper", tracing::Level::ERROR)
            .with_target("tonic", tracing::Level::ERROR)
            .with_target("tower", tracing::Level::ERROR);
        berth_trace::install(Box::new(spans::Tracer(tracer.clone())));
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(own)
    });
    tracing_subscriber::registry()
        .with(lines(service, log.format).with_filter(targets))
        .with(spans)
        .try_init()?;
    Ok(Guard { provider, levels: Levels(levels) })
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
    /// What is let through to the log.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }

    /// Sends the last spans. A collector that does not take them is no failure of the process.
    pub async fn close(self) {
        if let Err(error) = self.finish().await {
            tracing::warn!(error, "the last spans were not sent");
        }
    }

    /// Sends the last spans. Bounded by the export's own deadline.
    ///
    /// # Errors
    /// What the exporter said, as text for the log: nobody can do more about it.
    pub async fn finish(mut self) -> Result<(), String> {
        let Some(provider) = self.provider.take() else { return Ok(()) };
        // The exporter's calls run on this runtime: waiting must not block its thread.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}
