//! Commands that fail, tokens that nobody comes for, sizes of terminals that are none and clients that go at once, thousands
//! of times. `BERTH_FAILURES` says how many: see `make test-long`.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::until;
use cri::runtime_service_client::RuntimeServiceClient;
use futures::{StreamExt, TryStreamExt};
use tonic::Code;

use super::takes::Takes;
use crate::stage::{SOON, Stage, on_a_node, shell};
use crate::streams::Client;

/// So many failures, unless more are asked for.
const FAILURES: usize = 2_000;
/// So many first, after which what is kept for further calls is there.
const FIRST: usize = 400;
/// So many at once.
const AT_ONCE: usize = 4;
/// What each process may hold more of afterwards, in KiB, whatever the number of failures.
const GROWTH: u64 = 6 << 10;
/// Sizes of a terminal that are sent at once.
const SIZES: usize = 50;

const V4: &str = "v4.channel.k8s.io";

/// A container that waits and one with a terminal.
#[derive(Clone)]
struct Two {
    channel: berth_grpc::Channel,
    plain: String,
    terminal: String,
}

impl Two {
    fn client(&self) -> RuntimeServiceClient<berth_grpc::Channel> {
        RuntimeServiceClient::new(self.channel.clone())
    }

    /// One failure, of the kind that its number says.
    async fn fail(&self, number: usize) -> Result<()> {
        match number % 8 {
            0 => self.no_program().await,
            1 => self.no_program_by_a_stream().await,
            2 => self.attach_and_go(&self.plain, false).await,
            3 => self.attach_and_go(&self.terminal, true).await,
            4 => self.unused().await,
            5 => self.no_container().await,
            6 => self.no_words().await,
            _ => self.no_stream().await,
        }
    }

    /// A program that is not there.
    async fn no_program(&self) -> Result<()> {
        let cmd = vec!["/there/is/no/such".to_owned()];
        let container_id = self.plain.clone();
        let request = cri::ExecSyncRequest { container_id, cmd, timeout: 100 };
        let refused = self.client().exec_sync(request).await.err().context("it runs")?;
        ensure!(refused.message().contains("failed to start exec"), "{refused:?}");
        Ok(())
    }

    async fn exec_url(&self, tty: bool) -> Result<String, tonic::Status> {
        let request = cri::ExecRequest {
            container_id: self.plain.clone(),
            cmd: vec!["/there/is/no/such".to_owned()],
            tty,
            stdin: true,
            stdout: true,
            stderr: !tty,
        };
        Ok(self.client().exec(request).await?.into_inner().url)
    }

    /// The same with a terminal, whose size changes before there is one, and to what is no size.
    async fn no_program_by_a_stream(&self) -> Result<()> {
        let mut client = Client::connect(&self.exec_url(true).await?, V4).await?;
        for size in sizes() {
            // It may have failed by now.
            let _ = client.say(4, size.as_bytes()).await;
        }
        client.hear(3, "Failure").await.map(drop)
    }

    async fn attach_and_go(&self, id: &str, tty: bool) -> Result<()> {
        let request = cri::AttachRequest {
            container_id: id.to_owned(),
            stdin: true,
            tty,
            stdout: true,
            stderr: !tty,
        };
        let url = self.client().attach(request).await?.into_inner().url;
        let mut client = Client::connect(&url, V4).await?;
        for size in sizes() {
            client.say(4, size.as_bytes()).await?;
        }
        // Without a word.
        drop(client);
        Ok(())
    }

