//! Undoing an attachment: the plugins in reverse, the namespace, the files, and the record last.

use berth_errors::{Code, Coded};
use berth_ids::Namespace;
use berth_netns::NetNs;

use super::attach::attachment_id;
use super::fault::Fault;
use super::{Key, Networks};
use crate::error::{Error, Result};
use crate::records::{ATTACHMENTS, Attachment, Standing};
use crate::work::to_the_end;

/// The most that is kept of what is in the way, in bytes.
const MAX_TROUBLE: usize = 8 << 10;

impl Networks {
    /// Undoes an attachment. It is no error when there is none. What fails is tried again until it holds.
    ///
    /// # Errors
    /// [`Fault::Detach`] of what a plugin has refused.
    pub async fn detach(&self, ns: &Namespace, id: &str) -> Result<()> {
        let (this, key) = (self.clone(), (ns.to_string(), id.to_owned()));
        let work = async move {
            if this.leave(&key).await?.is_none() {
                return Ok(());
            }
            let undone = this.finish_leaving(&key).await;
            if undone.is_err() {
                this.0.departures.notify_one();
            }
            undone
        };
        to_the_end(&self.0.jobs, "network-detach", work).await
    }

    /// Puts on record that an attachment is being undone; what it is, if there is one.
    pub(super) async fn leave(&self, key: &Key) -> Result<Option<Attachment>> {
        let own = key.clone();
        let work = move |txn: &berth_store::Write| mark_leaving(txn, &own);
        self.0.store.commit("attachments.leave", work).await
    }

    /// Undoes what is on record as leaving; nothing is to do where somebody has been quicker.
    pub(super) async fn finish_leaving(&self, key: &Key) -> Result<()> {
        let _alone = self.0.names.alone(key).await;
        match self.record(key)? {
            Some(record) if record.standing == Standing::Leaving => {
                self.undo_and_forget(key, &record).await
            }
            _ => Ok(()),
        }
    }

    /// Undoes it and drops the record; what is in the way is kept there. The name is held.
    pub(super) async fn undo_and_forget(&self, key: &Key, record: &Attachment) -> Result<()> {
        if let Err(error) = self.undo(key, record).await {
            self.note_trouble(key, &error).await?;
            return Err(error);
        }
        let own = key.clone();
        let work = move |txn: &berth_store::Write| {
            let now = txn.get(&ATTACHMENTS, &own)?.map(|now| now.standing);
            if now == Some(Standing::Leaving) {
                txn.delete(&ATTACHMENTS, &own)?;
            }
            Ok::<_, Error>(())
        };
        self.0.store.commit("attachments.forget", work).await?;
        self.rewrite_hosts().await
    }

    /// Undoes all that plugins have done and all that was made, but not the record. May be repeated. The namespace stays
    /// until no plugin needs it any more.
    pub(super) async fn undo(&self, key: &Key, record: &Attachment) -> Result<()> {
        let _turn = self.0.leaving.take().await;
        let mut failed: Vec<(String, Code)> = Vec::new();
        for joined in record.joined.iter().rev() {
            if let Err(error) = self.0.engine.remove(&attachment_id(key, joined)).await {
                let network = &joined.network;
                failed.push((format!("from network {network:?}: {error}"), error.code()));
            }
        }
        if let Some((_, code)) = failed.first() {
            let (id, code) = (key.1.clone(), *code);
            let words: Vec<_> = failed.into_iter().map(|(words, _)| words).collect();
            return Err(Fault::Detach { id, trouble: words.join("; "), code }.into());
        }
        let namespaces = [self.0.folders.netns(key), self.0.folders.userns(key)];
        let (folders, own) = (self.0.folders.clone(), key.clone());
        let work = move || {
            namespaces.into_iter().try_for_each(|path| NetNs::at(path).remove())?;
            folders.remove(&own)
        };
        let removed = berth_lifecycle::blocking("remove network namespace", work).await;
        Ok(removed.map_err(Fault::from)??)
    }

    /// Puts on record what is in the way of its end.
    pub(super) async fn note_trouble(&self, key: &Key, error: &Error) -> Result<()> {
        let (own, mut trouble) = (key.clone(), berth_errors::chain(error));
        let end = (0..=MAX_TROUBLE.min(trouble.len())).rev().find(|n| trouble.is_char_boundary(*n));
        trouble.truncate(end.unwrap_or_default());
        let work = move |txn: &berth_store::Write| {
            if let Some(mut record) = txn.get(&ATTACHMENTS, &own)?
                && record.trouble != trouble
            {
                record.trouble.clone_from(&trouble);
                txn.put(&ATTACHMENTS, &own, &record)?;
            }
            Ok::<_, Error>(())
        };
        self.0.store.commit("attachments.trouble", work).await
    }
}

/// Within a commit: what is attached under this name is to go.
pub(crate) fn mark_leaving(txn: &berth_store::Write, key: &Key) -> Result<Option<Attachment>> {
    let Some(mut record) = txn.get(&ATTACHMENTS, key)? else { return Ok(None) };
    if record.standing != Standing::Leaving {
        record.standing = Standing::Leaving;
        txn.put(&ATTACHMENTS, key, &record)?;
    }
    Ok(Some(record))
}
