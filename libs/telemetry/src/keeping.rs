//! Whether spans are kept and where they go, both of which may change while the process runs.
//!
//! One provider and one layer are there from the start, with nothing behind them as long as no collector is
//! configured: [`Wanted`] then wants no span and no event, which each callsite remembers, so that none is
//! made or looked at for the layer. A change puts another exporter behind, and sends what the earlier one
//! still has, on a thread beside and for at most [`FLUSH`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use berth_config::Telemetry;
use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, callsite};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{self, Filter};

use crate::Error;
use crate::sampler::{self, Sampling};
use crate::spans::{self, Tracer, endpoint, variable};

/// How long the last spans of an exporter may take.
const FLUSH: Duration = Duration::from_secs(5);

/// The spans of this process. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Spans(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    resource: Resource,
    way: Way,
    sampling: Sampling,
    state: Mutex<State>,
}

/// What is in force.
#[derive(Debug, Default)]
struct State {
    endpoint: Option<String>,
    ratio: Option<f64>,
    failing: Arc<AtomicBool>,
    /// What sends the last spans of earlier exporters.
    flushing: Vec<JoinHandle<()>>,
}

impl Spans {
    /// Of a process that keeps none yet.
    pub(crate) fn new(service: &'static str) -> Self {
        let (way, sampling) = (Way::default(), Sampling::default());
        let resource = spans::resource(service);
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampling.clone())
            .with_span_processor(way.clone())
            .with_resource(resource.clone())
            .build();
        let tracer = provider.tracer(service);
        berth_trace::install(Box::new(Tracer(tracer.clone())));
        let state = Mutex::default();
        Self(Arc::new(Shared { provider, tracer, resource, way, sampling, state }))
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer.clone()
    }

    /// Keeps what `telemetry` says from now on, and sends what was kept to an earlier collector. Must be
    /// called inside the runtime. An error changes nothing.
    pub(crate) fn set(&self, telemetry: &Telemetry) -> Result<(), Error> {
        if let Some(ratio) = telemetry.sampling_ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Err(Error::Ratio(ratio));
        }
        let shared = &*self.0;
        let mut state = shared.state();
        let endpoint = endpoint(telemetry, variable);
        let moves = endpoint != state.endpoint;
        let made = match endpoint.as_deref().filter(|_| moves) {
            Some(endpoint) => Some(spans::processor(endpoint, &shared.resource)?),
            None => None,
        };
        // Variables that say nothing are told of when there are spans to choose from.
        if endpoint.is_some() && (moves || telemetry.sampling_ratio != state.ratio) {
            shared.sampling.set(sampler::of(telemetry.sampling_ratio, variable));
        }
        state.ratio = telemetry.sampling_ratio;
        if !moves {
            return Ok(());
        }
        let (next, failing) = made.unzip();
        berth_trace::keep(next.is_some());
        callsite::rebuild_interest_cache();
        if let Some(earlier) = shared.way.lead(next) {
            let to = state.endpoint.clone();
            state.flushing.retain(|flushing| !flushing.is_finished());
            state.flushing.push(tokio::task::spawn_blocking(move || {
                if let Err(error) = earlier.shutdown_with_timeout(FLUSH) {
                    tracing::warn!(%error, endpoint = to, "the last spans were not sent");
                }
            }));
        }
        state.endpoint = endpoint;
        state.failing = failing.unwrap_or_default();
        Ok(())
    }

    /// Sends the last spans, also those of earlier exporters.
    ///
    /// # Errors
    /// What the exporter said.
    pub(crate) async fn finish(&self) -> Result<(), String> {
        let (flushing, failing, was_on) = {
            let mut state = self.0.state();
            let on = state.endpoint.take().is_some();
            (std::mem::take(&mut state.flushing), state.failing.clone(), on)
        };
        let provider = self.0.provider.clone();
        // The exporter's calls run on this runtime: waiting must not block its thread.
        let last = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH));
        for earlier in flushing {
            let _ = earlier.await;
        }
        match last.await {
            Ok(Ok(())) if was_on && failing.load(Ordering::Relaxed) => {
                Err("the collector takes none".to_owned())
            }
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole before what could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where spans go when they have ended, at this time. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Way(Arc<RwLock<Option<BatchSpanProcessor>>>);

impl Way {
    /// Leads there from now on; answers where it led before.
    fn lead(&self, next: Option<BatchSpanProcessor>) -> Option<BatchSpanProcessor> {
        let mut to = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *to, next)
    }
}

impl SpanProcessor for Way {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(to) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            to.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        let to = self.0.read().unwrap_or_else(PoisonError::into_inner);
        to.as_ref().map_or(Ok(()), SpanProcessor::force_flush)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.lead(None).map_or(Ok(()), |to| to.shutdown_with_timeout(timeout))
    }
}

/// What becomes spans, and events of spans. Nothing as long as no spans are kept.
#[derive(Debug)]
pub(crate) struct Wanted(Targets);

impl Wanted {
    pub(crate) fn new() -> Self {
        // The exporter's own calls would be traced and exported without end.
        let targets = Targets::new().with_default(Level::DEBUG);
        let own = ["h2", "hyper", "tonic", "tower"];
        Self(own.into_iter().fold(targets, |all, target| all.with_target(target, Level::ERROR)))
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        // Spans of a finer level are for those who read the log.
        let is_fine = metadata.is_span() && *metadata.level() > Level::INFO;
        berth_trace::enabled()
            && !is_fine
            && self.0.would_enable(metadata.target(), metadata.level())
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &layer::Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if berth_trace::enabled() { LevelFilter::DEBUG } else { LevelFilter::OFF })
    }
}
