//! Layers on their way into snapshots.
//!
//! Owns: the order of things while an image is unpacked. Each layer is applied as it arrives, all
//! at once where the snapshotter can, and committed in the chain's order, only after its blob's
//! digest was right and its diff ID is the configuration's. Must not know: registries, how blobs
//! are stored, or how bundle is called ([`Layers`] is what it needs of it).
//!
//! Copies per compressed byte: one from the socket into memory, where it is hashed; one into the
//! blob's file; one into the pipe and one out of it, in bundle, which inflates from there. The
//! blob's file is not read again. A blob that is here already is read once, by bundle, through a
//! descriptor of its file. `docs/adr/0005-data-path-of-a-pull.md` says why.

mod chain;
mod error;
mod feed;
mod labels;
mod layers;
mod stage;
mod staging;

pub use chain::chain_ids;
pub use error::Error;
pub use feed::Feed;
pub use labels::Origin;
pub use layers::{Applied, Apply, Capabilities, Commit, Failure, Hold, Layers, Work};
pub use stage::{Live, Unpacker};
pub use staging::Staging;
