//! Tokens: the exchange of credentials for access to a repository, by GET or by POST.

use std::time::Duration;

use berth_credentials::Credential;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;

use super::Error;
use super::answer::{answer_of, read_bounded, words};
use super::asked::Asked;
use super::credentials::header_of;
use super::dump;
use super::endpoint::Endpoint;

/// How long a token is good that does not say so (distribution's specification).
const DEFAULT_LIFETIME: u64 = 60;
/// The most that an answer with a token may measure.
const MAX_ANSWER: u64 = 1 << 20;
/// How long a token's server may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What to ask for, and as whom.
pub(super) struct Request<'a> {
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: &'a [String],
    pub(super) credential: Option<&'a Credential>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Fetches a token: the header that carries it, and how long it is good.
///
/// A password goes by GET as docker has it, an identity token by POST; where a server does not
/// know the one, the other is tried.
pub(super) async fn fetch(
    asked: &Asked<'_>,
    request: &Request<'_>,
) -> Result<(HeaderValue, Duration), Error> {
    let realm = Url::parse(request.realm)
        .map_err(|e| asked.refused(format!("its token address {:?}: {e}", request.realm)))?;
    if request.credential.is_some()
        && realm.scheme() == "http"
        && asked.endpoint.scheme() == "https"
    {
        return Err(asked.refused(format!("its token address {realm} would get secrets in clear")));
    }
    let mut post = matches!(request.credential, Some(Credential::Refresh(_)));
    let mut response = send(asked, build(asked, request, &realm, post)).await?;
    let unknown = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
    if request.credential.is_some() && unknown.contains(&response.status()) {
        post = !post;
        response = send(asked, build(asked, request, &realm, post)).await?;
    }
    let method = if post { Method::POST } else { Method::GET };
    let host = realm.host_str().unwrap_or_default();
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            let answer = answer_of(asked.step, method, response).await;
            return Err(asked.refused(format!(
                "no token from {host} ({}), log in again or correct the docker configuration",
                words(&answer)
            )));
        }
        _ => return Err(answer_of(asked.step, method, response).await),
    }
    let bytes = read_bounded(response, "token", MAX_ANSWER, asked.step, host, DEADLINE).await?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|e| asked.refused(format!("no token in the answer of {host}: {e}")))?;
    let token = answer.access_token.or(answer.token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| asked.refused(format!("no token in the answer of {host}")))?;
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| asked.refused(format!("the token of {host} has bytes not allowed")))?;
    header.set_sensitive(true);
    let lifetime = answer.expires_in.unwrap_or(DEFAULT_LIFETIME).max(DEFAULT_LIFETIME);
    Ok((header, Duration::from_secs(lifetime)))
}

fn build(asked: &Asked<'_>, request: &Request<'_>, realm: &Url, post: bool) -> RequestBuilder {
    let (scopes, mut headers) = (request.scopes, headers(asked.endpoint, realm));
    if !post {
        let mut query: Vec<_> = request.service.map(|s| ("service", s)).into_iter().collect();
        query.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
        let builder = asked.client.get(realm.clone()).query(&query);
        if request.credential.is_some() {
            headers.remove(AUTHORIZATION);
        }
        let builder = builder.headers(headers);
        return match request.credential {
            Some(Credential::Refresh(secret)) => builder.basic_auth("", Some(secret)),
            Some(credential) => match header_of(credential) {
                Some(header) => builder.header(AUTHORIZATION, header),
                None => builder,
            },
            None => builder,
        };
    }
    let scope = scopes.join(" ");
    let mut form = vec![("scope", scope.as_str()), ("client_id", "berth")];
    form.extend(request.service.map(|s| ("service", s)));
    match request.credential {
        Some(Credential::Refresh(secret)) => {
            form.extend([("grant_type", "refresh_token"), ("refresh_token", secret)]);
        }
        Some(Credential::Basic { username, secret }) => {
            form.extend([("grant_type", "password"), ("username", username), ("password", secret)]);
        }
        Some(Credential::Header(_)) | None => {}
    }
    asked.client.post(realm.clone()).headers(headers).form(&form)
}

/// The headers that are configured for the host, for the server of tokens that it names: a host that
/// gets them anyhow is trusted with them. They do not go out in clear where the host gets them over
/// TLS.
fn headers(endpoint: &Endpoint, realm: &Url) -> HeaderMap {
    match realm.scheme() == "http" && endpoint.scheme() == "https" {
        true => HeaderMap::new(),
        false => endpoint.headers.clone(),
    }
}

async fn send(asked: &Asked<'_>, request: RequestBuilder) -> Result<Response, Error> {
    let (step, host) = (format!("{}: fetch a token", asked.step), asked.endpoint.host.clone());
    let sent = dump::send(asked.client, request, &asked.endpoint.headers, asked.dump);
    match tokio::time::timeout(DEADLINE, sent).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(Error::Connection { step, host, source: error.without_url() }),
        Err(_) => Err(Error::Stalled { step, host, seconds: DEADLINE.as_secs() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::Scheme;
    use super::*;

    #[test]
    fn configured_headers_do_not_go_out_in_clear() {
        let sent = |scheme, realm: &str| {
            let mut endpoint = Endpoint::new(scheme, "r.example");
            endpoint.headers.insert("x-key", HeaderValue::from_static("secret"));
            headers(&endpoint, &realm.parse().unwrap()).len()
        };
        assert_eq!(sent(Scheme::Https, "https://tokens.example/"), 1);
        assert_eq!(sent(Scheme::Http, "http://r.example/"), 1);
        assert_eq!(sent(Scheme::Https, "http://r.example/"), 0);
    }
}
