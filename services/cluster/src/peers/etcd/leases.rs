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

    /// Renews a lease once: it is good for all of its time again. Waits no longer than `most`.
    ///
    /// One question and one answer. The library keeps what the answer says of the time to itself: it is
    /// [`Etcd::granted`]'s.
    ///
    /// # Errors
    /// [`Error::LeaseGone`].
    pub async fn renew(&self, lease: i64, most: Duration) -> Result<()> {
        let most = Some(most);
        let about = About { step: "renewing the lease", lease, most, ..About::default() };
        let ask = |client: Client, _| async move {
            client.lease_client().keep_alive(lease).await?;
            Ok(())
        };
        self.members.call(about, Again::Yes, By::Shared, ask).await
    }

    /// How long a lease is good for after each renewal.
    ///
    /// # Errors
    /// [`Error::LeaseGone`].
    pub async fn granted(&self, lease: i64) -> Result<Duration> {
        let about = About { step: "asking for a lease's time", lease, ..About::default() };
        let ask = |client: Client, _| async move {
            let answer = client.lease_client().time_to_live(lease, None).await?;
            match u64::try_from(answer.granted_ttl()) {
                Ok(seconds) if seconds > 0 && answer.ttl() >= 0 => Ok(Duration::from_secs(seconds)),
                _ => Err(Fault::LeaseGone),
            }
        };
        self.members.call(about, Again::Yes, By::Shared, ask).await
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
