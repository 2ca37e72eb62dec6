//! Attaching: the record, the namespace, the plugins of each network, the files.

use std::time::SystemTime;

use berth_cni::AttachmentId;
use berth_ids::{Labels, Namespace, validate_identifier};
use berth_netns::{NetNs, Owned};

use super::fault::Fault;
use super::told::Chosen;
use super::view::Attached;
use super::{DEFAULT, Key, Networks, container_id, told};
use crate::error::{Error, Result};
use crate::records::{ATTACHMENTS, Attachment, Joined, Standing, Users, Wanted};
use crate::work::to_the_end;

impl Networks {
    /// Makes a network namespace for a container or sandbox, and attaches it. What is there already and was asked for in
    /// the same words is answered; what is missing of it is made. A caller that goes away leaves it to its end.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Name`], [`Error::Fenced`]; [`Fault::NoNetwork`], [`Fault::NoPods`],
    /// [`Fault::Lacks`], [`Fault::PortTaken`], [`Fault::Differs`] before anything was done; [`Fault::Attach`], after which
    /// nothing of it is left or a job undoes it; [`Fault::Detach`] where what was there before cannot be undone;
    /// [`Fault::Detached`].
    pub async fn attach(&self, ns: &Namespace, id: &str, wanted: Wanted) -> Result<Attached> {
        validate_identifier(id).map_err(|source| Error::Name { what: "id", source })?;
        let wanted = wanted.checked()?;
        let (this, ns, key) = (self.clone(), ns.clone(), (ns.to_string(), id.to_owned()));
        let work = async move { this.attach_alone(&ns, key, wanted).await };
        to_the_end(&self.0.jobs, "network-attach", work).await
    }

