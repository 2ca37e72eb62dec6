//! One request to one host: address, headers, authentication, repetition.

use std::time::Duration;

use berth_trace::stage;
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response, Url};
use tracing::Instrument;

use super::Error;
use super::answer::{answer_of, words};
use super::asked::Asked;
use super::dump;
use super::repository::{Host, Repository};
use super::retry::is_busy;

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
        let text = format!(
            "{}://{}{}/{repository}/{path}",
            endpoint.scheme(),
            endpoint.host,
            endpoint.path
        );
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
    ///
    /// A registry may send an upload to another host: what is for the registry, credentials and
    /// configured headers, does not go there.
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
            dump: self.dump.as_deref(),
        };
        let mut url = call.url.clone();
        let own = call.host.endpoint.serves(&url);
        loop {
            let mut request = call.host.client.request(call.method.clone(), url.clone());
            let authorization = match own {
                true => self.authorizer.header(&asked).await?,
                false => None,
            };
            if own {
                request = request.headers(call.host.endpoint.headers.clone());
                request = request.headers(self.headers.clone());
            }
            if let Some(value) = &authorization {
                // In the place of one that is configured.
                request = request.headers([(AUTHORIZATION, value.clone())].into_iter().collect());
            }
            let span = stage!(
                "registry",
                otel.name = format!("{} {}", call.method, call.host.endpoint.host),
                otel.kind = "client",
                http.request.method = call.method.as_str(),
                server.address = call.host.endpoint.host,
                url.path = url.path(),
                http.response.status_code = tracing::field::Empty,
            );
            // Who is not the registry gets nothing that is not for it.
            if let Some(context) = berth_trace::context(&span).filter(|_| own) {
                request = request.header(berth_trace::TRACEPARENT, context.traceparent());
            }
            let sent = self.once(call, finish(request)).instrument(span.clone()).await;
            if let Ok(response) = &sent {
                span.record("http.response.status_code", response.status().as_u16());
            }
            drop(span);
            let response = match sent {
                Ok(response) => response,
                Err(Error::Connection { source, .. })
                    if own && answers_in_clear(&url, &source) && call.host.endpoint.fall_back() =>
                {
                    // Nothing of the request was sent.
                    tracing::info!(host = call.host.endpoint.host, "host speaks no TLS");
                    let _ = url.set_scheme("http");
                    continue;
                }
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
            if !own && status == StatusCode::UNAUTHORIZED {
                return Ok(response);
            } else if status == StatusCode::UNAUTHORIZED && !challenged {
                let sent = authorization.as_ref();
                self.authorizer.challenged(&asked, response.headers(), sent).await?;
                challenged = true;
                if !call.repeat {
                    return Ok(response);
                }
            } else if status == StatusCode::UNAUTHORIZED {
                let answer = answer_of(call.step, call.method.clone(), response).await;
                return Err(asked.refused(format!(
                    "access refused ({}), log in again or as somebody who may do this",
                    words(&answer)
                )));
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
        let (host, headers) = (&call.host.endpoint.host, &call.host.endpoint.headers);
        let sent = dump::send(&call.host.client, request, headers, self.dump.as_deref());
        match tokio::time::timeout(call.deadline, sent).await {
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

/// Whether what came instead of the begin of TLS was plain HTTP, or nothing for long.
fn answers_in_clear(url: &Url, error: &reqwest::Error) -> bool {
    let handshake = error.is_timeout() || berth_errors::chain(error).contains("InvalidContentType");
    url.scheme() == "https" && error.is_connect() && handshake
}
