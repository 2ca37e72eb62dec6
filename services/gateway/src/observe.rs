//! The address for those who watch over the node: metrics and health, over plain HTTP.
//!
//! What the services tell is fetched from their own sockets when somebody asks. One that does not
//! answer in time is told to be down, and holds up nobody.

mod theirs;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use berth_errors::chain;
use berth_lifecycle::{Tasks, Turns, blocking};
use bytes::Bytes;
use futures::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::Error;
use crate::api::version;
use crate::door;
use crate::upstreams::{Upstream, Upstreams};

const METRICS: &str = "http://localhost/metrics";
const THEIRS: &str = "http://localhost/v1/metrics";
const READY: &str = "http://localhost/readyz";
/// How long a service may take to answer; it knows what it has in less.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that one may tell.
const MOST: usize = 16 << 20;
/// The most who ask at once; more wait.
const ASKERS: usize = 16;
/// Texts are put together one at a time: each may take many times its size, and a processor.
static TURN: Semaphore = Semaphore::const_new(1);
/// How long one of them may take to say what is wanted.
const HEAD: Duration = Duration::from_secs(10);

/// Where they ask.
pub struct Observers {
    listener: TcpListener,
    upstreams: Upstreams,
}

impl Observers {
    /// Listens at `address`, `HOST:PORT`.
    ///
    /// # Errors
    /// [`Error::Observers`] when it is taken, or none.
    pub fn bind(address: &str, upstreams: Upstreams) -> Result<Self, Error> {
        let failed = |source| Error::Observers { address: address.to_owned(), source };
        let listener = door::tcp(address).map_err(failed)?;
        Ok(Self { listener, upstreams })
    }

    /// Where it listens, which a port of 0 leaves to the kernel.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers until it is told to stop.
    pub async fn serve(self, stop: CancellationToken, tasks: Tasks) {
        let Self { listener, upstreams } = self;
        let serve = move |stream, _| one(stream, upstreams.clone());
        door::keep(listener, Turns::new(ASKERS), "observer", stop, tasks, serve).await;
    }
}

async fn one(stream: TcpStream, upstreams: Upstreams) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .serve_connection(
            TokioIo::new(stream),
            hyper::service::service_fn(move |request| answer(upstreams.clone(), request)),
        )
        .await;
    if let Err(error) = served {
        tracing::debug!(error = chain(&error), "observer");
    }
}

