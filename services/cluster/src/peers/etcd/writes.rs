//! Conditional writes.

use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};

use super::calls::{Again, By};
use super::faults::{About, Fault};
use super::{Entry, Etcd, If, Outcome, Seen, Write};
use crate::{Error, Result};

/// The most writes that are made at once. etcd takes 128 unless it is told otherwise.
pub const MAX_WRITES: usize = 100;

impl Etcd {
    /// Makes `writes` if `condition` holds: at most [`MAX_WRITES`] of them, no key twice, whose values together
    /// have less than 1 MiB.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::LeaseGone`]. After [`Error::Away`] it is not known whether it was made, nor
    /// whether it will yet be.
    pub async fn write(&self, condition: &If, writes: Vec<Write>) -> Result<Outcome> {
        if writes.len() > MAX_WRITES {
            let text = format!("{} writes at once, more than {MAX_WRITES}", writes.len());
            return Err(Error::Invalid(text));
        }
        let leases = writes.iter().find_map(|write| match write {
            Write::Put { lease, .. } if *lease != 0 => Some(*lease),
            _ => None,
        });
        let lease = leases.unwrap_or_default();
        let about = About { step: "writing keys", lease, ..About::default() };
        let txn = transaction(condition, writes);
        let ask = |client, _| write(client, txn.clone());
        self.members.call(about, Again::Unsent, By::Shared, ask).await
    }
}

async fn write(client: Client, txn: Txn) -> Result<Outcome, Fault> {
    let answer = client.kv_client().txn(txn).await?;
    let seen = Seen::of(answer.header())?;
    if answer.succeeded() {
        return Ok(Outcome::Made(seen.revision));
    }
    let found = answer.0.responses.into_iter().find_map(|part| match part.response {
        Some(PbTxnOpResponse::ResponseRange(range)) => range.kvs.into_iter().next(),
        _ => None,
    });
    Ok(Outcome::Refused(found.map(Entry::of)))
}

fn transaction(condition: &If, writes: Vec<Write>) -> Txn {
    let (key, holds) = match condition {
        If::Absent(key) => (key, Compare::version(key.as_bytes(), CompareOp::Equal, 0)),
        If::Unchanged(key, modified) => {
            (key, Compare::mod_revision(key.as_bytes(), CompareOp::Equal, *modified))
        }
    };
    let operations: Vec<_> = writes
        .into_iter()
        .map(|write| match write {
            Write::Put { key, value, lease } => {
                let options = PutOptions::new().with_lease(lease);
                TxnOp::put(key, value, Some(options))
            }
            Write::Delete { key } => TxnOp::delete(key, None),
        })
        .collect();
    Txn::new().when([holds]).and_then(operations).or_else([TxnOp::get(key.as_bytes(), None)])
}
