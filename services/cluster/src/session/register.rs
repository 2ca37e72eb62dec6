//! Making the registration, or taking it over.

use std::time::Duration;

use time::OffsetDateTime;
use tracing::debug;

use super::{Identity, Registration};
use crate::keys::{Kind, Layout};
use crate::objects::{Node, Object};
use crate::peers::etcd::{Entry, Etcd, If, Outcome, Write};
use crate::peers::node::claim;
use crate::peers::stored;
use crate::{Error, Result};

/// How often it is looked again who has the name, when that changes while it is being taken.
const LOOKS: usize = 5;

/// Registers the node as `node`, whose identity is filled in here, and `registered` too if it is empty or our
/// predecessor's key says otherwise.
///
/// A lease that is taken over keeps the time that it was given to our predecessor with.
///
/// # Errors
/// [`Error::Taken`]; [`Error::Displaced`] when the name changes hands all the time; those of etcd. What was
/// written before an error is found and taken over by the next attempt.
pub async fn register(
    etcd: &Etcd,
    layout: &Layout,
    identity: &Identity,
    ttl: Duration,
    mut node: Node,
) -> Result<Registration> {
    node.uuid.clone_from(&identity.uuid);
    node.incarnation.clone_from(&identity.incarnation);
    node.boot.clone_from(&identity.boot);
    let key = layout.node(&identity.name);
    let mut attempt = Attempt { etcd, identity, key, ttl, lease: None, fresh: false, wrote: false };
    let mut registered = attempt.run(node).await;
    match (&mut registered, attempt.lease) {
        (Ok(made), lease) => made.unused = lease.filter(|lease| *lease != made.lease),
        // While etcd is away it ends by itself.
        (Err(Error::Away { .. }), _) | (Err(_), None) => {}
        (Err(_), Some(lease)) => tidy(etcd, lease).await,
    }
    registered
}

/// Ends a lease that nothing came of, and with it a write that may yet be made under it. If it is not ended it ends by
/// itself, when its time is over.
pub async fn tidy(etcd: &Etcd, unused: i64) {
    let ended = etcd.revoke(unused).await;
    debug!(lease = unused, ended = ended.is_ok(), "a lease was of no use");
}

struct Attempt<'a> {
    etcd: &'a Etcd,
    identity: &'a Identity,
    key: String,
    ttl: Duration,
    /// Given to this attempt.
    lease: Option<i64>,
    /// Nobody had the name when this attempt wrote first.
    fresh: bool,
    /// This attempt has written.
    wrote: bool,
}

/// Whose the node's key is.
enum Whose {
    Nobodys,
    /// Somebody wrote there what is no node.
    Rubbish(Entry),
    /// What this attempt has written, and got no answer to.
    Own(Entry, Node),
    /// Of an earlier attempt or run.
    Predecessors(Entry, Node),
}

