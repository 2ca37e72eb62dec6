//! From the start of the program until Version and the lists of images, snapshots and containers have
//! been answered.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::net::UnixStream;

use crate::client::Client;
use crate::daemon::{Kind, Place};
use crate::turns::median;
use crate::{report, runc};

const PATIENCE: Duration = Duration::from_secs(60);
/// Ever so often it is asked whether the socket is there.
const LOOK: Duration = Duration::from_micros(200);
const MANY: usize = 10_000;

/// Measures it, on empty folders that were used before and with many containers on record.
pub async fn measure(rounds: usize) -> Result<()> {
    let places = [Place::new(Kind::Containerd)?, Place::new(Kind::Berth)?];
    starts(&places, rounds, "start until Version and the first lists, empty").await?;
    let spec = runc::spec(&["true"])?;
    for place in &places {
        let process = place.spawn()?;
        let client = answered(place).await?;
        let makers = (0..8).map(|first| make(&client, &spec, first));
        for made in futures_all(makers).await {
            made?;
        }
        process.stop()?;
    }
    starts(&places, rounds.div_ceil(3), "… with 10,000 containers on record").await
}

async fn make(client: &Client, spec: &[u8], first: usize) -> Result<()> {
    for number in (first..MANY).step_by(8) {
        client.create_container(&format!("container-{number}"), spec, "").await?;
    }
    Ok(())
}

/// Runs all of them on this task, side by side.
async fn futures_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (one, done) in &mut all {
            if done.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

async fn starts(places: &[Place; 2], rounds: usize, what: &str) -> Result<()> {
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for turn in [round % 2, (round + 1) % 2] {
            let began = Instant::now();
            let process = places[turn].spawn()?;
            let client = answered(&places[turn]).await?;
            client.first_answers().await?;
            let elapsed = began.elapsed();
            process.stop()?;
            if round > 0 {
                took[turn].push(elapsed);
            }
        }
    }
    let [containerd, berth] = took.map(|turns| median(&turns));
    report::durations(what, containerd, berth, berth.as_secs_f64() / containerd.as_secs_f64());
    Ok(())
}

/// Waits until somebody listens, not for the answer of a try that came too early.
async fn answered(place: &Place) -> Result<Client> {
    let began = Instant::now();
    while UnixStream::connect(place.socket()).await.is_err() {
        ensure!(began.elapsed() < PATIENCE, "{:?} does not listen", place.kind);
        tokio::time::sleep(LOOK).await;
    }
    Ok(Client::new(&place.socket()))
}
