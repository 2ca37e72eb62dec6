//! Images on their way: from registries and archives to here, from here to them, and from one name
//! to another.
//!
//! Owns: the order of a transfer. Everything it makes is held by a lease from the first byte on;
//! the image's record is made last. Must not know: any wire type, how blobs are stored, how bundle
//! is called.

mod choose;
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
use crate::registry::{Credentials, Registries};
use crate::unpack::Layers;

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
    /// Registries.
    pub registries: Arc<Registries>,
    /// The node's own credentials, asked after the caller's.
    pub credentials: Arc<dyn Credentials>,
    /// Bundle.
    pub layers: Arc<dyn Layers>,
    /// The process's tasks.
    pub tasks: Tasks,
    /// The most blobs of one transfer on their way at once.
    pub at_once: usize,
}

type Result<T, E = Error> = std::result::Result<T, E>;