impl Attempt<'_> {
    async fn run(&mut self, mut node: Node) -> Result<Registration> {
        let mut unanswered = None;
        for _ in 0..LOOKS {
            let written = match self.look().await? {
                Whose::Own(entry, node) => match self.renewed(entry.lease).await {
                    Ok(good) => return Ok(self.registration(&entry, &node, good)),
                    Err(Error::LeaseGone(_)) => continue,
                    Err(error) => return Err(error),
                },
                Whose::Nobodys => {
                    self.fresh = true;
                    node.registered.get_or_insert_with(OffsetDateTime::now_utc);
                    let lease = self.own_lease().await?;
                    self.write(If::Absent(self.key.clone()), &node, lease).await
                }
                Whose::Rubbish(entry) => {
                    self.fresh = false;
                    node.registered.get_or_insert_with(OffsetDateTime::now_utc);
                    let lease = self.own_lease().await?;
                    let condition = If::Unchanged(self.key.clone(), entry.modified);
                    self.write(condition, &node, lease).await
                }
                Whose::Predecessors(entry, before) => {
                    self.fresh = false;
                    let lease = match self.renewed(entry.lease).await {
                        Ok(good) => (entry.lease, good),
                        // Its keys are gone with it, so the next look finds none.
                        Err(Error::LeaseGone(_)) if entry.lease != 0 => continue,
                        // Somebody wrote the key without one.
                        Err(Error::LeaseGone(_)) => self.own_lease().await?,
                        Err(error) => return Err(error),
                    };
                    let now = OffsetDateTime::now_utc;
                    node.registered = before.registered.or(node.registered).or_else(|| Some(now()));
                    let condition = If::Unchanged(self.key.clone(), entry.modified);
                    self.write(condition, &node, lease).await
                }
            };
            match written {
                Ok(Some(registration)) => return Ok(registration),
                // Somebody else was faster, or the lease has just ended.
                Ok(None) | Err(Error::LeaseGone(_)) => unanswered = None,
                // It may have been made.
                Err(error @ Error::Away { .. }) => {
                    debug!(%error, "the registration got no answer");
                    unanswered = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(unanswered.unwrap_or_else(|| Error::Displaced(self.identity.name.to_string())))
    }

    async fn look(&self) -> Result<Whose> {
        let (entry, _) = self.etcd.get(&self.key).await?;
        let Some(entry) = entry else { return Ok(Whose::Nobodys) };
        let node = match stored::decode(Kind::Nodes, &entry.key, &entry.value) {
            Ok(Object::Node(node)) => *node,
            // A newer version may say more of itself than is taken here.
            unreadable => match claim(&entry.value).filter(|_| entry.lease != 0) {
                Some(node) => node,
                None => {
                    debug!(?unreadable, "is written over");
                    return Ok(Whose::Rubbish(entry));
                }
            },
        };
        if node.uuid == self.identity.uuid && node.boot == self.identity.boot {
            let own = self.wrote && node.incarnation == self.identity.incarnation;
            return Ok(if own {
                Whose::Own(entry, node)
            } else {
                Whose::Predecessors(entry, node)
            });
        }
        let Node { uuid, peer_address, addresses, .. } = node;
        let address = Some(peer_address).filter(|address| !address.is_empty());
        let address = address.or_else(|| addresses.into_iter().next());
        Err(Error::Taken {
            node: self.identity.name.to_string(),
            address: address.unwrap_or_else(|| "an address it does not tell".into()),
            uuid,
        })
    }

    /// Renews a lease that may be another's; answers how long it is good for.
    async fn renewed(&self, lease: i64) -> Result<Duration> {
        self.etcd.renew(lease, self.ttl).await?;
        self.etcd.granted(lease).await
    }

    /// A lease of this attempt that lives.
    async fn own_lease(&mut self) -> Result<(i64, Duration)> {
        if let Some(lease) = self.lease {
            match self.etcd.renew(lease, self.ttl).await {
                Ok(()) => return Ok((lease, self.ttl)),
                Err(Error::LeaseGone(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let lease = self.etcd.grant(self.ttl).await?;
        self.lease = Some(lease);
        Ok((lease, self.ttl))
    }

    async fn write(
        &mut self,
        condition: If,
        node: &Node,
        (lease, good): (i64, Duration),
    ) -> Result<Option<Registration>> {
        self.wrote = true;
        let value = stored::encode(&Object::Node(Box::new(node.clone()))).into();
        let put = Write::Put { key: self.key.clone(), value, lease };
        let fresh = self.fresh;
        let registered = node.registered.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Ok(match self.etcd.write(&condition, vec![put]).await? {
            Outcome::Made(modified) => {
                Some(Registration { lease, good, modified, fresh, registered, unused: None })
            }
            Outcome::Refused(_) => None,
        })
    }

    fn registration(&self, entry: &Entry, node: &Node, good: Duration) -> Registration {
        Registration {
            lease: entry.lease,
            good,
            modified: entry.modified,
            fresh: self.fresh,
            registered: node.registered.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            unused: None,
        }
    }
}