async fn answer(
    upstreams: Upstreams,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET {
        return Ok(say(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n".into()));
    }
    Ok(match request.uri().path() {
        "/metrics" => told(metrics(&upstreams).await),
        "/v1/metrics" => told(as_containerd(&upstreams).await),
        // Whoever reads this was answered.
        "/healthz" => say(StatusCode::OK, "ok\n".into()),
        "/readyz" => ready(&upstreams).await,
        path => {
            let text =
                format!("there is nothing at {path}: /metrics, /v1/metrics, /healthz, /readyz\n");
            say(StatusCode::NOT_FOUND, text)
        }
    })
}

fn told(text: Result<String, Error>) -> Response<Full<Bytes>> {
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let text = format!("{}\n", chain(&error));
            return say(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
    };
    let mut response = say(StatusCode::OK, text);
    let kind = http::HeaderValue::from_static(berth_metrics::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn say(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

/// What every process of the node counts, as one text.
async fn metrics(upstreams: &Upstreams) -> Result<String, Error> {
    let told = join_all(upstreams.there().map(|upstream| fetch(upstream, METRICS))).await;
    let mut texts = vec![("gateway", berth_metrics::all().await)];
    for (name, told) in told {
        texts.push((name, with_up(told)));
    }
    in_turn(move || berth_metrics::merge(&texts)).await
}

/// The same by containerd's names, as far as it is known by then.
async fn as_containerd(upstreams: &Upstreams) -> Result<String, Error> {
    let told = join_all(upstreams.all().map(|upstream| fetch(upstream, THEIRS))).await;
    let mut texts = vec![("gateway", berth_metrics::as_containerd().await)];
    texts.extend(told.into_iter().map(|(name, told)| (name, with_up(told))));
    in_turn(move || theirs::told(&texts, version::INTERFACE, version::REVISION)).await
}

/// What a service tells, and whether it does.
fn with_up(told: Result<String, String>) -> String {
    format!(
        "# HELP berth_up Whether the service tells what it counts.\n# TYPE berth_up gauge\nberth_up {}\n{}",
        u8::from(told.is_ok()),
        told.unwrap_or_default()
    )
}

/// Does the work beside the one thread that moves the clients' bytes, when it is its turn; then to its
/// end, whether somebody still waits for it or not.
async fn in_turn(work: impl FnOnce() -> String + Send + 'static) -> Result<String, Error> {
    // Never closed.
    let turn = TURN.acquire().await;
    let done = blocking("merge metrics", move || {
        let _turn = turn;
        work()
    });
    Ok(done.await?)
}

/// Whether the services can do their work without which the node cannot do its own: a line for each that can, else one for each of its reasons.
async fn ready(upstreams: &Upstreams) -> Response<Full<Bytes>> {
    let told = join_all(upstreams.all().map(|upstream| ask(upstream, READY))).await;
    let told = told.into_iter().map(|(name, told)| (name, told.and_then(|told| is_ready(&told))));
    let (mut all, mut text) = (true, String::new());
    for (name, ready) in told {
        all &= ready.is_ok();
        let reasons = ready.err().unwrap_or_else(|| "ok".to_owned());
        text.extend(reasons.lines().map(|reason| format!("{name}: {reason}\n")));
    }
    say(if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

/// Whether a service says that it can do its work, or its reasons.
fn is_ready(told: &Told) -> Result<(), String> {
    let Told { status, headers, text } = told;
    if *status == StatusCode::SERVICE_UNAVAILABLE && !text.trim().is_empty() {
        return Err(text.clone());
    }
    match grpc_code(headers) {
        // One of the version before, which answers, and has no more to say.
        Some(tonic::Code::Unimplemented) => Ok(()),
        _ => is_told(*status, headers),
    }
}

/// The code of an answer of gRPC's.
fn grpc_code(headers: &HeaderMap) -> Option<tonic::Code> {
    headers.get("grpc-status").map(|code| tonic::Code::from_bytes(code.as_bytes()))
}

/// Whether an answer is what was asked for, and not why there is nothing.
fn is_told(status: StatusCode, headers: &HeaderMap) -> Result<(), String> {
    if status != StatusCode::OK {
        return Err(format!("answers {status}"));
    }
    let Some(code) = grpc_code(headers) else { return Ok(()) };
    let message = headers.get("grpc-message").map(|text| String::from_utf8_lossy(text.as_bytes()));
    Err(format!("answers with code {code:?}: {}", message.unwrap_or_default()))
}

/// What a service answers, whatever it is.
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// What a service says there, or why it does not.
async fn fetch(
    upstream: &Upstream,
    address: &'static str,
) -> (&'static str, Result<String, String>) {
    let (name, told) = ask(upstream, address).await;
    let is_it = |told: Told| is_told(told.status, &told.headers).map(|()| told.text);
    (name, told.and_then(is_it))
}

/// What a service answers there in time, by its name.
async fn ask(upstream: &Upstream, address: &'static str) -> (&'static str, Result<Told, String>) {
    let name = upstream.name().strip_prefix("berth-").unwrap_or(upstream.name());
    let mut channel = upstream.calls().clone();
    let asked = async {
        let mut request = Request::new(tonic::body::Body::empty());
        *request.uri_mut() = http::Uri::from_static(address);
        let answer = channel.call(request).await.map_err(|status| status.message().to_owned())?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let whole = Limited::new(answer.into_body(), MOST).collect().await;
        let whole = whole.map_err(|error| error.to_string())?.to_bytes();
        let text = String::from_utf8(whole.into()).map_err(|error| error.to_string())?;
        Ok(Told { status, headers, text })
    };
    let patience = upstream.within(PATIENCE);
    let told = tokio::time::timeout(patience, asked).await;
    (name, told.unwrap_or_else(|_| Err(format!("does not answer within {patience:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let mut headers = HeaderMap::new();
        assert_eq!(is_told(StatusCode::OK, &headers), Ok(()));
        let away = is_told(StatusCode::NOT_FOUND, &headers).unwrap_err();
        assert_eq!(away, "answers 404 Not Found");
        headers.insert("grpc-status", http::HeaderValue::from_static("12"));
        headers.insert("grpc-message", http::HeaderValue::from_static("none"));
        let none = is_told(StatusCode::OK, &headers).unwrap_err();
        assert_eq!(none, "answers with code Unimplemented: none");
    }
}
