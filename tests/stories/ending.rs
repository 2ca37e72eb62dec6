//! A node that is told to end while calls are under way: docs/operations.md, "Ending a node".

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_grpc::{Channel, Settings, with_namespace};
use berth_proto::containerd::services::content::v1 as wire;
use berth_proto::containerd::services::version::v1::version_client::VersionClient;
use berth_testkit::{Fault, Image, Layer, On, Proxy, Signal, sha256, signal, until};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use wire::content_client::ContentClient;

use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(60);

/// A write that has begun, and whose client has not said all yet.
struct Write {
    text: String,
    says: mpsc::Sender<wire::WriteContentRequest>,
    answers: Streaming<wire::WriteContentResponse>,
}

impl Write {
    /// The node has answered what was said first.
    async fn begin(channel: &Channel, text: &str) -> Result<Self> {
        let (says, said) = mpsc::channel(1);
        let first = wire::WriteContentRequest {
            action: wire::WriteAction::Write.into(),
            r#ref: text.to_owned(),
            data: text.as_bytes()[..1].to_vec().into(),
            ..Default::default()
        };
        says.send(first).await?;
        let request = with_namespace(ReceiverStream::new(said), &"default".parse()?);
        let mut answers = ContentClient::new(channel.clone()).write(request).await?.into_inner();
        let answer = answers.message().await?.context("an answer")?;
        ensure!(answer.offset == 1, "{answer:?}");
        Ok(Self { text: text.to_owned(), says, answers })
    }

    /// Says the rest, and is answered.
    async fn finish(mut self) -> Result<()> {
        let last = wire::WriteContentRequest {
            action: wire::WriteAction::Commit.into(),
            offset: 1,
            total: self.text.len() as i64,
            expected: sha256(self.text.as_bytes()),
            data: self.text.as_bytes()[1..].to_vec().into(),
            // No lease holds it.
            labels: [("containerd.io/gc.root".to_owned(), "now".to_owned())].into(),
            ..Default::default()
        };
        self.says.send(last).await?;
        let answer = self.answers.message().await?.context("an answer")?;
        ensure!(answer.digest == sha256(self.text.as_bytes()), "{answer:?}");
        Ok(())
    }

    /// Says nothing more, and is told why it comes to no answer.
    async fn cut_off(mut self) -> Result<Status> {
        let told = self.answers.message().await;
        told.err().context("a call that was not finished is answered")
    }
}

/// A client that waits for nobody who does not listen.
fn client(stage: &Stage) -> Channel {
    let address = stage.node.address();
    Channel::new(&address, Settings { wait: Duration::ZERO, ..Settings::of(&address) })
}

/// Tells the node to end, and waits until it takes no calls, also of the client that has one under way.
fn told_to_end(stage: &Stage, to: Signal, client: &Channel, runtime: &Runtime) -> Result<()> {
    signal(stage.node.berthd_pid()?, to)?;
    let call = || runtime.block_on(VersionClient::new(client.clone()).version(Request::new(())));
    until("new calls are refused", SOON, || call().is_err())?;
    let refused = call().err().context("a call is taken after one was refused")?;
    ensure!(refused.code() == Code::Unavailable, "{refused:?}");
    Ok(())
}

/// A node with such a bound, and a container that runs.
fn stage(drain: &str, id: &str) -> Result<Stage> {
    let mut stage = Stage::pulled()?;
    stage.run(&format!("-d --name {id}"), "sleep 600").output()?.ok()?;
    stage.node.stop()?;
    let config = format!("[gateway]\ndrain = {drain:?}\n");
    fs_err::write(stage.node.path("berth.toml"), config)?;
    stage.node.start_berthd()?;
    Ok(stage)
}

/// The node ends well, its container runs on, and the next start takes it up.
fn goes_on(stage: &mut Stage, id: &str) -> Result<()> {
    ensure!(stage.node.stop()? == Some(0), "{}", stage.node.log()?);
    let log = stage.node.log()?;
    ensure!(!log.contains("did not drain"), "a service was killed\n{log}");
    ensure!(stage.node.shims().len() == 1, "the shim is gone");
    stage.node.start_berthd()?;
    ensure!(stage.berth(&format!("exec {id} echo on"))? == "on\n", "{id} is not taken up");
    stage.node.fsck()
}

#[test]
fn a_call_that_ends_within_the_bound_is_answered() -> Result<()> {
    let mut stage = stage("10s", "ending-answered")?;
    let runtime = Runtime::new()?;
    for to in [Signal::TERM, Signal::INT] {
        let client = client(&stage);
        let text = format!("written while the node ends by {to:?}");
        let write = runtime.block_on(Write::begin(&client, &text))?;
        told_to_end(&stage, to, &client, &runtime)?;
        runtime.block_on(write.finish())?;
        goes_on(&mut stage, "ending-answered")?;
        let kept = stage.ctr(&format!("content get {}", sha256(text.as_bytes())))?;
        ensure!(kept == text, "{kept:?}");
    }
    Ok(())
}

#[test]
fn a_call_that_does_not_end_is_unavailable_once_the_bound_is_over() -> Result<()> {
    let bound = Duration::from_secs(2);
    let mut stage = stage("2s", "ending-cut")?;
    let runtime = Runtime::new()?;
    let large = Image::build(
        vec![Layer::busybox()?, Layer::noise("noise", 4_000_000, 3)?],
        serde_json::json!({}),
    )?;
    for (to, name) in [(Signal::TERM, "term"), (Signal::INT, "int")] {
        large.push(&stage.registry, &format!("{name}:1"))?;
        let proxy = Proxy::faulty(&stage.registry.host(), On::Download, Fault::Stall, usize::MAX)?;
        let pull = stage.node.berth(&format!("pull -q {}", proxy.reference(&format!("{name}:1"))));
        let pull = std::thread::spawn(move || pull.output());
        let fetches = || stage.ctr("content active").is_ok_and(|told| told.lines().count() > 1);
        until("the pull fetches what stalls", SOON, fetches)?;
        let client = client(&stage);
        let write = runtime.block_on(Write::begin(&client, name))?;
        let begun = Instant::now();
        told_to_end(&stage, to, &client, &runtime)?;
        let told = runtime.block_on(write.cut_off())?;
        let took = begun.elapsed();
        ensure!(told.code() == Code::Unavailable, "{told:?}");
        // It is the gateway that says so, before the connection goes.
        ensure!(told.message().contains("service berth-distribution broke off"), "{told:?}");
        ensure!(took >= bound, "cut off after {took:?}");
        let pulled = pull.join().expect("no panic")?.fails(1)?;
        ensure!(pulled.contains("unavailable"), "{pulled}");
        goes_on(&mut stage, "ending-cut")?;
    }
    Ok(())
}
