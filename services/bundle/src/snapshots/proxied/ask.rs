//! The question whether a backend has a layer that nobody has fetched.
//!
//! containerd asks by preparing a snapshot to extract the layer into, with a label that names the
//! layer's chain ID: a backend that has the layer answers that it is there already.

use berth_ids::Labels;

use crate::Error;
use crate::snapshots::{Caller, Kind, Snapshots};

impl Snapshots {
    /// Whether a snapshotter has the layers that a chain ID names, on `parent`. If so, they are a
    /// committed snapshot of that name, which the caller's lease holds.
    ///
    /// # Errors
    /// Those of the backend; [`Error::NotFound`] without the parent.
    pub async fn ask(
        &self,
        caller: Caller,
        snapshotter: &str,
        chain_id: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<bool, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        if self.shared.proxied(snapshotter).is_none() {
            return Ok(false);
        }
        // containerd's form, by which backends know what it is for.
        let key = format!("extract-{} {chain_id}", self.shared.new_id());
        let kind = Kind::Active;
        match self.create(caller.clone(), snapshotter, kind, &key, parent, labels).await {
            Ok(_) => {
                let lease = caller.lease.map(|(lease, _)| lease);
                self.remove(&caller.namespace, lease, snapshotter, &key).await?;
                Ok(false)
            }
            Err(Error::Exists { .. } | Error::ExistsThere { .. }) => {
                self.hold_present(caller, snapshotter, chain_id).await
            }
            // It says so and shows nothing: as good as if it had none.
            Err(Error::NoTarget { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
