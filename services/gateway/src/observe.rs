//! The address for those who watch over the node: metrics and health, over plain HTTP.
//!
//! What the services tell is fetched from their own sockets when somebody asks. One that does not
//! answer in time is told to be down, and holds up nobody.

mod theirs;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_errors::chain;
use berth_lifecycle::Tasks;
use bytes::Bytes;
use futures::future::join_all;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::Service;

use crate::Error;
use crate::api::version;
use crate::door;
use crate::upstreams::{Upstream, Upstreams};

const METRICS: &str = "http://localhost/metrics";
const THEIRS: &str = "http://localhost/v1/metrics";
const HEALTH: &str = "http://localhost/healthz";
/// How long a service may take to answer; it knows what it has in less.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that one may tell.
const MOST: usize = 16 << 20;
/// The most who ask at once; more wait.
const ASKERS: usize = 16;
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

    /// Answers until the tasks are told to end.
    pub async fn serve(self, tasks: Tasks) {
        let Self { listener, upstreams } = self;
        let room = Arc::new(Semaphore::new(ASKERS));
        let serve = move |stream, _| one(stream, upstreams.clone());
        door::keep(listener, room, "observer", tasks, serve).await;
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

fn told(text: String) -> Response<Full<Bytes>> {
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
async fn metrics(upstreams: &Upstreams) -> String {
    let told = join_all(upstreams.all().map(|upstream| fetch(upstream, METRICS))).await;
    let mut texts = vec![("gateway", berth_metrics::all().await)];
    for (name, told) in told {
        let mut text = format!(
            "# HELP berth_up Whether the service tells what it counts.\n# TYPE berth_up gauge\nberth_up {}\n",
            u8::from(told.is_ok())
        );
        text.push_str(&told.unwrap_or_default());
        texts.push((name, text));
    }
    berth_metrics::merge(&texts)
}

/// The same by containerd's names, as far as it is known by then.
async fn as_containerd(upstreams: &Upstreams) -> String {
    let told = join_all(upstreams.all().map(|upstream| fetch(upstream, THEIRS))).await;
    let texts = told.into_iter().filter_map(|(_, told)| told.ok());
    let own = [berth_metrics::as_containerd().await];
    theirs::told(texts.chain(own).collect(), version::INTERFACE, version::REVISION)
}

/// Whether the services answer: a line for each.
async fn ready(upstreams: &Upstreams) -> Response<Full<Bytes>> {
    let told = join_all(upstreams.all().map(|upstream| fetch(upstream, HEALTH))).await;
    let all = told.iter().all(|(_, told)| told.is_ok());
    let line = |(name, told): (&str, Result<String, String>)| match told {
        Ok(_) => format!("{name}: ok\n"),
        Err(reason) => format!("{name}: {reason}\n"),
    };
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    say(status, told.into_iter().map(line).collect())
}

/// What a service says there, or why it does not.
async fn fetch(
    upstream: &Upstream,
    address: &'static str,
) -> (&'static str, Result<String, String>) {
    let name = upstream.name().strip_prefix("berth-").unwrap_or(upstream.name());
    let mut channel = upstream.calls().clone();
    let asked = async {
        let mut request = Request::new(tonic::body::Body::empty());
        *request.uri_mut() = http::Uri::from_static(address);
        let answer = channel.call(request).await.map_err(|status| status.message().to_owned())?;
        let whole = Limited::new(answer.into_body(), MOST).collect().await;
        let whole = whole.map_err(|error| error.to_string())?.to_bytes();
        String::from_utf8(whole.into()).map_err(|error| error.to_string())
    };
    let told = tokio::time::timeout(PATIENCE, asked).await;
    (name, told.unwrap_or_else(|_| Err(format!("does not answer within {PATIENCE:?}"))))
}
