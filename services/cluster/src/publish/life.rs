//! One registration after the other, for ever.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Publisher;
use super::asking::STATE_PATIENCE;
use super::bucket::Bucket;
use super::flush::{Flusher, Renewal};
use super::own::Own;
use super::standing::{self, Registration};
use crate::backoff::{Backoff, jitter};
use crate::objects::Node;
use crate::peers::etcd::Etcd;
use crate::session::{self, Identity};
use crate::truth::State;
use crate::{Error, Result};

/// Between two attempts, at the least and at the most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// The same, of an etcd that is asked and does not answer in time: each attempt of each node adds to what it has
/// to do, and thousands that have lost their leases to that would keep it there.
const BUSY: Duration = Duration::from_secs(60);
/// Between two attempts while another has the name.
const TAKEN: Duration = Duration::from_secs(4);

/// How far a registration has come.
#[derive(Debug, Default)]
struct Course {
    registered: bool,
    /// How often its lease was renewed, the first time at its beginning.
    renewals: AtomicU32,
}

impl Course {
    /// It had been well, whatever it ended of.
    fn was_well(&self, error: &Error) -> bool {
        self.renewals.load(Ordering::Relaxed) > 1 || matches!(error, Error::LeaseGone(_))
    }
}

impl Publisher {
    /// Registers and publishes until `stop`, again whenever that ends.
    pub(super) async fn live(&self, stop: &CancellationToken) {
        let Some(uuid) = stop.run_until_cancelled(self.uuid()).await else { return };
        let mut bucket = Bucket::new(self.settings.writes_per_second, Instant::now());
        let mut backoff = Backoff::new(AGAIN.0, BUSY);
        let mut etcd = None;
        loop {
            let mut course = Course::default();
            let life = self.life(&uuid, &mut etcd, &mut bucket, &mut course, stop);
            let Err(error) = life.await else { return };
            // Certificates and passwords are read when a connection is made.
            if matches!(error, Error::Forbidden { .. } | Error::Certificate { .. }) {
                etcd = None;
            }
            if course.was_well(&error) {
                backoff.reset();
            }
            self.ended(&error, course.registered);
            let wait = match error {
                Error::Taken { .. } => jitter(TAKEN.min(self.settings.ttl)),
                Error::Away { asked: true, .. } => backoff.wait(),
                _ => backoff.wait().min(jitter(AGAIN.1)),
            };
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// The node's own number. There is no node without it.
    async fn uuid(&self) -> String {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            let error = match timeout(STATE_PATIENCE, self.truth.uuid()).await {
                Ok(Ok(uuid)) => return uuid,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the node's number was not told within {STATE_PATIENCE:?}"),
            };
            standing::change(&self.standing, |standing| standing.trouble = Some(error));
            sleep(backoff.wait()).await;
        }
    }

    /// One registration, from its beginning to its end. Ends well only with `stop`.
    async fn life(
        &self,
        uuid: &str,
        etcd: &mut Option<Etcd>,
        bucket: &mut Bucket,
        course: &mut Course,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Some(begun) = stop.run_until_cancelled(Box::pin(self.begin(uuid, etcd))).await else {
            return Ok(());
        };
        let (etcd, registration, own) = begun?;
        course.registered = true;
        self.counts.registrations.fetch_add(1, Ordering::Relaxed);
        tracing::info!(node = %self.settings.name, fresh = registration.fresh, "registered");
        standing::change(&self.standing, |standing| {
            (standing.registration, standing.trouble) = (Registration::Registered, None);
        });
        let (renewal, seen) = watch::channel(Renewal::Awaited);
        let renewed = |failed: Option<&Error>| {
            let next = match failed {
                Some(error) => {
                    self.counts.failed(error);
                    Renewal::Failed(error.to_string())
                }
                None => {
                    course.renewals.fetch_add(1, Ordering::Relaxed);
                    Renewal::Made
                }
            };
            renewal.send_if_modified(|now| std::mem::replace(now, next.clone()) != next);
        };
        let (lease, good) = (registration.lease, registration.good);
        let tidied = async {
            if let Some(unused) = registration.unused {
                // It ends by itself by then.
                let _ = timeout(good, session::tidy(&etcd, unused)).await;
            }
            std::future::pending::<Result<()>>().await
        };
        let mut flusher = Flusher::new(self, &etcd, &registration, own, bucket, seen);
        let ended = tokio::select! {
            error = session::renew(&etcd, lease, good, renewed) => Err(error),
            ended = flusher.run(stop) => ended,
            never = tidied => never,
        };
        flusher.leave();
        ended
    }

    /// Registers, by the connection of the life before if there was one: it is made again by itself.
    async fn begin(
        &self,
        uuid: &str,
        etcd: &mut Option<Etcd>,
    ) -> Result<(Etcd, session::Registration, Own)> {
        let settings = &self.settings;
        let etcd = match etcd {
            Some(etcd) => etcd.clone(),
            None => etcd.insert(Etcd::connect(&self.etcd).await?).clone(),
        };
        let state = timeout(STATE_PATIENCE, self.truth.state()).await;
        let State { capacity, services, pressure } = state.unwrap_or_default();
        let identity = Identity {
            name: settings.name.clone(),
            uuid: uuid.to_owned(),
            incarnation: settings.incarnation.clone(),
            boot: settings.boot.clone(),
        };
        let node = Node {
            uuid: identity.uuid.clone(),
            incarnation: identity.incarnation.clone(),
            boot: identity.boot.clone(),
            registered: Some(time::OffsetDateTime::now_utc()),
            capacity,
            services,
            pressure,
            published: self.standing.borrow().published,
            ..settings.node.clone()
        };
        let (layout, ttl) = (&settings.layout, settings.ttl);
        let registration = session::register(&etcd, layout, &identity, ttl, node.clone()).await?;
        let (name, key) = (settings.name.clone(), layout.node(&settings.name));
        let own = Own::new(name, key, node, registration.lease, registration.modified);
        Ok((etcd, registration, own))
    }

    /// A registration has ended, or was not made.
    fn ended(&self, error: &Error, held: bool) {
        self.counts.failed(error);
        let text = error.to_string();
        let known = self.standing.borrow().trouble.as_ref() == Some(&text);
        if held || !known {
            tracing::warn!(%error, "this node is not registered at etcd: it tries again");
        }
        let registration = match error {
            Error::Taken { address, .. } => Registration::Refused { by: address.clone() },
            _ => Registration::Connecting,
        };
        standing::change(&self.standing, |standing| {
            (standing.registration, standing.trouble) = (registration, Some(text));
        });
    }
}
