//! What goes on meanwhile: collections, and kills of services.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use berth_proto::berth::node::v1::CollectRequest;
use berth_proto::berth::node::v1::collection_client::CollectionClient;
use berth_testkit::{Node, Signal};
use rustix::io::Errno;
use rustix::process::{Pid, kill_process};
use tonic::{Code, Status};

use crate::random::Random;

const VICTIMS: [&str; 3] = ["berth-distribution", "berth-bundle", "berth-runtime"];
/// One step in so many has a kill.
const RARELY: u64 = 8;
/// Every so many kills it is berthd with all services, which then start without a delay again.
const ALL: u64 = 12;
/// How long a collection may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The latest moment of a kill, in milliseconds from the begin of its step.
const LATEST: u64 = 60;

/// Kills at seeded random moments.
#[derive(Default)]
pub struct Kills {
    pub count: u64,
    running: Option<JoinHandle<rustix::io::Result<()>>>,
}

impl Kills {
    /// Perhaps kills a service while the step that begins now is under way.
    pub fn perhaps(&mut self, random: &mut Random, node: &mut Node) -> Result<()> {
        let victim = VICTIMS[random.below(VICTIMS.len() as u64) as usize];
        let wait = Duration::from_millis(random.below(LATEST));
        if random.below(RARELY) > 0 {
            return Ok(());
        }
        self.settle()?;
        self.count += 1;
        if self.count.is_multiple_of(ALL) {
            node.kill_berthd()?;
            return node.start_berthd();
        }
        // None is there while berthd waits before it starts it again.
        let Ok(pid) = node.service_pid(victim) else { return Ok(()) };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        self.running = Some(std::thread::spawn(move || {
            // The moment of the kill is the random choice that the test is about.
            std::thread::sleep(wait);
            match pid.map_or(Ok(()), |pid| kill_process(pid, Signal::KILL)) {
                // The kill before this one was so late that the dead were still listed.
                Err(Errno::SRCH) => Ok(()),
                done => done,
            }
        }));
        Ok(())
    }

    /// Waits until the last kill was made.
    pub fn settle(&mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            running.join().map_err(|_| anyhow!("the killer panicked"))??;
        }
        Ok(())
    }
}

/// One collection after the other.
pub struct Collections {
    stop: Arc<AtomicBool>,
    running: tokio::task::JoinHandle<Result<Counts, Status>>,
}

/// How they ended.
#[derive(Debug, Default)]
pub struct Counts {
    pub done: u64,
    pub given_up: u64,
}

impl Collections {
    pub fn begin(address: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        #[allow(clippy::disallowed_methods, reason = "it ends with the test, and is waited for")]
        let running = tokio::spawn(collect(address.to_owned(), stop.clone()));
        Self { stop, running }
    }

    pub async fn end(self) -> Result<Counts> {
        self.stop.store(true, Ordering::SeqCst);
        Ok(self.running.await??)
    }
}

async fn collect(address: PathBuf, stop: Arc<AtomicBool>) -> Result<Counts, Status> {
    let mut client = CollectionClient::new(berth_grpc::channel(&address));
    let mut counts = Counts::default();
    while !stop.load(Ordering::SeqCst) {
        let mut request = tonic::Request::new(CollectRequest {});
        request.set_timeout(PATIENCE);
        match client.collect(request).await {
            Ok(_) => counts.done += 1,
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Aborted) => {
                counts.given_up += 1;
            }
            Err(status) => return Err(status),
        }
    }
    Ok(counts)
}
