//! Whom a request pulls as, by containerd's rules. Secrets are shown nowhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use berth_config::Cri;

use crate::peers::transfer::Login;

/// The most that one of a request's credentials may have, in bytes.
const MAX_SECRET: usize = 64 << 10;
/// What Docker's registry is called.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What a request brings.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The registry that they are for; empty: the image's, whichever that is.
    pub server_address: String,
    /// A user.
    pub username: String,
    /// What proves it.
    pub password: String,
    /// A token that others are got for.
    pub identity_token: String,
    /// User and password in base64.
    pub auth: String,
}

/// Credentials that can be used.
pub struct Keyring {
    host: String,
    login: Option<Login>,
}

impl Credentials {
    /// What they say, if anything: of user and password, of a token, of both in base64 the first that is there.
    ///
    /// # Errors
    /// What is wrong with them, without them.
    pub fn keyring(&self) -> Result<Keyring, &'static str> {
        let all = [
            &self.server_address,
            &self.username,
            &self.password,
            &self.identity_token,
            &self.auth,
        ];
        if all.iter().any(|text| text.len() > MAX_SECRET) {
            return Err("credentials are longer than 64 KiB");
        }
        let login = if !self.username.is_empty() {
            let (username, secret) = (self.username.clone(), self.password.clone());
            Some(Login::Basic { username, secret })
        } else if !self.identity_token.is_empty() {
            Some(Login::Identity(self.identity_token.clone()))
        } else if !self.auth.is_empty() {
            Some(decoded(&self.auth)?)
        } else {
            None
        };
        Ok(Keyring { host: host(&self.server_address).to_ascii_lowercase(), login })
    }
}

impl Keyring {
    /// What a host is told. `None`: what the node's own configuration says.
    #[must_use]
    pub fn login(&self, host: &str) -> Option<Login> {
        let host = host.to_ascii_lowercase();
        let is_hub = |host: &str| HUB.contains(&host);
        let is_for =
            self.host.is_empty() || self.host == host || (is_hub(&self.host) && is_hub(&host));
        self.login.clone().filter(|_| is_for)
    }
}

/// Whom registries are told that they talk to where a request brings nothing.
pub struct Logins(Vec<Keyring>);

impl Logins {
    /// What is configured. What is wrong there is told, and left out.
    #[must_use]
    pub fn of(cri: &Cri) -> Self {
        let keyring = |(host, login): (&String, &berth_config::Login)| {
            let credentials = Credentials {
                server_address: host.clone(),
                username: login.username.clone(),
                password: login.password.reveal().to_owned(),
                identity_token: login.identity_token.reveal().to_owned(),
                auth: login.auth.reveal().to_owned(),
            };
            match credentials.keyring() {
                Ok(keyring) => Some(keyring),
                Err(why) => {
                    tracing::error!(host, why, "a login of [cri.logins] cannot be used");
                    None
                }
            }
        };
        Self(cri.logins.iter().filter(|(host, _)| !host.is_empty()).filter_map(keyring).collect())
    }

    /// What a host is told: what the request brought, whomever that is for; or else what is configured.
    #[must_use]
    pub fn or(&self, request: &Keyring, host: &str) -> Option<Login> {
        match &request.login {
            Some(_) => request.login(host),
            None => self.0.iter().find_map(|keyring| keyring.login(host)),
        }
    }
}

fn decoded(auth: &str) -> Result<Login, &'static str> {
    let text: String = auth.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(text).map_err(|_| "invalid decoded auth: it is no base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "invalid decoded auth: it is no text")?;
    let (username, secret) = text.split_once(':').ok_or("invalid decoded auth: it has no colon")?;
    let secret = secret.trim_matches('\0');
    Ok(Login::Basic { username: username.to_owned(), secret: secret.to_owned() })
}

/// The host of an address, in which a scheme may be left out.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(credentials: &Credentials, host: &str) -> Option<String> {
        Some(match credentials.keyring().ok().unwrap().login(host)? {
            Login::Basic { username, secret } => format!("{username}:{secret}"),
            Login::Identity(token) => token,
        })
    }

    #[test]
    fn the_first_that_is_there_counts() {
        let mut all = Credentials {
            username: "u".into(),
            password: "p".into(),
            identity_token: "t".into(),
            auth: STANDARD.encode("a:b:c\0\0"),
            ..Credentials::default()
        };
        assert_eq!(shown(&all, "h").as_deref(), Some("u:p"));
        all.username.clear();
        assert_eq!(shown(&all, "h").as_deref(), Some("t"));
        all.identity_token.clear();
        assert_eq!(shown(&all, "h").as_deref(), Some("a:b:c"));
        all.auth.clear();
        assert_eq!(shown(&all, "h"), None);
    }

    #[test]
    fn only_the_host_that_they_are_for_is_told() {
        for (address, host, told) in [
            ("", "any", true),
            ("https://h.x:5000/v2/", "h.x:5000", true),
            ("H.x:5000", "h.x:5000", true),
            ("https://h.x", "h.x:5000", false),
            ("https://h.x@evil.y", "h.x", false),
            ("https://evil.y/h.x", "h.x", false),
            ("https://evil.y?h.x", "h.x", false),
            ("https://index.docker.io/v1/", "registry-1.docker.io", true),
            ("https://h.x", "registry-1.docker.io", false),
        ] {
            let credentials = Credentials {
                server_address: address.into(),
                username: "u".into(),
                ..Credentials::default()
            };
            assert_eq!(shown(&credentials, host).is_some(), told, "{address} {host}");
        }
    }

    #[test]
    fn a_login_of_the_configuration_is_for_who_brings_none() {
        let mut cri = Cri::default();
        let login =
            |user: &str| berth_config::Login { username: user.into(), ..Default::default() };
        cri.logins.insert("h.x".into(), login("ours"));
        cri.logins.insert(String::new(), login("anybody's"));
        let logins = Logins::of(&cri);
        let told = |credentials: &Credentials, host: &str| match logins
            .or(&credentials.keyring().ok().unwrap(), host)?
        {
            Login::Basic { username, .. } => Some(username),
            Login::Identity(_) => None,
        };
        let none = Credentials::default();
        assert_eq!(told(&none, "h.x").as_deref(), Some("ours"));
        assert_eq!(told(&none, "other.x"), None);
        let theirs = Credentials { username: "theirs".into(), ..Credentials::default() };
        assert_eq!(told(&theirs, "h.x").as_deref(), Some("theirs"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for auth in ["c2VjcmV0", "!secret", "/////w=="] {
            let credentials = Credentials { auth: auth.into(), ..Credentials::default() };
            let said = credentials.keyring().err().unwrap();
            assert!(said.starts_with("invalid decoded auth") && !said.contains("secret"), "{said}");
        }
        let password = "x".repeat(MAX_SECRET + 1);
        assert!(Credentials { password, ..Credentials::default() }.keyring().is_err());
    }
}
