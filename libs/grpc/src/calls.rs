//! Counting calls: how many of each method ended with which code, and how long they took.
//!
//! A method has a place of its own once a call of it was answered by somebody who knows it: what a
//! client makes up is counted as `unknown`. A call costs one look into a table and two additions.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Once, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use berth_metrics::{Collector, DescriptorEncoder, MetricType, NoLabelSet, SECONDS};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};

/// The most methods that are told apart.
const MOST: usize = 512;
const UNKNOWN: &str = "unknown";
/// The codes of gRPC, in their order.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

static METHODS: RwLock<Option<HashMap<Box<str>, Arc<Method>>>> = RwLock::new(None);
static UNDER_WAY: AtomicI64 = AtomicI64::new(0);

/// What is counted of one method.
#[derive(Debug, Default)]
struct Method {
    codes: [AtomicU64; CODES.len()],
    /// How many took no longer than each of [`SECONDS`] and longer than the one before.
    times: [AtomicU64; SECONDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Method {
    fn count(&self, code: Code, took: Duration) {
        let seconds = took.as_secs_f64();
        let time = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        if let (Some(code), Some(time)) = (self.codes.get(code as usize), self.times.get(time)) {
            code.fetch_add(1, Ordering::Relaxed);
            time.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// The place of a method; that of those that nobody knows if it has none and `known` is not set.
fn method(path: &str, known: bool) -> Arc<Method> {
    let there = METHODS.read().unwrap_or_else(PoisonError::into_inner);
    let found = there.as_ref().and_then(|methods| methods.get(path).cloned());
    drop(there);
    found.unwrap_or_else(|| {
        let mut there = METHODS.write().unwrap_or_else(PoisonError::into_inner);
        let methods = there.get_or_insert_default();
        let path = if known && methods.len() < MOST { path } else { UNKNOWN };
        methods.entry(path.into()).or_default().clone()
    })
}

/// Tells them to whoever asks for metrics.
#[derive(Debug)]
struct Told;

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let there = METHODS.read().unwrap_or_else(PoisonError::into_inner);
        let methods = || there.iter().flatten();
        let help = "Calls that ended, by method and code";
        let mut family =
            encoder.encode_descriptor("grpc_calls", help, None, MetricType::Counter)?;
        for (path, method) in methods() {
            for (name, count) in CODES.iter().zip(&method.codes) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = [("method", &**path), ("code", *name)];
                    family
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        let help = "How long calls took, streams to their end";
        let mut family =
            encoder.encode_descriptor("grpc_call_seconds", help, None, MetricType::Histogram)?;
        for (path, method) in methods() {
            let bounds = SECONDS.iter().copied().chain([f64::MAX]);
            let times = method.times.iter().map(|count| count.load(Ordering::Relaxed));
            let buckets: Vec<_> = bounds.zip(times).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = Duration::from_nanos(method.nanoseconds.load(Ordering::Relaxed));
            let labels = [("method", &**path)];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                sum.as_secs_f64(),
                count,
                &buckets,
                None,
            )?;
        }
        let gauge = UNDER_WAY.load(Ordering::Relaxed);
        let help = "Calls under way";
        encoder
            .encode_descriptor("grpc_calls_under_way", help, None, MetricType::Gauge)?
            .encode_gauge(&gauge)
    }
}

/// Counts the calls of the services that it is put around.
#[derive(Clone, Copy, Debug)]
pub struct Calls(());

impl Calls {
    /// What is counted is told with the metrics of this process from now on.
    #[must_use]
    pub fn new() -> Self {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| berth_metrics::register_collector(Box::new(Told)));
        Self(())
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for Calls {
    type Service = Counting<S>;

    fn layer(&self, services: S) -> Counting<S> {
        Counting(services)
    }
}

/// Services with [`Calls`] around them.
#[derive(Clone, Debug)]
pub struct Counting<S>(S);

impl<S, B, A> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<A>>,
{
    type Response = Response<Counted<A>>;
    type Error = S::Error;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path_and_query().cloned();
        Call { running: Some(Running::begin(path)), call: self.0.call(request) }
    }
}

/// A call that has not ended.
#[derive(Debug)]
struct Running {
    path: Option<PathAndQuery>,
    began: Instant,
    /// As far as it is known.
    code: Option<Code>,
    known: bool,
}

impl Running {
    fn begin(path: Option<PathAndQuery>) -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self { path, began: Instant::now(), code: None, known: true }
    }

    fn look(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

/// Also for one that nobody waits for any more.
impl Drop for Running {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        let path = self.path.as_ref().map_or(UNKNOWN, PathAndQuery::path);
        let code = self.code.unwrap_or(Code::Cancelled);
        method(path, self.known).count(code, self.began.elapsed());
    }
}

pin_project! {
    /// A call until it is answered.
    #[derive(Debug)]
    pub struct Call<F> {
        running: Option<Running>,
        #[pin]
        call: F,
    }
}

impl<F, E, A> Future for Call<F>
where
    F: Future<Output = Result<Response<A>, E>>,
{
    type Output = Result<Response<Counted<A>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        let mut running = this.running.take();
        if let Some(running) = &mut running {
            running.look(response.headers());
            // Whoever does not know it says so at once.
            running.known = running.code != Some(Code::Unimplemented);
        }
        Poll::Ready(Ok(response.map(|body| Counted { running, body })))
    }
}

pin_project! {
    /// The body of an answer. The call ends with it.
    #[derive(Debug)]
    pub struct Counted<A> {
        running: Option<Running>,
        #[pin]
        body: A,
    }
}

impl<A: Body<Data = Bytes>> Body for Counted<A> {
    type Data = Bytes;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let (Some(trailers), Some(running)) = (frame.trailers_ref(), this.running.as_mut())
        {
            running.look(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
