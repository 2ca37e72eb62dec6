//! The way in: the process's registries, and one repository of one of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use reqwest::Client;

use super::auth::Authorizer;
use super::clients::Clients;
use super::credentials::{Anonymous, Credentials};
use super::dump::Dump;
use super::endpoint::{Capability, Endpoint};
use super::hosts;
use super::{Error, Policy, Reference};

/// Bounds and folders for all registries.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folders with `HOST/hosts.toml`, the first that has one is used.
    pub config_path: Vec<PathBuf>,
    /// How long a connection may take to come about.
    pub dial: Duration,
    /// How long a registry may take to begin its answer.
    pub answer: Duration,
    /// How long the bytes of a body may stop coming.
    pub idle: Duration,
    /// How often requests are repeated.
    pub policy: Policy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config_path: Vec::new(),
            dial: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            policy: Policy::default(),
        }
    }
}

/// What one transfer wants different.
#[derive(Clone, Default)]
pub struct Options {
    /// Sent with every request.
    pub headers: HeaderMap,
    /// A folder with `HOST/hosts.toml` instead of the configured ones.
    pub host_dir: Option<PathBuf>,
    /// `http` or `https` for the registry's own host.
    pub default_scheme: Option<String>,
    /// Where credentials come from.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// Who wants to see what is said.
    pub dump: Option<Arc<dyn Dump>>,
}

/// All registries, with the connections that are open to them.
pub struct Registries {
    pub(super) settings: Settings,
    clients: Clients,
}

impl Registries {
    /// With these bounds.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, clients: Clients::default() }
    }

    /// The repository of a reference. Reads files, talks to nobody.
    ///
    /// # Errors
    /// [`Error::HostsFile`], [`Error::Tls`].
    pub fn open(&self, reference: &Reference, options: Options) -> Result<Repository, Error> {
        let own = options.host_dir.map(|folder| vec![folder]);
        let roots = own.as_ref().unwrap_or(&self.settings.config_path);
        let scheme = options.default_scheme.as_deref().filter(|scheme| !scheme.is_empty());
        let mut hosts = Vec::new();
        for endpoint in hosts::endpoints(reference.host(), roots, scheme)? {
            let client = self.clients.client(&endpoint, self.settings.dial)?;
            hosts.push(Host { endpoint, client });
        }
        let credentials = options.credentials.unwrap_or_else(|| Arc::new(Anonymous));
        Ok(Repository {
            authorizer: Authorizer::new(credentials, reference.to_string()),
            settings: self.settings.clone(),
            headers: options.headers,
            dump: options.dump,
            reference: reference.clone(),
            hosts,
        })
    }
}

/// A host and the client for it.
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    pub(super) client: Client,
}

/// One repository, during one transfer.
pub struct Repository {
    pub(super) reference: Reference,
    pub(super) hosts: Vec<Host>,
    pub(super) headers: HeaderMap,
    pub(super) dump: Option<Arc<dyn Dump>>,
    pub(super) settings: Settings,
    pub(super) authorizer: Authorizer,
}

impl Repository {
    /// The reference that it was opened for.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The hosts that may be asked this, in order.
    pub(super) fn hosts(
        &self,
        capability: Capability,
        step: &str,
    ) -> Result<impl Iterator<Item = &Host>, Error> {
        if !self.hosts.iter().any(|host| host.endpoint.may(capability)) {
            return Err(Error::NoHost {
                step: step.to_owned(),
                host: self.reference.host().to_owned(),
                capability: capability.word(),
            });
        }
        Ok(self.hosts.iter().filter(move |host| host.endpoint.may(capability)))
    }

    /// Runs a step at the hosts in turn until one does it.
    ///
    /// When all fail, the failure that says most of the object is told, of equals the first.
    pub(super) async fn first_of<'a, T, F>(
        &'a self,
        capability: Capability,
        step: &str,
        run: impl Fn(&'a Host) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failed: Option<(u8, Error)> = None;
        for host in self.hosts(capability, step)? {
            let error = match run(host).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(weight) = error.weight() else { return Err(error) };
            tracing::info!(error = berth_errors::chain(&error), "host of registry failed");
            if failed.as_ref().is_none_or(|(before, _)| *before < weight) {
                failed = Some((weight, error));
            }
        }
        Err(failed.expect("hosts() gave at least one host").1)
    }
}