    /// A token that nobody comes with. There are as many as there may be, and then no more for a while.
    async fn unused(&self) -> Result<()> {
        match self.exec_url(false).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::ResourceExhausted => Ok(()),
            Err(status) => Err(status.into()),
        }
    }

    async fn no_container(&self) -> Result<()> {
        let cmd = vec!["true".to_owned()];
        let container_id = "ab".repeat(32);
        let request = cri::ExecSyncRequest { container_id, cmd, timeout: 0 };
        let refused = self.client().exec_sync(request).await.err().context("it runs")?;
        ensure!(refused.code() == Code::NotFound, "{refused:?}");
        Ok(())
    }

    async fn no_words(&self) -> Result<()> {
        let container_id = self.plain.clone();
        let request = cri::ExecSyncRequest { container_id, cmd: Vec::new(), timeout: 0 };
        let refused = self.client().exec_sync(request).await.err().context("it runs")?;
        ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
        Ok(())
    }

    async fn no_stream(&self) -> Result<()> {
        let request = cri::AttachRequest { container_id: self.plain.clone(), ..Default::default() };
        let refused = self.client().attach(request).await.err().context("it is given")?;
        ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
        Ok(())
    }
}

/// What comes as the size of a terminal, good or not.
fn sizes() -> impl Iterator<Item = &'static str> {
    let all = [
        r#"{"Width":80,"Height":25}"#,
        r#"{"Width":65535,"Height":65535}"#,
        r#"{"Width":0,"Height":0}"#,
    ];
    all.into_iter().cycle().take(SIZES)
}

/// So many failures.
fn fail(stage: &Stage, two: &Two, numbers: std::ops::Range<usize>) -> Result<()> {
    let failing = futures::stream::iter(numbers).map(|number| {
        let two = two.clone();
        async move { two.fail(number).await.with_context(|| format!("failure {number}")) }
    });
    stage.tokio().block_on(failing.buffer_unordered(AT_ONCE).try_collect())
}

#[test]
fn failures_of_commands_and_attachments_leave_nothing() -> Result<()> {
    let failures = std::env::var("BERTH_FAILURES").ok().and_then(|value| value.parse().ok());
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("failures")?;
        stage.pull()?;
        let plain = shell("plain", &stage.image, "sleep 100000");
        let mut terminal = shell("terminal", &stage.image, "sleep 100000");
        (terminal.tty, terminal.stdin) = (true, true);
        let mut ids = Vec::new();
        for config in [plain, terminal] {
            let id = stage.create(&pod, &config, &pod_config)?;
            stage.start(&id)?;
            ids.push(id);
        }
        let two = Two { channel: stage.channel(), plain: ids.remove(0), terminal: ids.remove(0) };
        fail(stage, &two, 0..FIRST)?;
        let services = ["berth-cri", "berth-runtime", "berth-gateway"];
        let mut pids = services
            .map(|name| stage.node.service_pid(name))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        pids.extend(stage.node.shims());
        assert_eq!(pids.len(), services.len() + 1, "one shim for the pod");
        let begun = std::time::Instant::now();
        let before = pids.into_iter().map(Takes::of).collect::<Result<Vec<_>>>()?;
        fail(stage, &two, FIRST..FIRST + failures.unwrap_or(FAILURES))?;
        println!("{} failures took {:?}", failures.unwrap_or(FAILURES), begun.elapsed());
        for takes in before {
            takes.is_back(GROWTH)?;
        }
        nothing_is_left(stage, &two)?;
        stage.remove_pod(&pod)?;
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.shims_end()
    })
}

/// Only the pod's and its containers' own processes are there, and no pipe of a command.
fn nothing_is_left(stage: &Stage, two: &Two) -> Result<()> {
    let listed = stage.exec(&two.plain, &["ps", "-o", "comm"], 60)?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    // Both containers are in the pod's own pid namespace.
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["COMMAND", "pause", "sleep", "sleep", "ps"]);
    for id in [&two.plain, &two.terminal] {
        // Where who attaches comes, and a folder for each command.
        let folder = stage.node.path("state/cri/io").join(&id[..20]);
        let mut left = Vec::new();
        until("no command has a folder", SOON, || {
            left = names(&folder);
            left == ["attach.sock"]
        })
        .with_context(|| format!("{left:?}"))?;
    }
    Ok(())
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
