//! Pulls.

use std::time::Duration;

use berth_errors::{Code, chain};
use berth_ids::Digest;

use super::credentials::{Credentials, Keyring};
use super::reference::Reference;
use super::silence::{Missing, Silence};
use super::{Images, Parts, platform};
use crate::peers::images::{self, Record};
use crate::peers::transfer;
use crate::{Error, Result};

/// So much is told of what is no name, in characters.
const SHOWN: usize = 512;

/// What a pull is asked for.
pub struct Pull {
    /// The image's name.
    pub image: String,
    /// Whom to pull it as.
    pub credentials: Credentials,
    /// The handler that it is for; empty: any.
    pub handler: String,
}

impl Images {
    /// Pulls an image and answers its id. An id is answered if the image is here.
    ///
    /// # Errors
    /// [`Error::Pull`] with the registry's code; [`Error::Refused`] for what is no name.
    pub async fn pull(&self, want: Pull) -> Result<String> {
        let Pull { image, credentials, handler } = want;
        if image.parse::<Digest>().is_ok() {
            // No registry knows images by their configs.
            let found = self.index().await?.find(&image)?.map(|entry| entry.facts.id.clone());
            return found.ok_or_else(|| Error::NotFound(format!("image {image:?}")));
        }
        let reference = Reference::parse(&image).map_err(|why| {
            let shown: String = image.chars().take(SHOWN).collect();
            Error::Refused(format!("failed to parse image reference {shown:?}: {why}"))
        })?;
        let reference = reference.exact();
        let name = reference.to_string();
        let keyring = credentials.keyring().map_err(|why| failed(&name, Code::Unknown, why))?;
        let snapshotter = self.0.cri.snapshotter_of(&handler).to_owned();
        let (images, by) = (self.clone(), snapshotter.clone());
        let work = || async move { images.bring(&reference, &keyring, &by).await };
        self.0.pulls.join((name, snapshotter, credentials), work).await
    }

    async fn bring(
        &self,
        reference: &Reference,
        keyring: &Keyring,
        snapshotter: &str,
    ) -> Result<String> {
        let name = reference.to_string();
        let pulled = self.transfer(reference, keyring, snapshotter).await;
        // Distribution's words, without the name of a step of ours before them.
        pulled.map_err(|error| match error {
            Error::Peer { code, message, .. } => failed(&name, code, &message),
            other => other,
        })?;
        let named = self.name(reference, &name).await;
        named.map_err(|error| {
            let code = berth_errors::Coded::code(&error);
            failed(&name, code, &chain(&error))
        })
    }

    async fn transfer(
        &self,
        reference: &Reference,
        keyring: &Keyring,
        snapshotter: &str,
    ) -> Result<()> {
        let Parts { node, patience, logins, .. } = &*self.0;
        let name = reference.to_string();
        let want = transfer::Pull {
            reference: &name,
            architecture: platform::architecture(),
            snapshotter,
            pinned: self.0.pinned.contains(&name),
        };
        let silence = Silence::begin();
        let pull = transfer::pull(
            node,
            &want,
            |host| logins.or(keyring, host),
            |report| silence.hear(report),
        );
        let Some(patience) = *patience else { return pull.await };
        tokio::select! {
            outcome = pull => outcome,
            what = silence.broken(patience) => Err(silent(reference, what, patience)),
        }
    }

    /// Gives what was pulled the names that containerd's CRI gives it. Answers its id.
    async fn name(&self, reference: &Reference, name: &str) -> Result<String> {
        let Parts { node, known, pinned, .. } = &*self.0;
        let gone = || Error::NotFound(format!("image {name:?} was removed while it was pulled"));
        let Record { target, .. } = images::get(node, name).await?.ok_or_else(gone)?;
        let facts = known.of(node, &target.digest).await?;
        let no_image = || {
            let why = "it is no image for this machine".to_owned();
            Error::Unreadable { what: "manifest", id: target.digest.clone(), why }
        };
        let id = facts.ok_or_else(no_image)?.id.clone();
        let pinned = pinned.contains(name);
        images::put(node, &id, &target, pinned).await?;
        if reference.tag.is_some() {
            let by_digest = format!("{}@{}", reference.repository, target.digest);
            images::put(node, &by_digest, &target, pinned).await?;
        }
        Ok(id)
    }
}

fn failed(image: &str, code: Code, message: &str) -> Error {
    Error::Pull { image: image.to_owned(), code, message: message.to_owned() }
}

/// The code and the end are containerd's.
fn silent(reference: &Reference, missing: Missing, longest: Duration) -> Error {
    let Missing { what, host } = missing;
    // Until a part is asked for nobody has said who is asked.
    let host = host.unwrap_or_else(|| format!("{} or a mirror of it", reference.host()));
    let message = format!("nothing came from {host} for {longest:?} of {what}: context canceled");
    failed(&reference.to_string(), Code::Cancelled, &message)
}
