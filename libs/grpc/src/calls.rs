//! Counting calls: how many of each method ended with which code, and how long they took.
//!
//! A method has a place of its own once a call of it was answered by somebody who knows it: what a
//! client makes up is counted as `unknown`. A call costs one look into a table, two additions and a place
//! among those under way, which are written down when somebody wants to know what hangs. What is no gRPC
//! is no call.
//!
//! Two tables: of what a process answers, told by our names, and of what clients of the node call, told
//! by containerd's. Calls between our own processes are in the first alone.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use berth_metrics::{Names, Samples, Times};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};
use tracing::Span;

use crate::traces;

/// The most methods that are told apart.
const MOST: usize = 512;
const UNKNOWN: &str = "unknown";
/// The longest method that is written down.
const LONGEST: usize = 256;
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
/// The same as Go's programs write them.
const GO_CODES: [&str; CODES.len()] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

static ANSWERED: Table = Table::new();
static OF_CLIENTS: Table = Table::new();

/// Methods that were called.
#[derive(Debug)]
struct Table {
    methods: RwLock<Option<HashMap<Box<str>, Arc<Method>>>>,
    under_way: Mutex<UnderWay>,
}

/// Calls that have not ended, in the order in which they came.
#[derive(Debug)]
struct UnderWay {
    next: u64,
    calls: BTreeMap<u64, (Option<PathAndQuery>, Instant)>,
}

/// What is counted of one method.
#[derive(Debug, Default)]
struct Method {
    codes: [AtomicU64; CODES.len()],
    times: Times,
}

impl Method {
    fn count(&self, code: Code, took: Duration) {
        if let Some(code) = self.codes.get(code as usize) {
            code.fetch_add(1, Ordering::Relaxed);
        }
        self.times.count(took);
    }

    /// Those that calls ended with, and how often.
    fn codes(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.codes.iter().map(|count| count.load(Ordering::Relaxed));
        counts.enumerate().filter(|(_, count)| *count > 0)
    }
}

impl Table {
    const fn new() -> Self {
        let under_way = Mutex::new(UnderWay { next: 0, calls: BTreeMap::new() });
        Self { methods: RwLock::new(None), under_way }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line for each call under way: its method, and how long it runs.
    fn describe(&self, what: &str) -> String {
        let under_way = self.under_way();
        let mut text = format!("{} {what}\n", under_way.calls.len());
        for (path, began) in under_way.calls.values() {
            let path = path.as_ref().map(PathAndQuery::path);
            let path = path.filter(|path| path.len() <= LONGEST).unwrap_or(UNKNOWN);
            text.push_str(&format!("{path}: runs {:.1?}\n", began.elapsed()));
        }
        text
    }

    /// The place of a method; that of those that nobody knows if it has none and `known` is not set.
    fn method(&self, path: &str, known: bool) -> Arc<Method> {
        let there = self.methods.read().unwrap_or_else(PoisonError::into_inner);
        let found = there.as_ref().and_then(|methods| methods.get(path).cloned());
        drop(there);
        found.unwrap_or_else(|| {
            let mut there = self.methods.write().unwrap_or_else(PoisonError::into_inner);
            let methods = there.get_or_insert_default();
            let path = if known && methods.len() < MOST { path } else { UNKNOWN };
            methods.entry(path.into()).or_default().clone()
        })
    }
}

/// Tells them to whoever asks for metrics.
fn tell(samples: &mut Samples) {
    let there = ANSWERED.methods.read().unwrap_or_else(PoisonError::into_inner);
    for (path, method) in there.iter().flatten() {
        for (code, count) in method.codes() {
            let help = "Calls that ended, by method and code";
            let labels = [("method", &**path), ("code", CODES[code])];
            samples.counter("berth_grpc_calls_total", help).sample(&labels, count);
        }
        let (help, labels) = ("How long calls took, streams to their end", [("method", &**path)]);
        samples.times("berth_grpc_call_seconds", help).histogram(&labels, &method.times);
    }
    let under_way = ANSWERED.under_way().calls.len();
    samples.gauge("berth_grpc_calls_under_way", "Calls under way").sample(&[], under_way);
}

/// Those of the interface that clients know, by the names that containerd's servers have. Whether
/// a call is a stream is added by whoever knows the interface.
fn tell_as_containerd(samples: &mut Samples) {
    let there = OF_CLIENTS.methods.read().unwrap_or_else(PoisonError::into_inner);
    for (path, method) in there.iter().flatten() {
        let Some((service, name)) = path.trim_start_matches('/').split_once('/') else { continue };
        if !service.starts_with("containerd.") && !service.starts_with("grpc.") {
            continue;
        }
        let of = [("grpc_service", service), ("grpc_method", name)];
        for (code, count) in method.codes() {
            let help = "Calls that ended, by method and code";
            let labels = [("grpc_code", GO_CODES[code]), of[0], of[1]];
            samples.counter("grpc_server_handled_total", help).sample(&labels, count);
        }
        let help = "How long calls took, streams to their end";
        samples.times("grpc_server_handling_seconds", help).histogram(&of, &method.times);
    }
}

/// Counts the calls of the services that it is put around. What is counted is told with the metrics of
/// this process.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    table: &'static Table,
    traced: bool,
}

