//! Images on their way: from registries and archives to here, from here to them, and from one name
//! to another.
//!
//! Owns: the order of a transfer. Everything it makes is held by a lease from the first byte on;
//! the image's record is made last. Must not know: any wire type, how blobs are stored, how bundle
//! is called.

mod annotations;
pub(crate) mod choose;
mod compress;
mod error;
mod export;
mod fetch;
mod import;
mod labels;
mod layers;
mod names;
pub mod platform;
mod progress;
mod pull;
mod push;
mod request;
mod store;
mod tag;
mod walk;

use std::sync::Arc;

use berth_lifecycle::Tasks;

use crate::content::Content;
use crate::images::Images;
use crate::leases::Leases;
use crate::namespaces::Namespaces;
use crate::registry::{Anonymous, Credentials, DockerConfig, Policy, Registries, Settings};
use crate::unpack::Layers;
use crate::verifiers::Verifiers;

pub use error::Error;
pub use progress::{Progress, Reporter};
pub use request::{Caller, Export, ExtraReference, ImageStore, Remote, Unpack};

/// What transfers are made with.
#[derive(Clone)]
pub struct Transfers {
    /// Blobs.
    pub content: Content,
    /// Images.
    pub images: Images,
    /// Leases.
    pub leases: Leases,
    /// Namespaces, for what their labels say of unpacking.
    pub namespaces: Namespaces,
    /// Registries.
    pub registries: Arc<Registries>,
    /// The node's own credentials, asked after the caller's.
    pub credentials: Arc<dyn Credentials>,
    /// Bundle.
    pub layers: Arc<dyn Layers>,
    /// Who may refuse a pull.
    pub verifiers: Verifiers,
    /// The process's tasks.
    pub tasks: Tasks,
    /// The most blobs of one transfer on their way at once.
    pub at_once: usize,
    /// The most blobs of one push on their way at once.
    pub uploads_at_once: usize,
}

impl Transfers {
    /// For this node, as its configuration says.
    #[must_use]
    pub fn new(node: &crate::Distribution, layers: Arc<dyn Layers>, tasks: &Tasks) -> Self {
        let config = &node.config.distribution;
        Self {
            content: node.content.clone(),
            images: node.images.clone(),
            leases: node.leases.clone(),
            namespaces: node.namespaces.clone(),
            registries: registries(&config.registry),
            credentials: credentials(&config.registry),
            layers,
            verifiers: Verifiers::new(&config.image_verifiers),
            tasks: tasks.clone(),
            at_once: config.registry.max_concurrent_downloads,
            uploads_at_once: config.registry.max_concurrent_uploads,
        }
    }

    /// The same for a configuration that says otherwise.
    #[must_use]
    pub fn configured(&self, config: &berth_config::Distribution) -> Self {
        Self {
            registries: registries(&config.registry),
            credentials: credentials(&config.registry),
            verifiers: Verifiers::new(&config.image_verifiers),
            at_once: config.registry.max_concurrent_downloads,
            uploads_at_once: config.registry.max_concurrent_uploads,
            ..self.clone()
        }
    }
}

fn registries(config: &berth_config::Registry) -> Arc<Registries> {
    let tries = u32::try_from(config.max_tries).unwrap_or(u32::MAX);
    let timeouts = &config.timeouts;
    Arc::new(Registries::new(Settings {
        config_path: config.config_path.clone(),
        dial: timeouts.connect.0,
        answer: timeouts.response.0,
        idle: timeouts.stall.0,
        policy: Policy { busy_tries: tries, resume_tries: tries, ..Policy::default() },
    }))
}

fn credentials(config: &berth_config::Registry) -> Arc<dyn Credentials> {
    match &config.docker_config {
        Some(path) => Arc::new(DockerConfig::new(path.clone(), config.timeouts.credentials.0)),
        None => Arc::new(Anonymous),
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;
