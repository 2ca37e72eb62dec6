//! One host that answers for a registry, and how it is reached.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use reqwest::Url;

/// Docker's registry as references name it, and the host that answers for it.
const DOCKER: &str = "docker.io";
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Something that a host may be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Serve manifests and blobs by digest.
    Pull,
    /// Say which digest a tag has; it takes a host that also serves what it names.
    Resolve,
    /// Take blobs and manifests.
    Push,
}

impl Capability {
    /// The word for it in `hosts.toml`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Capability::Pull => "pull",
            Capability::Resolve => "resolve",
            Capability::Push => "push",
        }
    }
}

/// How TLS is set up with one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Files with certificates to trust beside the system's.
    pub ca: Vec<PathBuf>,
    /// Client certificates: a file, and the key's file unless it is in the same.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
    /// Trust any certificate. Saying no, too, says that TLS is meant.
    pub skip_verify: Option<bool>,
}

impl Tls {
    /// Whether somebody said something about it.
    pub(super) fn is_configured(&self) -> bool {
        *self != Self::default()
    }
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
    /// Over TLS, unless the host does not speak it.
    Either,
}

/// One host that answers for a registry.
#[derive(Clone, Debug)]
pub struct Endpoint {
    scheme: Scheme,
    /// The host was found to speak plain HTTP. Shared by all that ask it in one transfer.
    plain: Arc<AtomicBool>,
    /// `host[:port]`.
    pub host: String,
    /// Where the API begins, usually `/v2`.
    pub path: String,
    /// What it may be asked.
    pub capabilities: Vec<Capability>,
    /// How TLS is set up.
    pub tls: Tls,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// How long a connection may take to come about.
    pub dial_timeout: Option<Duration>,
    /// The registry's own name, when this host stands in for it.
    pub mirror_of: Option<String>,
}

impl Endpoint {
    /// A host that may do everything, at `HOST/v2`.
    pub(super) fn new(scheme: Scheme, host: &str) -> Self {
        Self {
            scheme,
            plain: Arc::default(),
            host: host.to_owned(),
            path: "/v2".to_owned(),
            capabilities: vec![Capability::Pull, Capability::Resolve, Capability::Push],
            tls: Tls::default(),
            headers: HeaderMap::new(),
            dial_timeout: None,
            mirror_of: None,
        }
    }

    /// The host that the registry is its own answer to. `scheme` is the caller's wish.
    ///
    /// On loopback, where a port says nothing about the scheme, TLS is tried first and any
    /// certificate is good.
    pub(super) fn default_of(registry: &str, scheme: Option<&str>) -> Self {
        if registry == DOCKER {
            return Self::new(Scheme::Https, DOCKER_HOST);
        }
        let wished = match scheme {
            Some("http") => Some(Scheme::Http),
            Some(_) => Some(Scheme::Https),
            None => None,
        };
        if wished.is_some() || !is_loopback(registry) {
            return Self::new(wished.unwrap_or(Scheme::Https), registry);
        }
        let (scheme, skip_verify) = match port(registry) {
            None | Some(443) => (Scheme::Https, Some(true)),
            Some(80) => (Scheme::Http, None),
            Some(_) => (Scheme::Either, Some(true)),
        };
        let mut own = Self::new(scheme, registry);
        own.tls.skip_verify = skip_verify;
        own
    }

    /// With these settings of TLS, which are worth trying also where plain HTTP was asked for.
    pub(super) fn with_tls(mut self, tls: Tls) -> Self {
        if self.scheme == Scheme::Http && tls.is_configured() && port(&self.host) != Some(80) {
            self.scheme = Scheme::Either;
        }
        if tls.is_configured() {
            self.tls = tls;
        }
        self
    }

