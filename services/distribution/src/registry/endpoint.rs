//! One host that answers for a registry, and how it is reached.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use reqwest::Url;

/// Something that a host may be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Serve manifests and blobs by digest.
    Pull,
    /// Say which digest a tag has.
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
    /// Trust any certificate.
    pub skip_verify: bool,
}

/// One host that answers for a registry.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `http` or `https`.
    pub scheme: String,
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
    /// The host that the registry is its own answer to.
    pub(super) fn default_of(registry: &str, scheme: Option<&str>) -> Self {
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let plain = is_loopback(host) && port(host) != Some(443);
        let scheme = scheme.unwrap_or(if plain { "http" } else { "https" });
        Self {
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            path: "/v2".to_owned(),
            capabilities: vec![Capability::Pull, Capability::Resolve, Capability::Push],
            tls: Tls::default(),
            headers: HeaderMap::new(),
            dial_timeout: None,
            mirror_of: None,
        }
    }

    /// Whether an address is at this host.
    pub(super) fn serves(&self, url: &Url) -> bool {
        let own = Url::parse(&format!("{}://{}", self.scheme, self.host));
        own.is_ok_and(|own| own.origin() == url.origin())
    }

    /// Whether it may be asked this.
    #[must_use]
    pub fn may(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
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
        let scheme = |host: &str| Endpoint::default_of(host, None).scheme;
        for host in ["localhost:5000", "127.0.0.1:5000", "127.8.0.1", "[::1]:80", "localhost"] {
            assert_eq!(scheme(host), "http", "{host}");
        }
        for host in ["docker.io", "localhost.example", "10.0.0.1:5000", "localhost:443"] {
            assert_eq!(scheme(host), "https", "{host}");
        }
        assert_eq!(Endpoint::default_of("h:1", Some("http")).scheme, "http");
        assert_eq!(Endpoint::default_of("docker.io", None).host, "registry-1.docker.io");
    }
}
