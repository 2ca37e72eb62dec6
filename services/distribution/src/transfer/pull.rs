//! An image from a registry.

use std::sync::Arc;

use berth_recent as recent;
use berth_trace::stage;
use tracing::Instrument;

use super::fetch::Source;
use super::names;
use super::walk::Walk;
use super::{Caller, Error, ImageStore, Remote, Result, Transfers};
use crate::counts;
use crate::registry::{FirstOf, Repository};

impl Transfers {
    /// Pulls an image and makes it known under the names wanted.
    ///
    /// # Errors
    /// Any of [`super::Error`]; nothing half-done becomes visible.
    pub async fn pull(&self, caller: &Caller, from: Remote, to: &ImageStore) -> Result<()> {
        let name = from.reference.to_string();
        let pull = self.leased(caller, |store| async move {
            let label = format!("OCI Registry ({})", from.reference);
            let progress = &caller.progress;
            progress.step(format!("Resolving from {label}"));
            let repository = Arc::new(self.open(from)?);
            let target = repository.resolve().instrument(stage!("resolve"));
            let target = recent::stage("resolve", "").of(counts::RESOLVE.of(target)).await;
            let target = target.map_err(Error::Resolve)?;
            // Names that cannot be given are told before anything is fetched.
            let names = names::of_target(to, &target)?;
            let name = repository.reference().to_string();
            recent::stage("verify", "").of(self.verifiers.judge(&name, &target)).await?;
            progress.step(format!("Pulling from {label}"));
            progress.image("fetching image content", &name, &target);
            let walk = Walk {
                transfers: self,
                caller,
                store,
                source: Source::Registry(repository),
                want: to,
            };
            walk.bring(&target, vec![name], 0).await?;
            walk.save(names, &target).await?;
            progress.step(format!("Completed pull from {label}"));
            Ok(())
        });
        let pull = counts::PULLS.of(pull);
        recent::operation("pull", caller.namespace.as_str(), &name, pull).await
    }

    /// The repository, with the caller's credentials before the node's.
    pub(super) fn open(&self, remote: Remote) -> Result<Repository> {
        let mut options = remote.options;
        let own = options.credentials.take();
        let sources = own.into_iter().chain([self.credentials.clone()]).collect();
        options.credentials = Some(Arc::new(FirstOf(sources)));
        Ok(self.registries.open(&remote.reference, options)?)
    }
}