impl Calls {
    /// Those that this process answers, whoever makes them.
    #[must_use]
    pub fn answered() -> Self {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            berth_metrics::counted(Names::Ours, "calls", tell);
            berth_lifecycle::described(|| ANSWERED.describe("calls"));
        });
        Self { table: &ANSWERED, traced: true }
    }

    /// Those that clients of the node make, whoever answers them.
    #[must_use]
    pub fn of_clients() -> Self {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            berth_metrics::counted(Names::Containerds, "calls", tell_as_containerd);
            berth_lifecycle::described(|| OF_CLIENTS.describe("calls of clients"));
        });
        Self { table: &OF_CLIENTS, traced: true }
    }

    /// The same without spans: of calls that have one already.
    #[must_use]
    pub fn untraced(self) -> Self {
        Self { traced: false, ..self }
    }

    /// Has `call` answer a request, and counts it.
    pub fn count<B, F>(self, request: Request<B>, call: impl FnOnce(Request<B>) -> F) -> Call<F> {
        let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_call = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
        let running = is_call.then(|| {
            let span = if self.traced { traces::begin(&request) } else { Span::none() };
            Running::begin(self.table, request.uri().path_and_query(), span)
        });
        // Spans that are made for it are below that of the call.
        let call = match &running {
            Some(Running { span, .. }) => span.in_scope(|| call(request)),
            None => call(request),
        };
        Call { running, call }
    }
}

impl<S> Layer<S> for Calls {
    type Service = Counting<S>;

    fn layer(&self, services: S) -> Counting<S> {
        Counting(*self, services)
    }
}

/// Services with [`Calls`] around them.
#[derive(Clone, Debug)]
pub struct Counting<S>(Calls, S);

impl<S, B, A> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<A>>,
{
    type Response = Response<Counted<A>>;
    type Error = S::Error;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.1.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.count(request, |request| self.1.call(request))
    }
}

/// A call that has not ended.
#[derive(Debug)]
struct Running {
    table: &'static Table,
    number: u64,
    path: Option<PathAndQuery>,
    began: Instant,
    /// As far as it is known.
    code: Option<Code>,
    known: bool,
    /// Ends with the call. None when nobody logs, or it has another.
    span: Span,
}

impl Running {
    fn begin(table: &'static Table, path: Option<&PathAndQuery>, span: Span) -> Self {
        let (path, began) = (path.cloned(), Instant::now());
        let mut under_way = table.under_way();
        let number = under_way.next;
        under_way.next += 1;
        under_way.calls.insert(number, (path.clone(), began));
        drop(under_way);
        Self { table, number, path, began, code: None, known: false, span }
    }

    fn look(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

/// Codes that whoever does not know a method may answer, or who was not even asked.
fn says_nothing(code: Code) -> bool {
    use Code::{Cancelled, DeadlineExceeded, Unavailable, Unimplemented};
    matches!(code, Unimplemented | Unavailable | DeadlineExceeded | Cancelled)
}

/// Also for one that nobody waits for any more.
impl Drop for Running {
    fn drop(&mut self) {
        self.table.under_way().calls.remove(&self.number);
        let path = self.path.as_ref().map_or(UNKNOWN, PathAndQuery::path);
        let code = self.code.unwrap_or(Code::Cancelled);
        self.table.method(path, self.known).count(code, self.began.elapsed());
        traces::end(&self.span, code);
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
        let entered = this.running.as_ref().map(|running| running.span.enter());
        let polled = this.call.poll(cx);
        drop(entered);
        let response = ready!(polled)?;
        let mut running = this.running.take();
        if let Some(running) = &mut running {
            running.look(response.headers());
            running.known = !running.code.is_some_and(says_nothing);
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
        let entered = this.running.as_ref().map(|running| running.span.enter());
        let polled = this.body.poll_frame(cx);
        drop(entered);
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
