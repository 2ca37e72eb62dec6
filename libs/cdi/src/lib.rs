//! Devices of vendors, by name: the Container Device Interface.
//!
//! Owns: names (`VENDOR/CLASS=NAME`), the documents in which vendors say what a device is, which of several counts, and
//! what becomes of a specification. Must not know: who asks for devices. Every call blocks.
//!
//! A vendor's tool writes documents into one of the folders, at any time and in any state: they are read anew for each
//! container that asks, with bounds, and one that is none is left out and told of only where a device is missing. Of
//! several documents for one device that of the later folder counts; two in one folder make it nobody's.
//!
//! The crate `container-device-interface` does the same. It is not used, as it brings a client of HTTP and a validator of
//! JSON schemas along, reads YAML by a crate that is given up, and files without a bound. What documents must say by
//! which version is not checked: a field that is known counts whatever version is named.

mod apply;
mod device;
mod document;
mod edits;
mod error;
mod file;
mod names;
mod registry;

pub use apply::apply;
pub use edits::Edits;
pub use error::Error;
pub use names::is_name;
pub use registry::Registry;
