//! A snapshotter of the node's that is a process of others: Debian's containerd, whose overlayfs it
//! calls. What others do there, and what the node is asked about it.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use berth_grpc::Channel;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_testkit::{Containerd, program};
use tonic::{Code, Status};
use wire::snapshots_client::SnapshotsClient;

use crate::calls::{labels, on};

/// What the node calls it.
pub const THEIRS: &str = "theirs";
/// By this label a snapshotter is asked for what it has under a name of its own.
const TARGET: &str = "containerd.io/snapshot.ref";

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Theirs(PathBuf);

/// What others do there.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Makes a snapshot that can be asked for by this name.
    Offer(String),
    /// Removes what is of this name, or is called so by the node.
    Lose(String),
}

/// What the node is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// To prepare what is offered: it is taken over instead.
    TakeOver { target: String },
    /// To commit what was lost there, which is refused.
    CommitLost { key: String },
    /// To remove there what it needs no more.
    ClearUp,
}

impl Theirs {
    pub fn of(containerd: &Containerd) -> Self {
        Self(containerd.address())
    }

    /// The part of a node's configuration that has it called.
    pub fn config(&self) -> String {
        let address = &self.0;
        format!(
            "[proxy_plugins.{THEIRS}]\ntype = \"snapshot\"\naddress = {address:?}\n\
             snapshotter = \"overlayfs\"\n"
        )
    }

    /// # Errors
    /// What is said there.
    pub fn run(&self, deed: &Deed) -> Result<()> {
        match deed {
            Deed::Offer(name) => {
                let work = format!("work-{name}");
                self.ctr(&format!("prepare {work}"))?;
                self.ctr(&format!("commit {name} {work}"))?;
                self.ctr(&format!("label {name} {TARGET}={name}")).map(drop)
            }
            Deed::Lose(name) => {
                let ours = format!("/{name}");
                let lost: Vec<_> = self.keys()?;
                let mut lost = lost.iter().filter(|key| *key == name || key.ends_with(&ours));
                lost.try_for_each(|key| self.ctr(&format!("rm {key}")).map(drop))
            }
        }
    }

    /// The keys of all that it has.
    pub fn keys(&self) -> Result<Vec<String>> {
        let listed = self.ctr("ls")?;
        ensure!(listed.starts_with("KEY"), "{listed}");
        let keys = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        Ok(keys.map(str::to_owned).collect())
    }

    fn ctr(&self, line: &str) -> Result<String> {
        let of = ["-n", "default", "snapshots", "--snapshotter", "overlayfs"];
        let run = program("ctr").args(["--address"]).args([&self.0]).args(of);
        run.args(line.split_whitespace()).output()?.ok()
    }
}

impl Ask {
    pub async fn make(&self, channel: Channel) -> Result<(), Status> {
        let mut client = SnapshotsClient::new(channel);
        let snapshotter = THEIRS.to_owned();
        match self {
            Self::TakeOver { target } => {
                let request = wire::PrepareSnapshotRequest {
                    snapshotter,
                    key: format!("extract-{target}"),
                    labels: labels(&[(TARGET, target)]),
                    ..Default::default()
                };
                refused(client.prepare(on(request)?).await, Code::AlreadyExists)
            }
            Self::CommitLost { key } => {
                let request = wire::CommitSnapshotRequest {
                    snapshotter,
                    name: format!("committed-{key}"),
                    key: key.clone(),
                    ..Default::default()
                };
                refused(client.commit(on(request)?).await, Code::NotFound)
            }
            Self::ClearUp => {
                client.cleanup(on(wire::CleanupRequest { snapshotter })?).await.map(drop)
            }
        }
    }
}

/// What is to be answered by a refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) -> Result<(), Status> {
    match answer {
        Err(status) if status.code() == code => Ok(()),
        Err(status) => Err(status),
        Ok(answer) => Err(Status::internal(format!("{answer:?}, where {code:?} was expected"))),
    }
}
