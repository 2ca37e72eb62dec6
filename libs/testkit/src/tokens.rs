//! A server of tokens, as docker-registry's token authentication wants one beside it.

use std::io::Read;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::http::{self, Head, answer};
use crate::{Authority, Registry};

/// What the tokens are for, and who they are from.
pub(crate) const SERVICE: &str = "registry.test";
pub(crate) const ISSUER: &str = "tokens.test";

/// How a token was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// The scopes, in their order.
    pub scopes: Vec<String>,
    /// Whether somebody known asked.
    pub known: bool,
    /// The head of the request.
    pub head: String,
}

/// A running server. Everybody may pull; the one user that it knows may push too.
#[derive(Debug)]
pub struct TokenServer {
    address: String,
    authority: Authority,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct Issuer {
    key: EcdsaKeyPair,
    certificate: String,
    user: String,
    password: String,
    refresh: String,
}

impl TokenServer {
    /// Starts a server that knows this user, and this identity token of the same user.
    ///
    /// # Errors
    /// When openssl fails or no port is free.
    pub fn start(user: &str, password: &str, refresh: &str) -> Result<Self> {
        let authority = Authority::new()?;
        let pem = |file: &str| -> Result<String> {
            let text = fs_err::read_to_string(authority.path(file))?;
            Ok(text.lines().filter(|line| !line.starts_with("-----")).collect())
        };
        let der = STANDARD.decode(pem("ca.key")?)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .context("read the key that openssl made")?;
        let issuer = Arc::new(Issuer {
            key,
            certificate: pem("ca.pem")?,
            user: user.to_owned(),
            password: password.to_owned(),
            refresh: refresh.to_owned(),
        });
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let address = http::serve(move |client| drop(issuer.serve(client, &log)))?;
        Ok(Self { address, authority, asked })
    }

    /// Starts a registry that wants this server's tokens, on the storage of another.
    ///
    /// # Errors
    /// As for [`Registry::start`].
    pub fn guard(&self, storage: &Registry) -> Result<Registry> {
        let setup = Registry::setup().storage_of(storage);
        setup
            .tokens(&format!("http://{}/token", self.address), &self.authority.path("ca.pem"))
            .start()
    }

    /// The tokens asked for so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Issuer {
    fn serve(&self, mut client: TcpStream, log: &Mutex<Vec<Asked>>) -> Result<()> {
        let Some(head) = Head::read(&mut client) else { return Ok(()) };
        let mut form = String::new();
        (&mut client).take(head.length() as u64).read_to_string(&mut form)?;
        let method = head.word(0).to_owned();
        let query = head.word(1).split_once('?').map_or("", |(_, query)| query);
        let fields = decode(if method == "POST" { &form } else { query });
        let all = |name: &str| {
            fields.iter().filter(|(key, _)| key == name).map(|(_, v)| v.clone()).collect::<Vec<_>>()
        };
        let one = |name: &str| all(name).into_iter().next().unwrap_or_default();
        let scopes: Vec<String> =
            all("scope").iter().flat_map(|s| s.split(' ').map(str::to_owned)).collect();
        let basic =
            format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)));
        let given = head.header("authorization");
        let known = given == Some(&basic)
            || one("refresh_token") == self.refresh
            || (one("username"), one("password")) == (self.user.clone(), self.password.clone());
        let anonymous = given.is_none() && form.is_empty();
        let asked = Asked { method, scopes: scopes.clone(), known, head: head.0.clone() };
        log.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        if !known && !anonymous {
            let error = json!({"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]});
            return Ok(answer(&mut client, "401 Unauthorized", &error.to_string())?);
        }
        let token = self.token(&scopes, known)?;
        let body = json!({"token": token, "access_token": token, "expires_in": 300});
        Ok(answer(&mut client, "200 OK", &body.to_string())?)
    }

    /// A JWT that docker-registry takes: ES256, with the certificate of the key in it.
    fn token(&self, scopes: &[String], known: bool) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let access: Vec<Value> = scopes.iter().filter_map(|scope| access(scope, known)).collect();
        let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": self.user, "aud": SERVICE, "exp": now + 300, "nbf": now - 60,
            "iat": now, "jti": now.to_string(), "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature =
            self.key.sign(&SystemRandom::new(), signed.as_bytes()).context("sign a token")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// What of `repository:NAME:ACTIONS` is given.
fn access(scope: &str, known: bool) -> Option<Value> {
    let mut parts = scope.rsplitn(2, ':');
    let (actions, named) = (parts.next()?, parts.next()?);
    let (kind, name) = named.split_once(':')?;
    let actions: Vec<_> = actions.split(',').filter(|a| known || *a == "pull").collect();
    Some(json!({"type": kind, "name": name, "actions": actions}))
}

/// The fields of a query or a form.
fn decode(text: &str) -> Vec<(String, String)> {
    let plain = |text: &str| {
        let bytes = text.replace('+', " ").into_bytes();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.filter(|_| bytes[at] == b'%').map(|hex| u8::from_str_radix(hex, 16)) {
                Some(Ok(byte)) => {
                    out.push(byte);
                    at += 3;
                }
                _ => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (plain(key), plain(value))).collect()
}
