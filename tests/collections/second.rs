//! A second namespace, which has some of the first one's blobs too, as all namespaces share what they
//! write. What goes in one of them stays in the other, with its bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use berth_proto::containerd::services::content::v1 as content;
use berth_testkit::sha256;

use crate::client::{Client, Labels, all, ask, make};
use crate::model::Thing;

const NAME: &str = "second";

/// How a blob gets there.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// With its bytes.
    Written,
    /// By its digest alone: the first namespace has it.
    Named,
}

/// How a blob goes from there.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// With its lease, by a collection that is asked for, or by one that comes.
    Lease { sync: bool },
    /// Deleted by its digest; its lease goes too.
    Deleted,
}

pub struct Second {
    client: Client,
    held: BTreeMap<Thing, Held>,
    /// All that both had at a time.
    both: BTreeSet<Thing>,
}

/// A blob there, and the lease that holds it.
struct Held {
    lease: String,
    bytes: Vec<u8>,
}

impl Second {
    pub fn beside(first: &Client) -> Result<Self> {
        let (held, both) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { client: first.within(NAME)?, held, both })
    }

    /// What it holds.
    pub fn blobs(&self) -> Vec<Thing> {
        self.held.keys().cloned().collect()
    }

    /// Texts of the first one's own that it holds.
    pub fn texts(&self) -> Vec<String> {
        let texts =
            self.held.values().filter_map(|held| String::from_utf8(held.bytes.clone()).ok());
        texts.filter(|text| text.starts_with("blob ")).collect()
    }

    /// Takes a blob of the first one's under a lease of its own.
    pub async fn share(&mut self, first: &Client, blob: &Thing, way: Way, n: u64) -> Result<()> {
        let (digest, lease) = (blob.name(), format!("share-{n}"));
        let bytes = first.read(digest).await.context("in the first namespace")?;
        self.client.create_lease(&lease, false, None).await?;
        match way {
            Way::Written => self.client.write(&lease, digest, &bytes, &Labels::new()).await?,
            Way::Named => self.client.name(&lease, digest, bytes.len()).await?,
        }
        self.both.insert(blob.clone());
        self.held.insert(blob.clone(), Held { lease, bytes });
        Ok(())
    }

    /// Lets go of a blob.
    pub async fn drop(&mut self, blob: &Thing, end: End) -> Result<()> {
        let held = self.held.remove(blob).context("it is not held")?;
        let sync = match end {
            End::Lease { sync } => sync,
            End::Deleted => {
                self.client.remove(blob).await?;
                false
            }
        };
        self.client.delete_lease(&held.lease, sync).await
    }

    /// What is held is there and whole, and so is what the first one, which reaches these, had together
    /// with it.
    pub async fn compare(&self, first: &Client, reached: &BTreeSet<Thing>) -> Result<()> {
        let there = self.client.there().await?;
        let lost: Vec<_> = self.held.keys().filter(|blob| !there.contains(*blob)).collect();
        ensure!(lost.is_empty(), "the second namespace lost {lost:?}");
        for (blob, held) in &self.held {
            let bytes = self.client.read(blob.name()).await.context("in the second namespace")?;
            ensure!(bytes == held.bytes, "{blob:?} has other bytes");
        }
        for blob in self.both.intersection(reached) {
            let bytes = first.read(blob.name()).await.context("in the first namespace")?;
            ensure!(sha256(&bytes) == blob.name(), "{blob:?} has other bytes");
        }
        Ok(())
    }

    /// Nothing is there that is not held, after a collection. A lease holds its ingests too, of which a
    /// kill may have left some.
    pub async fn has_no_more(&self) -> Result<()> {
        let mut there = self.client.there().await?;
        there.retain(|thing| match thing {
            Thing::Ingest(_) => self.held.is_empty(),
            other => !self.held.contains_key(other),
        });
        ensure!(there.is_empty(), "nothing refers to {there:?} of the second namespace");
        Ok(())
    }
}

impl Client {
    /// All of a blob's bytes.
    pub async fn read(&self, digest: &str) -> Result<Vec<u8>> {
        ask("read blob", async || {
            let digest = digest.to_owned();
            let request = self.on(content::ReadContentRequest { digest, offset: 0, size: 0 });
            let frames = all(self.blobs().read(request).await?.into_inner()).await?;
            Ok(frames.into_iter().flat_map(|frame| frame.data).collect())
        })
        .await
        .with_context(|| digest.to_owned())
    }

    /// Commits under a lease a blob that another namespace has, without its bytes.
    async fn name(&self, lease: &str, digest: &str, size: usize) -> Result<()> {
        let mut tries = 0;
        make("name blob", async || {
            tries += 1;
            let message = content::WriteContentRequest {
                action: content::WriteAction::Commit.into(),
                r#ref: format!("{digest}-named-{tries}"),
                total: size as i64,
                offset: size as i64,
                expected: digest.to_owned(),
                ..Default::default()
            };
            let request = self.under(lease, tokio_stream::iter([message]))?;
            all(self.blobs().write(request).await?.into_inner()).await
        })
        .await
    }
}
