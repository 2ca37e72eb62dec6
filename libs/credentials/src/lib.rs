//! Who somebody is at registries: docker's `config.json` and the helper programs that it names.
//!
//! Owns: where credentials are on record and the forms they take. Must not know: how a registry is
//! spoken to, or who asks; distribution asks for the node, `berth` for the person before it.

mod config;
mod credential;
mod error;
mod helper;

pub use config::DockerConfig;
pub use credential::Credential;
pub use error::Error;
