//! One connection to one member. Certificates and passwords are read when it is made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_lifecycle::blocking;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use super::Settings;
use super::faults::Fault;

/// How long a connection may take, TLS included.
const CONNECTS: Duration = Duration::from_secs(2);
/// How often a connection is tried that has something open. etcd closes those that are tried more often than
/// every five seconds, and those that are tried while nothing is open.
const TRIED: Duration = Duration::from_secs(10);
/// How long the answer to that may take. It is for members that are gone without a word: one that has much to do
/// answers late, and a connection that is cut takes all with it that waits on it.
const ALIVE: Duration = Duration::from_secs(20);
/// The largest file of certificates, keys or passwords that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A client of this member alone, authenticated if there is a user.
pub(super) async fn connect(settings: &Settings, endpoint: &str) -> Result<Client, Fault> {
    let read = settings.clone();
    let tls = endpoint.starts_with("https://").then(|| endpoint.to_owned());
    let work = blocking("read etcd's certificates", move || {
        let tls = tls.map(|endpoint| tls_options(&read, &endpoint)).transpose()?;
        Ok::<_, Fault>((tls, password(&read)?))
    });
    let (tls, password) = work.await.map_err(|error| Fault::Odd(error.to_string()))??;
    let mut options = ConnectOptions::new()
        .with_require_leader(true)
        .with_connect_timeout(CONNECTS)
        .with_keep_alive(TRIED, ALIVE)
        .with_keep_alive_while_idle(false)
        .with_auto_token_refresh(true);
    if let Some(tls) = tls {
        options = options.with_tls(tls);
    }
    let Some((user, password)) = settings.user.as_ref().zip(password) else {
        return Ok(Client::connect([endpoint], Some(options)).await?);
    };
    let known = options.clone().with_user(user, password);
    match Client::connect([endpoint], Some(known)).await.map_err(Fault::from) {
        // Until they are enabled it does not ask who we are. Then it will refuse this connection.
        Err(Fault::NoUsers) => Ok(Client::connect([endpoint], Some(options)).await?),
        other => other,
    }
}

fn tls_options(settings: &Settings, endpoint: &str) -> Result<TlsOptions, Fault> {
    let mut tls = match &settings.ca {
        Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => TlsOptions::new().with_native_roots(),
    };
    if let Some((cert, key)) = settings.cert.as_ref().zip(settings.key.as_ref()) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    if let Some(name) = &settings.server_name {
        tls = tls.domain_name(name);
    } else if let Some(address) = bracketed(endpoint) {
        // The library would look for a name with brackets in the certificate.
        tls = tls.domain_name(address);
    }
    Ok(tls)
}

/// The certificate that etcd is shown, if its time is over by this machine's clock. Members end a connection for
/// that with a word or without.
pub(super) async fn run_out(settings: &Settings) -> Option<PathBuf> {
    let file = settings.cert.clone()?;
    let look = move || read(&file).is_ok_and(|pem| berth_tls::has_run_out(&pem)).then_some(file);
    blocking("look at etcd's certificate", look).await.ok()?
}

/// The address of `https://[ADDRESS]:PORT`.
fn bracketed(endpoint: &str) -> Option<&str> {
    Some(endpoint.split_once("://[")?.1.split_once(']')?.0)
}

fn password(settings: &Settings) -> Result<Option<String>, Fault> {
    let Some(file) = &settings.password_file else {
        return Ok(settings.user.as_ref().map(|_| String::new()));
    };
    let wrong = |reason: &str| Fault::Certificate {
        what: format!("password file {}", file.display()),
        reason: reason.into(),
    };
    let text = String::from_utf8(read(file)?).map_err(|_| wrong("it is no text"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(wrong("it is empty")) } else { Ok(Some(text.to_owned())) }
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    use std::io::Read;
    let wrong = |reason: String| Fault::Certificate { what: "etcd's client".into(), reason };
    let open = fs_err::File::open(file).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    open.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(format!("{} has more than {MAX_FILE} bytes", file.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_lines() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let settings = |file: &Path| Settings {
            user: Some("u".into()),
            password_file: Some(file.to_owned()),
            ..Settings::default()
        };
        for (text, meant) in [("a b", "a b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n")] {
            fs_err::write(&file, text).unwrap();
            assert_eq!(password(&settings(&file)).unwrap().as_deref(), Some(meant));
        }
        for text in [&b"\n"[..], b"", b"\xff"] {
            fs_err::write(&file, text).unwrap();
            assert!(password(&settings(&file)).is_err());
        }
        let fault = password(&settings(&dir.path().join("none"))).unwrap_err();
        assert!(matches!(fault, Fault::Certificate { .. }), "{fault:?}");
    }

    #[test]
    fn addresses_of_the_sixth_version_have_brackets() {
        assert_eq!(bracketed("https://[::1]:2379"), Some("::1"));
        assert_eq!(bracketed("https://a:2379"), None);
    }
}