    /// `http` or `https`, as far as is known.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self.scheme {
            Scheme::Http => "http",
            Scheme::Either if self.plain.load(Ordering::Relaxed) => "http",
            Scheme::Https | Scheme::Either => "https",
        }
    }

    /// Whether TLS is never spoken with it.
    pub(super) fn is_plain(&self) -> bool {
        self.scheme == Scheme::Http
    }

    /// Notes that the host does not speak TLS; `false` when it has to.
    pub(super) fn fall_back(&self) -> bool {
        if self.scheme != Scheme::Either {
            return false;
        }
        self.plain.store(true, Ordering::Relaxed);
        true
    }

    /// The registry's own name, if this host only stands in for it.
    pub(super) fn stands_for(mut self, registry: &str) -> Self {
        let own = self.host == registry || registry == DOCKER && self.host == DOCKER_HOST;
        self.mirror_of = (!own).then(|| registry.to_owned());
        self
    }

    /// Whether an address is at this host.
    pub(super) fn serves(&self, url: &Url) -> bool {
        let own = Url::parse(&format!("{}://{}", self.scheme(), self.host));
        own.is_ok_and(|own| own.origin() == url.origin())
    }

    /// Whether it may be asked this.
    #[must_use]
    pub fn may(&self, capability: Capability) -> bool {
        let needed: &[Capability] = match capability {
            Capability::Resolve => &[Capability::Resolve, Capability::Pull],
            Capability::Pull => &[Capability::Pull],
            Capability::Push => &[Capability::Push],
        };
        needed.iter().all(|needed| self.capabilities.contains(needed))
    }
}

fn port(host: &str) -> Option<u16> {
    host.rsplit_once(':')?.1.parse().ok()
}

/// Whether the host, with or without a port, is this machine by name or address.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_at_a_host_or_elsewhere() {
        let endpoint = Endpoint::default_of("r.example", None);
        let serves = |url: &str| endpoint.serves(&url.parse().unwrap());
        assert!(serves("https://r.example/v2/x") && serves("https://R.example:443/"));
        for elsewhere in ["http://r.example/", "https://r.example:5000/", "https://r.example.org/"]
        {
            assert!(!serves(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn the_scheme_follows_the_host() {
        let made = |host: &str| Endpoint::default_of(host, None);
        for host in ["localhost:5000", "127.0.0.1:5000", "[::1]:8080"] {
            let own = made(host);
            assert_eq!((own.scheme, own.tls.skip_verify), (Scheme::Either, Some(true)), "{host}");
            assert_eq!(own.scheme(), "https");
            assert!(own.fall_back());
            assert_eq!((own.scheme(), own.clone().scheme()), ("http", "http"));
        }
        for host in ["localhost", "127.8.0.1", "localhost:443"] {
            let own = made(host);
            assert_eq!((own.scheme, own.tls.skip_verify), (Scheme::Https, Some(true)), "{host}");
            assert!(!own.fall_back());
        }
        assert_eq!(made("[::1]:80").scheme, Scheme::Http);
        for host in ["docker.io", "localhost.example", "10.0.0.1:5000"] {
            assert_eq!((made(host).scheme, made(host).tls), (Scheme::Https, Tls::default()));
        }
        assert_eq!(Endpoint::default_of("h:1", Some("http")).scheme, Scheme::Http);
        assert_eq!(made("docker.io").host, "registry-1.docker.io");
    }

    #[test]
    fn settings_of_tls_are_tried_before_plain_http() {
        let skip = Tls { skip_verify: Some(false), ..Tls::default() };
        let with =
            |host: &str, tls: &Tls| Endpoint::new(Scheme::Http, host).with_tls(tls.clone()).scheme;
        assert_eq!(with("h:5000", &skip), Scheme::Either);
        assert_eq!(with("h", &skip), Scheme::Either);
        assert_eq!(with("h:80", &skip), Scheme::Http);
        assert_eq!(with("h:5000", &Tls::default()), Scheme::Http);
    }

    #[test]
    fn docker_has_a_host_of_its_own() {
        let mirror_of = |host: &str, registry: &str| {
            Endpoint::new(Scheme::Https, host).stands_for(registry).mirror_of
        };
        assert_eq!(mirror_of("registry-1.docker.io", "docker.io"), None);
        assert_eq!(mirror_of("docker.io", "docker.io"), None);
        assert_eq!(mirror_of("m.example", "docker.io").as_deref(), Some("docker.io"));
        assert_eq!(mirror_of("registry-1.docker.io", "r.example").as_deref(), Some("r.example"));
    }

    #[test]
    fn who_resolves_also_serves() {
        let mut mirror = Endpoint::new(Scheme::Https, "m");
        mirror.capabilities = vec![Capability::Resolve];
        assert!(!mirror.may(Capability::Resolve) && !mirror.may(Capability::Pull));
        mirror.capabilities.push(Capability::Pull);
        assert!(mirror.may(Capability::Resolve) && !mirror.may(Capability::Push));
    }
}
