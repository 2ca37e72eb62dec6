//! What a lease holds, here and at the neighbours. A resource need not exist yet.

use berth_ids::{Digest, Namespace};

use super::Leases;
use crate::error::{Error, Result};
use crate::gc::id::{CONTENT, IMAGES, INGESTS, Id, SNAPSHOTS};
use crate::records::{self, HOLDS, Hold};
use crate::scope::Scope;

/// A resource whose kind a lease can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(Hold);

impl Resource {
    /// Checks kind and id.
    ///
    /// # Errors
    /// [`Error::ResourceType`] for a kind that leases cannot hold, [`Error::ResourceForm`],
    /// [`Error::SnapshotForm`], [`Error::ContentId`], [`Error::Required`].
    pub fn new(kind: &str, id: &str) -> Result<Self> {
        let (first, rest) = kind.split_once('/').map_or((kind, None), |(a, b)| (a, Some(b)));
        match (first, rest) {
            ("content", None) => drop(id.parse::<Digest>().map_err(not_content)?),
            ("images" | "ingests", None) => {}
            ("snapshots", Some(name)) if !name.is_empty() && !name.contains('/') => {}
            ("snapshots", _) => return Err(Error::SnapshotForm(kind.to_owned())),
            ("content" | "images" | "ingests", _) => {
                return Err(Error::ResourceForm(kind.to_owned()));
            }
            _ => return Err(Error::ResourceType(kind.to_owned())),
        }
        if id.is_empty() {
            return Err(Error::Required("resource id must be set"));
        }
        Ok(Self(Hold::new(kind, id)))
    }

    /// The hold that it makes.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.0
    }

    fn is_ours(&self) -> bool {
        !self.0.kind.starts_with(SNAPSHOTS)
    }
}

impl Leases {
    /// Lets a lease hold a resource.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], [`Error::Neighbour`] when the resource's owner does not answer,
    /// [`Error::Store`].
    pub async fn add(&self, namespace: &Namespace, id: &str, resource: &Resource) -> Result<()> {
        let (leases, namespace) = (self.clone(), namespace.clone());
        let (id, resource) = (id.to_owned(), resource.clone());
        let add = async move { leases.add_announced(&namespace, &id, &resource).await };
        self.shared.to_its_end("add lease resource", add).await
    }

    async fn add_announced(
        &self,
        namespace: &Namespace,
        id: &str,
        resource: &Resource,
    ) -> Result<()> {
        let lease = self.resolve(namespace, id)?;
        let scope = Scope::new(namespace.clone()).leased(id);
        let hold = resource.hold().clone();
        let thing = Id::new(namespace, &hold.kind, &hold.id);
        let change = self.shared.epochs.enter();
        self.shared.announce(&change, &thing).await?;
        if !resource.is_ours() {
            for peer in self.shared.peers.iter().filter(|peer| peer.owns(&hold.kind)) {
                peer.hold(&lease, &hold).await?;
            }
            return Ok(());
        }
        let add = move |txn: &berth_store::Write| {
            let _until_committed = &change;
            records::enter(txn, &scope, std::slice::from_ref(&hold))
        };
        self.shared.store.commit("leases.add", add).await
    }

    /// Takes a resource from a lease; it is no error when the lease does not hold it.
    ///
    /// # Errors
    /// As [`Leases::add`].
    pub async fn remove(&self, namespace: &Namespace, id: &str, resource: &Resource) -> Result<()> {
        let (leases, namespace) = (self.clone(), namespace.clone());
        let (id, resource) = (id.to_owned(), resource.clone());
        let remove = async move { leases.remove_counted(&namespace, &id, &resource).await };
        self.shared.to_its_end("remove lease resource", remove).await
    }

    async fn remove_counted(
        &self,
        namespace: &Namespace,
        id: &str,
        resource: &Resource,
    ) -> Result<()> {
        let lease = self.resolve(namespace, id)?;
        let hold = resource.hold().clone();
        if resource.is_ours() {
            let scope = Scope::new(namespace.clone()).leased(id);
            let remove = move |txn: &berth_store::Write| records::release(txn, &scope, &hold);
            self.shared.store.commit("leases.remove", remove).await?;
        } else {
            for peer in self.shared.peers.iter().filter(|peer| peer.owns(&hold.kind)) {
                peer.release(&lease, &hold).await?;
            }
        }
        self.shared.demand.deleted();
        Ok(())
    }

    /// What a lease holds.
    ///
    /// # Errors
    /// As [`Leases::add`].
    pub async fn resources(&self, namespace: &Namespace, id: &str) -> Result<Vec<Hold>> {
        let lease = self.resolve(namespace, id)?;
        let mut found = self.shared.store.read(|txn| {
            let holds = txn.range(&HOLDS, (namespace.as_str(), id))?;
            holds.map(|hold| Ok(hold?.1)).collect::<Result<Vec<_>>>()
        })?;
        let ingests = self
            .shared
            .ingests
            .list(|ingest| ingest.namespace() == namespace && ingest.leases().contains(id));
        found.extend(ingests.iter().map(|ingest| Hold::new(INGESTS, ingest.reference())));
        found.sort_by(|a, b| (rank(&a.kind), &a.id).cmp(&(rank(&b.kind), &b.id)));
        found.dedup();
        for peer in self.shared.peers.iter() {
            found.extend(peer.holds(&lease).await?);
        }
        Ok(found)
    }
}

fn not_content(error: berth_ids::Error) -> Error {
    match error {
        berth_ids::Error::Digest { digest: id, fault } => Error::ContentId { id, fault },
        other => other.into(),
    }
}

/// containerd's order of kinds.
fn rank(kind: &str) -> usize {
    [CONTENT, IMAGES, INGESTS].iter().position(|known| *known == kind).unwrap_or(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_checked_as_containerd_checks_them() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert!(Resource::new("content", &digest).is_ok());
        assert!(Resource::new("snapshots/overlayfs", "x").is_ok());
        assert!(matches!(Resource::new("content", "x"), Err(Error::ContentId { .. })));
        assert!(matches!(Resource::new("snapshots", "x"), Err(Error::SnapshotForm(_))));
        assert!(matches!(Resource::new("snapshots/a/b", "x"), Err(Error::SnapshotForm(_))));
        assert!(matches!(Resource::new("images", ""), Err(Error::Required(_))));
        assert!(matches!(Resource::new("content/x", &digest), Err(Error::ResourceForm(_))));
        assert!(matches!(Resource::new("tasks", "x"), Err(Error::ResourceType(_))));
    }
}
