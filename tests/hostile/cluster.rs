//! What is shown of a cluster, asked for as no honest client does: of kinds that there are, so that all the
//! rest is looked at too.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use berth_grpc::Channel;
use berth_proto::berth::cluster::v1 as wire;
use prost::Message;
use tonic::Code::{self, InvalidArgument, NotFound, Ok as Fine, OutOfRange, ResourceExhausted};
use wire::cluster_client::ClusterClient;

use crate::stage::Stage;
use crate::takes::Takes;
use crate::{ANSWERED, client, pids, unharmed};

/// More streams than are opened, however few nobody reads.
const WATCHES: usize = 1_000;

/// Filters, and whether they are ones.
fn filters() -> Vec<(Vec<String>, Code)> {
    let one = |text: String| vec![text];
    let deep = |open: &str, count: usize| format!("name~={:?}", open.repeat(count));
    vec![
        (one("name==".into()), InvalidArgument),
        (one("\0".into()), InvalidArgument),
        (one("(".repeat(4000)), InvalidArgument),
        (one(deep("(", 2000)), InvalidArgument),
        (one(deep("(a|aa)+", 300)), Fine),
        (one("name~=\"((((x{100}){100}){100}){100}){100}\"".into()), InvalidArgument),
        (one("name~=\"^(a+)+$\"".into()), Fine),
        (one(format!("labels{}==x", ".a".repeat(2000))), Fine),
        (one(format!("name=={}", "x".repeat(4 << 10))), InvalidArgument),
        (vec!["name==x".into(); 65], InvalidArgument),
        (vec![format!("name=={}", "x".repeat(4000)); 64], Fine),
        (one("é==\u{202e}".into()), InvalidArgument),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_cluster_is_bounded() -> Result<()> {
    let stage = Stage::start()?;
    let (node, channel) = (&stage.node, berth_grpc::channel(&stage.node.address()));
    let before = pids(node)?;
    let takes = Takes::of(node.service_pid("berth-cluster")?)?;
    let mut asked = Asked { channel: &channel, differs: Vec::new() };
    for kind in [wire::Kind::Nodes, wire::Kind::Images, wire::Kind::Containers] {
        let list = wire::ListRequest { kind: kind.into(), ..Default::default() };
        let watch = wire::WatchRequest { kind: kind.into(), ..Default::default() };
        for (filters, code) in filters() {
            asked
                .of("List", &wire::ListRequest { filters: filters.clone(), ..list.clone() }, code)
                .await?;
            asked.of("Watch", &wire::WatchRequest { filters, ..watch.clone() }, code).await?;
        }
        for page_size in [1, u32::MAX] {
            asked.of("List", &wire::ListRequest { page_size, ..list.clone() }, Fine).await?;
        }
        for token in ["x".into(), "00".repeat(1 << 20), "\u{202e}".into(), "../..".into()] {
            let request = wire::ListRequest { page_token: token, ..list.clone() };
            asked.of("List", &request, InvalidArgument).await?;
        }
        for (from_revision, code) in
            [(i64::MIN, InvalidArgument), (-1, InvalidArgument), (i64::MAX, OutOfRange)]
        {
            asked.of("Watch", &wire::WatchRequest { from_revision, ..watch.clone() }, code).await?;
        }
        let large = wire::ListRequest { filters: vec!["x".repeat(17 << 20)], ..list };
        asked.of("List", &large, ResourceExhausted).await?;
    }
    for (name, code) in
        [("../../etc", InvalidArgument), ("a\0b", InvalidArgument), ("nobody", NotFound)]
    {
        asked.of("Inspect", &wire::InspectRequest { node: name.into() }, code).await?;
    }
    let long = wire::InspectRequest { node: "x".repeat(1 << 20) };
    asked.of("Inspect", &long, InvalidArgument).await?;
    ensure!(asked.differs.is_empty(), "{:#?}", asked.differs);
    takes.is_back()?;
    unharmed(node, &channel, &before).await
}

struct Asked<'a> {
    channel: &'a Channel,
    differs: Vec<String>,
}

impl Asked<'_> {
    /// Asks for it; notes what is not as it should be.
    async fn of(
        &mut self,
        method: &str,
        message: &(impl Message + std::fmt::Debug),
        code: Code,
    ) -> Result<()> {
        let bytes = message.encode_to_vec();
        let start: String = format!("{message:?}").chars().take(120).collect();
        let path = format!("berth.cluster.v1.Cluster/{method}");
        let status = client::answer(self.channel, &path, bytes).await?;
        // What is wrong with a filter is told with the filter, which is bounded.
        let short = status.message().len() < 8 << 10;
        if status.code() != code || !client::is_proper(&status) || !short {
            let words: String = status.message().chars().take(300).collect();
            self.differs
                .push(format!("{method} {start}: {:?} for {code:?}: {words}", status.code()));
        }
        Ok(())
    }
}

/// Each of them is told of what is there, and of all that changes.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_hold_up_nobody() -> Result<()> {
    let stage = Stage::start()?;
    let (node, channel) = (&stage.node, berth_grpc::channel(&stage.node.address()));
    let before = pids(node)?;
    let takes = Takes::of(node.service_pid("berth-cluster")?)?;
    let watch = async || {
        let request = wire::WatchRequest { kind: wire::Kind::Nodes.into(), ..Default::default() };
        let mut client = ClusterClient::new(berth_grpc::channel(&node.address()));
        client.watch(request).await.map(|stream| (client, stream))
    };
    let mut unread = Vec::new();
    let refused = loop {
        match watch().await {
            Ok(stream) => unread.push(stream),
            Err(status) => break status,
        }
        ensure!(unread.len() < WATCHES, "there is no end to them");
    };
    ensure!(refused.code() == ResourceExhausted && client::is_proper(&refused), "{refused:?}");
    ensure!(unread.len() > 10, "{} are all there may be", unread.len());
    node.berth("cluster nodes").output()?.ok()?;
    takes.descriptors_within(32)?;
    drop(unread);
    let begun = Instant::now();
    // Each ends when its client is seen to be gone.
    while let Err(status) = watch().await {
        ensure!(begun.elapsed() < ANSWERED, "{status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    takes.is_back()?;
    unharmed(node, &channel, &before).await
}
