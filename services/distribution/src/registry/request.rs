//! One request to one host: address, headers, authentication, repetition.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;

use super::Error;
use super::auth::Asked;
use super::repository::{Host, Repository};
use super::retry::is_busy;

/// The most of an error's body that is looked at.
const MAX_ERROR_BODY: u64 = 16 << 10;

/// A request that may be built several times.
pub(super) struct Call<'a> {
    pub(super) host: &'a Host,
    /// What is being done, for messages: `pull docker.io/library/x:1`.
    pub(super) step: &'a str,
    pub(super) method: Method,
    pub(super) url: Url,
    /// What the token must allow.
    pub(super) scope: String,
    /// Whether it may be sent again after it was sent once.
    pub(super) repeat: bool,
    /// How long the host may take to answer; a body that is sent takes its time.
    pub(super) deadline: Duration,
}

impl Repository {
    /// The address of something in the repository at this host.
    pub(super) fn url(&self, host: &Host, path: &str, step: &str) -> Result<Url, Error> {
        let endpoint = &host.endpoint;
        let repository = self.reference.repository();
        let text =
            format!("{}://{}{}/{repository}/{path}", endpoint.scheme, endpoint.host, endpoint.path);
        let mut url = Url::parse(&text).map_err(|e| Error::Protocol {
            step: step.to_owned(),
            host: endpoint.host.clone(),
            reason: format!("{text:?} is no address: {e}"),
        })?;
        if let Some(registry) = &endpoint.mirror_of {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// `repository:NAME:ACTIONS`.
    pub(super) fn scope(&self, actions: &str) -> String {
        format!("repository:{}:{actions}", self.reference.repository())
    }

    /// Sends a request and returns the answer, whatever its status is, once it is not "later" and
    /// not "who are you" any more. `finish` adds headers and a body.
    pub(super) async fn send(
        &self,
        call: &Call<'_>,
        finish: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let policy = &self.settings.policy;
        let (mut busy, mut broken, mut challenged) = (1, 1, false);
        let asked = Asked {
            client: &call.host.client,
            endpoint: &call.host.endpoint,
            step: call.step,
            scope: &call.scope,
        };
        loop {
            let authorization = self.authorizer.header(&asked).await?;
            let mut request = call.host.client.request(call.method.clone(), call.url.clone());
            request = request.headers(call.host.endpoint.headers.clone());
            request = request.headers(self.headers.clone());
            if let Some(value) = &authorization {
                request = request.header(AUTHORIZATION, value.clone());
            }
            let response = match self.once(call, finish(request)).await {
                Ok(response) => response,
                Err(Error::Connection { .. })
                    if call.repeat && broken < policy.connection_tries =>
                {
                    tokio::time::sleep(policy.wait(broken)).await;
                    broken += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && !challenged {
                let sent = authorization.as_ref();
                self.authorizer.challenged(&asked, response.headers(), sent).await?;
                challenged = true;
                if !call.repeat {
                    return Ok(response);
                }
            } else if status == StatusCode::UNAUTHORIZED {
                let answer = answer_of(call.step, &call.host.endpoint.host, response).await;
                return Err(asked.refused(format!("access refused: {answer}")));
            } else if is_busy(status) && call.repeat && busy < policy.busy_tries {
                let wait = policy.wait_asked(response.headers(), busy);
                tracing::debug!(%status, ?wait, step = call.step, "registry is busy");
                tokio::time::sleep(wait).await;
                busy += 1;
            } else {
                return Ok(response);
            }
        }
    }

    async fn once(&self, call: &Call<'_>, request: RequestBuilder) -> Result<Response, Error> {
        let host = &call.host.endpoint.host;
        match tokio::time::timeout(call.deadline, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Error::Connection {
                step: call.step.to_owned(),
                host: host.clone(),
                source: error.without_url(),
            }),
            Err(_) => Err(Error::Stalled {
                step: call.step.to_owned(),
                host: host.clone(),
                seconds: call.deadline.as_secs(),
            }),
        }
    }
}

/// An answer's status and the first error of its body as [`Error::Status`].
pub(super) async fn answer_of(step: &str, host: &str, response: Response) -> Error {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = response.status();
    let wait = Duration::from_secs(5);
    let body = read_bounded(response, "error", MAX_ERROR_BODY, step, host, wait).await;
    // The status is the error; a body that cannot be read only makes it less telling.
    let first = body
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Body>(&bytes).ok())
        .and_then(|body| body.errors.into_iter().next());
    let detail = first.map_or(String::new(), |item| format!(": {}: {}", item.code, item.message));
    Error::Status { step: step.to_owned(), host: host.to_owned(), status, detail }
}

/// Reads a whole body of at most `limit` bytes, none of whose pauses is longer than `idle`.
pub(super) async fn read_bounded(
    mut response: Response,
    what: &str,
    limit: u64,
    step: &str,
    host: &str,
    idle: Duration,
) -> Result<Bytes, Error> {
    let too_large = |size| Error::TooLarge { what: what.to_owned(), size, limit };
    if let Some(length) = response.content_length()
        && length > limit
    {
        return Err(too_large(length));
    }
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| {
            Error::Stalled { step: step.to_owned(), host: host.to_owned(), seconds: idle.as_secs() }
        })?;
        let chunk = chunk.map_err(|error| Error::Connection {
            step: step.to_owned(),
            host: host.to_owned(),
            source: error.without_url(),
        })?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        body.extend_from_slice(&chunk);
        if body.len() as u64 > limit {
            return Err(too_large(body.len() as u64));
        }
    }
}
