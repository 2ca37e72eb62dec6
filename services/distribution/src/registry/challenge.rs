//! What a registry asks for: the `WWW-Authenticate` header.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One way to authenticate that a registry offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user's name and password.
    Basic,
    /// A token from another address.
    Bearer {
        /// Where tokens are given.
        realm: String,
        /// For whom they are.
        service: Option<String>,
        /// What they must allow.
        scopes: Vec<String>,
    },
}

/// The challenges of an answer, tokens first.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut found: Vec<_> = values.flat_map(parse).collect();
    found.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
    found
}

/// `scheme key="value", key=value, scheme …`. What is not understood is passed over.
fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let word_end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        rest = match after.strip_prefix('=') {
            Some(after) => {
                let (value, after) = value(after);
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                after
            }
            None => {
                if !word.is_empty() {
                    found.push((word.to_ascii_lowercase(), Vec::new()));
                }
                after
            }
        };
        rest = rest.trim_start_matches([' ', ',']);
    }
    found.into_iter().filter_map(|(scheme, parameters)| challenge(&scheme, parameters)).collect()
}

/// A quoted string or a token, and what comes after it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            c => {
                escaped = false;
                value.push(c);
            }
        }
    }
    (value, "")
}

fn challenge(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    if scheme == "basic" {
        return Some(Challenge::Basic);
    }
    if scheme != "bearer" {
        return None;
    }
    let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, v)| v.clone());
    let scopes = get("scope").unwrap_or_default();
    Some(Challenge::Bearer {
        realm: get("realm")?,
        service: get("service"),
        scopes: scopes.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push""#;
        let bearer = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scopes: vec!["repository:library/x:pull,push".into()],
        };
        assert_eq!(parse(hub), std::slice::from_ref(&bearer));
        assert_eq!(parse(r#"Basic realm="a \"b\", c""#), [Challenge::Basic]);
        let both = format!("Basic realm=x, {hub}");
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, both.parse().unwrap());
        assert_eq!(challenges(&headers), [bearer, Challenge::Basic]);
    }

    #[test]
    fn passes_over_nonsense() {
        for text in
            ["", ",,,", "Negotiate", "Bearer service=x", "realm=\"open", "=", "Bearer realm"]
        {
            assert_eq!(parse(text), [], "{text}");
        }
    }
}
