//! The two workers of containerd-stress: lives of containers, and of execs in them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;

use crate::stage::{Client, Stage};

/// How long each number of workers goes on.
const TIME: Duration = Duration::from_secs(4);
const WORKERS: [usize; 3] = [1, 4, 8];

/// Creates, starts, waits for and deletes containers until the time is over; answers how many.
async fn containers(client: Client, top: String, name: String) -> Result<u32> {
    let client = client.leased(&name).await?;
    let end = Instant::now() + TIME;
    let mut count = 0;
    while Instant::now() < end {
        let id = format!("{name}-{count}");
        client.start(&top, &id, &["true"]).await?;
        let code = client.wait(&id, "").await?;
        ensure!(code == 0, "{id} ends with {code}");
        client.remove(&id).await.context(id)?;
        count += 1;
    }
    Ok(count)
}

/// Runs programs in one container; answers how many.
async fn execs(client: Client, top: String, name: String) -> Result<u32> {
    let client = client.leased(&name).await?;
    client.start(&top, &name, &["sleep", "3600"]).await?;
    let end = Instant::now() + TIME;
    let mut count = 0;
    while Instant::now() < end {
        let code = client.exec(&name, &format!("exec-{count}"), &["true"]).await?;
        ensure!(code == 0, "exec {count} in {name} ends with {code}");
        count += 1;
    }
    client.kill(&name).await?;
    client.wait(&name, "").await?;
    client.remove(&name).await?;
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_do_not_fail() -> Result<()> {
    let stage = Stage::new().await?;
    for workers in WORKERS {
        let mut lives = Vec::new();
        for number in 0..workers {
            lives.push(containers(
                stage.client().await?,
                stage.top.clone(),
                format!("stress-{workers}-{number}"),
            ));
        }
        let lives: u32 = try_join_all(lives).await?.into_iter().sum();
        let mut programs = Vec::new();
        for number in 0..workers {
            programs.push(execs(
                stage.client().await?,
                stage.top.clone(),
                format!("execs-{workers}-{number}"),
            ));
        }
        let programs: u32 = try_join_all(programs).await?.into_iter().sum();
        println!("{workers} workers: {lives} containers, {programs} execs in {TIME:?} each");
        ensure!(lives > 0 && programs > 0, "nothing was done");
    }
    stage.node.shims_end()
}
