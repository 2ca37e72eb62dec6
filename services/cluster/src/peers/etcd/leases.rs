//! Leases. Keeping one alive is [`crate::session`]'s.

use std::time::Duration;

use etcd_client::Client;

use super::Etcd;
use super::calls::{Again, By};
use super::faults::{About, Fault};
use crate::{Error, Result};

impl Etcd {
    /// A new lease, of whole seconds. One that was given and not told to us ends by itself.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub async fn grant(&self, ttl: Duration) -> Result<i64> {
        let about = About { step: "getting a lease", ..About::default() };
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX);
        let ask = |client: Client, _| async move {
            Ok(client.lease_client().grant(seconds, None).await?.id())
        };
        self.members.call(about, Again::Yes, By::Shared, ask).await
    }

    /// Renews a lease once; answers how long it is good for now.
    ///
    /// # Errors
    /// [`Error::LeaseGone`].
    pub async fn renew(&self, lease: i64) -> Result<Duration> {
        let about = About { step: "renewing the lease", lease, ..About::default() };
        self.members.call(about, Again::Yes, By::Shared, |client, _| renew(client, lease)).await
    }

    /// Ends a lease, and all keys that are attached to it. Harmless when it is gone.
    ///
    /// # Errors
    /// As every call here.
    pub async fn revoke(&self, lease: i64) -> Result<()> {
        let about = About { step: "ending the lease", lease, ..About::default() };
        let ask = |client: Client, _| async move {
            client.lease_client().revoke(lease).await?;
            Ok(())
        };
        match self.members.call(about, Again::Yes, By::Shared, ask).await {
            Err(Error::LeaseGone(_)) => Ok(()),
            other => other,
        }
    }
}

async fn renew(client: Client, lease: i64) -> Result<Duration, Fault> {
    // The library keeps the first answer for itself, with the time that is asked for here.
    let (mut keeper, mut answers) = client.lease_client().keep_alive(lease).await?;
    keeper.keep_alive().await?;
    let answer = answers.message().await?.ok_or_else(|| Fault::Away {
        reason: "the stream of renewals has ended".into(),
        unsent: false,
    })?;
    match u64::try_from(answer.ttl()) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(Fault::LeaseGone),
    }
}
