//! Epochs of this service's collections: the shared gate, with this service's names.

use super::id::Id;

/// The gate that changes pass.
pub type Epochs = berth_epochs::Epochs<Id>;
/// An open epoch.
pub type Epoch = berth_epochs::Epoch<Id>;
/// A change under way.
pub type Change = berth_epochs::Change<Id>;
