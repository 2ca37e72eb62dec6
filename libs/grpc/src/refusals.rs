//! Bytes that are no message get INVALID_ARGUMENT, with the name of the method that they were sent to.
//!
//! tonic answers INTERNAL to them, which would say that something is wrong here. A call that ends
//! well, or with any other status, passes as it is. What another process answered is not to come through
//! here in the same words when it is no message: callers tell it by [`crate::told`].

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// How the generated code begins to say so.
pub(crate) const UNDECODABLE: &str = "failed to decode Protobuf message";

/// Puts the code right around the services of a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusals;

/// Services with [`Refusals`] around them.
#[derive(Clone, Debug)]
pub struct Refusing<S>(S);

impl<S> Layer<S> for Refusals {
    type Service = Refusing<S>;

    fn layer(&self, services: S) -> Refusing<S> {
        Refusing(services)
    }
}

impl<S, B> Service<Request<B>> for Refusing<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Refusable>;
    type Error = S::Error;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.uri().path_and_query().cloned();
        Call { call: self.0.call(request), method }
    }
}

pin_project! {
    /// A call under way.
    #[derive(Debug)]
    pub struct Call<F> {
        #[pin]
        call: F,
        method: Option<PathAndQuery>,
    }
}

impl<F, E> Future for Call<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Refusable>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.call.poll(cx))?;
        let method = this.method.take();
        // A call that is refused as a whole has its status there.
        put_right(response.headers_mut(), method.as_ref());
        Poll::Ready(Ok(response.map(|body| Refusable { body, method })))
    }
}

/// The body of an answer. A stream that is refused in its midst has its status at the end.
#[derive(Debug)]
pub struct Refusable {
    body: Body,
    method: Option<PathAndQuery>,
}

impl http_body::Body for Refusable {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            put_right(trailers, self.method.as_ref());
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

fn put_right(headers: &mut HeaderMap, method: Option<&PathAndQuery>) {
    const STATUS: &str = "grpc-status";
    let internal = headers.get(STATUS).is_some_and(|code| code == "13");
    let told = internal.then(|| Status::from_header_map(headers)).flatten();
    let Some(told) = told.filter(|told| told.message().starts_with(UNDECODABLE)) else { return };
    let method = method.map_or("", |method| method.path().trim_start_matches('/'));
    let text = format!("{method}: {}: invalid argument", told.message());
    if Status::new(Code::InvalidArgument, text).add_header(headers).is_err() {
        // Only metadata of its own could be no header.
        tracing::debug!(method, "refuse what is no message");
    }
}
