//! ADD: the plugins in order, each with what the one before said.

use serde_json::Value;

use super::{Engine, request};
use crate::attachment::Told;
use crate::cache::{Found, Record};
use crate::plugin::{Command, excerpt};
use crate::turns::Turn;
use crate::{Attachment, Error, Network, NetworkResult, Version};

/// What an ADD has led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What the last plugin said.
    pub result: NetworkResult,
    /// The version that the network's plugins were spoken to in.
    pub version: Version,
}

/// Why a chain did not get to its end, and what there was by then.
struct Stopped {
    /// How many plugins may have done something.
    begun: usize,
    previous: Option<Value>,
    cause: Error,
}

impl Engine {
    /// Attaches a container. What a failed attempt has done is undone before it is told. One that an earlier run had
    /// begun and not ended is undone first.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::NoPlugin`] before anything was done; [`Error::Added`] where the container has
    /// that interface on this network; what plugins say; [`Error::NotUndone`]; [`Error::Busy`]; [`Error::Cache`].
    pub async fn add(&self, network: &Network, attachment: &Attachment) -> Result<Outcome, Error> {
        let told = Told::by(&network.name, attachment)?;
        if told.netns.is_none() {
            let (what, value, reason) = ("namespace", String::new(), "is needed for ADD");
            return Err(Error::Argument { what, value, reason });
        }
        let _network = self.shared.networks.shared(&network.name).await;
        let (_alone, turn) = self.turn(&told.id.container_id).await?;
        if !turn.is_held() {
            let (container, waited) = (told.id.container_id, self.shared.settings.deadline);
            return Err(Error::Busy { container, waited });
        }
        match self.find_record(&told.id).await? {
            Found::Nothing => {}
            Found::Record(record) if !record.pending => return Err(Error::Added(told.id)),
            Found::Other => return Err(Error::Added(told.id)),
            Found::Record(_) | Found::Unreadable => {
                self.delete(Some(network), told.clone(), &turn).await?;
            }
        }
        self.find_all(network)?;
        let record = Record {
            id: told.id.clone(),
            netns: told.netns.clone(),
            netns_override: told.netns_override,
            config: network.to_list().to_string().into_bytes(),
            args: told.args.clone(),
            capabilities: told.capabilities.clone(),
            result: None,
            pending: true,
        };
        self.keep(record.clone()).await?;
        match self.add_all(network, &told, &turn, record).await {
            Ok(result) => Ok(Outcome { result, version: network.version }),
            Err(stopped) => Err(self.undo(network, &told, &turn, stopped).await),
        }
    }

    async fn add_all(
        &self,
        network: &Network,
        told: &Told,
        turn: &Turn,
        mut record: Record,
    ) -> Result<NetworkResult, Stopped> {
        let mut result = NetworkResult::default();
        let mut previous = None;
        let count = network.plugins.len();
        for (n, plugin) in network.plugins.iter().enumerate() {
            let capabilities = &told.capabilities;
            let input = request::of_attachment(network, plugin, capabilities, previous.as_ref());
            let answer = self.call(plugin, Command::Add, told, turn, input).await;
            let said = answer.and_then(|said| {
                let read = NetworkResult::read(&said, network.version);
                read.map_err(|reason| Error::Garbage {
                    plugin: plugin.kind.clone(),
                    command: Command::Add,
                    reason: format!("its result cannot be read: {reason}"),
                    said: excerpt(&said),
                })
            });
            let stopped = |cause, previous| Stopped { begun: n + 1, previous, cause };
            result = said.map_err(|cause| stopped(cause, previous.clone()))?;
            let value = result.to_value(network.version);
            if n + 1 < count {
                let (id, value) = (told.id.clone(), value.clone());
                let noted = self.with_cache(move |cache| cache.note(&id, &value)).await;
                noted.map_err(|cause| stopped(cause, previous.clone()))?;
            }
            previous = Some(value);
        }
        record.result.clone_from(&previous);
        record.pending = false;
        let id = told.id.clone();
        let kept = self.with_cache(move |cache| {
            cache.keep(&record)?;
            cache.forget_notes(&id)
        });
        kept.await.map_err(|cause| Stopped { begun: count, previous, cause })?;
        Ok(result)
    }

    /// DEL of the plugins that were begun. The record stays where that fails.
    async fn undo(&self, network: &Network, told: &Told, turn: &Turn, stopped: Stopped) -> Error {
        let Stopped { begun, previous, cause } = stopped;
        let mut only = network.clone();
        only.plugins.truncate(begun);
        let undone = async {
            self.del_all(&only, told, turn, previous.as_ref()).await?;
            self.remove_record(&told.id).await
        };
        match undone.await {
            Ok(()) => cause,
            Err(undo) => Error::NotUndone { cause: Box::new(cause), undo: Box::new(undo) },
        }
    }
}