    /// Makes anew what a start of the machine took away of an attachment; of others nothing.
    ///
    /// # Errors
    /// As [`Networks::attach`].
    pub(crate) async fn restore(&self, ns: &Namespace, id: &str) -> Result<()> {
        let key = (ns.to_string(), id.to_owned());
        let there = self.record(&key)?.map(|record| self.view(&key, record));
        match there {
            Some(there) if there.down && there.record.standing == Standing::Attached => {
                self.attach(ns, id, there.record.wanted).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    async fn attach_alone(&self, ns: &Namespace, key: Key, wanted: Wanted) -> Result<Attached> {
        let _alone = self.0.names.alone(&key).await;
        let there = self.record(&key)?;
        if let Some(there) = there.filter(|there| there.standing != Standing::Leaving) {
            let parts = there.wanted.differs_in(&wanted);
            if !parts.is_empty() {
                let (id, what) = (key.1, parts.join(", "));
                return Err(Fault::Differs { id, what }.into());
            }
            let view = self.view(&key, there);
            if view.record.standing == Standing::Attached && !view.down {
                self.write_files(&key, view.record.clone()).await?;
                self.rewrite_hosts().await?;
                return Ok(view);
            }
        }
        if wanted.networks.iter().any(|choice| choice.name == DEFAULT) {
            self.ensure_default().await?;
        }
        // Told before what is there is undone.
        let chosen = self.0.known.chosen(&wanted).await?;
        told::check(&wanted, &chosen)?;
        let before = self.record(&key)?;
        if let Some(before) = &before
            && let Err(error) = self.undo(&key, before).await
        {
            self.note_trouble(&key, &error).await?;
            return Err(error);
        }
        let (record, chosen) = self.begin(ns, &key, wanted).await?;
        let made = match self.join(&key, &record, &chosen).await {
            Ok(joined) => self.keep(&key, record, joined).await,
            Err(error) => Err(error),
        };
        match made {
            Ok(record) => {
                self.rewrite_hosts().await?;
                Ok(self.view(&key, record))
            }
            Err(cause) => Err(self.give_up(&key, cause).await),
        }
    }

    /// Puts on record what is about to be done. From here on no network of it is removed.
    async fn begin(
        &self,
        ns: &Namespace,
        key: &Key,
        wanted: Wanted,
    ) -> Result<(Attachment, Chosen)> {
        let _shared = self.0.known.changes.read().await;
        let chosen = self.0.known.chosen(&wanted).await?;
        let ifname = |number| wanted.interface(number);
        let joined = chosen.iter().enumerate().map(|(number, (network, _))| Joined {
            network: network.name().to_owned(),
            ifname: ifname(number),
            result: String::new(),
        });
        let joined = joined.collect();
        let (standing, trouble, created) = (Standing::Joining, String::new(), SystemTime::now());
        let record = Attachment { wanted, standing, joined, trouble, created };
        let pass = self.0.gate.enter(ns, &[], &Labels::new()).await?;
        let (kept, own) = (record.clone(), key.clone());
        let work = move |txn: &berth_store::Write| {
            // Until this commit is done, whoever waits for it.
            let _entered = &pass;
            for record in txn.range(&ATTACHMENTS, ())? {
                let (key, record) = record?;
                if key != own {
                    told::ports_are_free(&kept.wanted, &key, &record)?;
                }
            }
            Ok::<_, Error>(txn.put(&ATTACHMENTS, &own, &kept)?)
        };
        self.0.store.commit("attachments.begin", work).await?;
        Ok((record, chosen))
    }

    /// The namespace, the plugins, and the files.
    async fn join(&self, key: &Key, record: &Attachment, chosen: &Chosen) -> Result<Vec<Joined>> {
        let _turn = self.0.joining.take().await;
        // Who waited for long may have been given up.
        if self.record(key)?.is_none_or(|now| now.standing != Standing::Joining) {
            return Err(Fault::Detached(key.1.clone()).into());
        }
        let (folder, users) = (self.0.folders.namespaces(), self.0.folders.users());
        let (name, maps) = (container_id(key), record.wanted.users.as_ref().map(Users::maps));
        let make = move || {
            // What is pinned there is nobody's: all of what was on record is undone.
            NetNs::at(folder.join(&name)).remove()?;
            NetNs::at(users.join(&name)).remove()?;
            match maps {
                Some(maps) => Ok(Owned::make(&folder, &users, &name, &maps)?.network),
                None => NetNs::make(&folder, &name),
            }
        };
        let netns = berth_lifecycle::blocking("make network namespace", make).await;
        let netns = netns.map_err(Fault::from)?.map_err(Fault::from)?;
        let mut joined = record.joined.clone();
        for (number, (network, choice)) in chosen.iter().enumerate() {
            let told = told::Interface { number, choice, chosen, wanted: &record.wanted };
            let attachment = told.to_plugins(&container_id(key), netns.path())?;
            let network = told::as_joined(network, number)?;
            let added = self.0.engine.add(&network, &attachment).await;
            let outcome = added.map_err(|error| Fault::Attach {
                id: key.1.clone(),
                network: network.name().to_owned(),
                source: Box::new(error),
            })?;
            joined[number].result = outcome.result.to_value(outcome.version).to_string();
        }
        self.write_files(key, Attachment { joined: joined.clone(), ..record.clone() }).await?;
        Ok(joined)
    }

    /// Puts on record that it is attached, unless it was detached meanwhile.
    async fn keep(&self, key: &Key, record: Attachment, joined: Vec<Joined>) -> Result<Attachment> {
        let record = Attachment { standing: Standing::Attached, joined, ..record };
        let (own, kept) = (key.clone(), record.clone());
        let work = move |txn: &berth_store::Write| {
            let now = txn.get(&ATTACHMENTS, &own)?.map(|now| now.standing);
            if now != Some(Standing::Joining) {
                return Err(Error::from(Fault::Detached(own.1.clone())));
            }
            Ok(txn.put(&ATTACHMENTS, &own, &kept)?)
        };
        self.0.store.commit("attachments.keep", work).await?;
        Ok(record)
    }

    /// Undoes what a failed attempt has done; what it failed for is told.
    async fn give_up(&self, key: &Key, cause: Error) -> Error {
        let undone = async {
            let Some(record) = self.leave(key).await? else { return Ok(()) };
            self.undo_and_forget(key, &record).await
        };
        if let Err(error) = undone.await {
            let error = berth_errors::chain(&error);
            let (ns, id) = key;
            tracing::warn!(namespace = ns, id, error, "undo a failed attachment, again later");
            self.0.departures.notify_one();
        }
        cause
    }

    /// What is on record of an attachment.
    pub(super) fn record(&self, key: &Key) -> Result<Option<Attachment>> {
        Ok(self.0.store.read(|txn| txn.get(&ATTACHMENTS, &(key.0.as_str(), key.1.as_str())))?)
    }
}

/// What libcni's records call an interface.
pub(super) fn attachment_id(key: &Key, joined: &Joined) -> AttachmentId {
    AttachmentId {
        network: joined.network.clone(),
        container_id: container_id(key),
        ifname: joined.ifname.clone(),
    }
}
