//! Many pods at once, and all services killed below them. `BERTH_PODS` and `BERTH_ROUNDS` make it more,
//! `BERTH_FIRST` stricter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Signal, run, signal, until};
use cri::runtime_service_client::RuntimeServiceClient;
use futures::{StreamExt, TryStreamExt};

use crate::stage::{SOON, Stage, on_a_node, pod, shell};

/// So many pods, so many times.
const PODS: usize = 30;
const ROUNDS: usize = 3;
/// So many are made or removed at once.
const AT_ONCE: usize = 10;
/// Each so many-th of them has a port of the node.
const PORT_EACH: usize = 5;
/// The first of those ports.
const PORTS: usize = 20_000;
/// What a service may hold more of at the end than after the first whole round of the same process, in KiB.
const GROWTH: u64 = 4 << 10;
/// Those that are measured: what pods are made of goes through them.
const MEASURED: [&str; 4] = ["cri", "runtime", "bundle", "gateway"];
/// How many seconds the first answers may take of services that have just begun, on a machine that does much else. What
/// they took is printed; `BERTH_FIRST` makes it less where nothing else runs.
const FIRST: usize = 30;
const READY: i32 = cri::PodSandboxState::SandboxReady as i32;

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

#[test]
fn many_pods_come_and_go_and_outlive_all_services() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (pods, rounds) = (setting("BERTH_PODS", PODS), setting("BERTH_ROUNDS", ROUNDS));
        let mut held: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let mut left = None;
        for round in 0..rounds {
            let made = make(stage, round, pods)?;
            let addresses: BTreeSet<_> = made.values().map(|one| &one.ip).collect();
            assert_eq!((made.len(), addresses.len()), (pods, pods), "no two have one address");
            assert_eq!(stage.node.shims().len(), pods, "one shim for each pod");
            let rules = rules()?;
            let ports =
                rules.iter().filter(|rule| rule.contains("--to-destination 10.77.")).count();
            assert_eq!(ports, pods.div_ceil(PORT_EACH), "{rules:#?}");
            if round == 0 {
                outlive(stage, &made)?;
            }
            remove(stage, made.keys())?;
            nothing_is_left(stage)?;
            assert_eq!(groups(&made)?, BTreeSet::new());
            // The plugins keep some that are for no pod.
            let rules = self::rules()?;
            assert_eq!(&rules, left.get_or_insert_with(|| rules.clone()));
            ensure!(!rules.iter().any(|rule| rule.contains("10.77.0.")), "{rules:#?}");
            for service in MEASURED {
                let pid = stage.node.service_pid(&format!("berth-{service}"))?;
                held.entry(service).or_default().push(anonymous(pid)?);
            }
        }
        println!("KiB after each round: {held:?}");
        for (service, held) in &held {
            // In the first round they were killed, and have only removed since: they had not made any pod by then.
            let first = *held.get(1).context("two rounds at least")?;
            let last = held[held.len() - 1];
            ensure!(last < first + GROWTH, "{service}: KiB after each round: {held:?}");
        }
        stage.node.fsck()
    })
}

/// A pod's address, and its container.
struct Made {
    ip: String,
    container: String,
}

/// All services are killed below pods, to which nothing happens.
fn outlive(stage: &Stage, made: &BTreeMap<String, Made>) -> Result<()> {
    let told = Told::begin(stage)?;
    let before = (rules()?, groups(made)?);
    ensure!(before.1.len() >= 2 * made.len(), "{:?}", before.1);
    // Nobody starts them again until the container has ended.
    let stopped = Stopped::now(stage.node.berthd_pid()?)?;
    for service in ["cri", "runtime", "bundle", "distribution", "gateway"] {
        stage.node.kill_service(&format!("berth-{service}"))?;
    }
    let ended = told.end()?;
    let numbers = told.numbers()?.len();
    until("it is written on", SOON, || told.numbers().is_ok_and(|now| now.len() > numbers + 20))?;
    assert_eq!((rules()?, groups(made)?), before, "while they are away");
    drop(stopped);

    let listed = first_answers(stage, &told.quick)?;
    assert_eq!(listed.len(), made.len() + 1);
    assert!(listed.iter().all(|pod| pod.state == READY), "{listed:?}");
    for (id, one) in made {
        assert_eq!(stage.pod(id)?.network.context("a network")?.ip, one.ip);
    }
    assert_eq!((rules()?, groups(made)?), before);
    told.check(stage, ended)?;
    stage.remove_pod(&told.pod).map_err(Into::into)
}

/// Asks for pods and a container as soon as there is somebody to ask. Answers the first list.
fn first_answers(stage: &Stage, container: &str) -> Result<Vec<cri::PodSandbox>> {
    let first = Duration::from_secs(setting("BERTH_FIRST", FIRST) as u64);
    let begun = Instant::now();
    until("the socket answers", SOON, || {
        std::os::unix::net::UnixStream::connect(stage.node.address()).is_ok()
    })?;
    let (socket, begun) = (begun.elapsed(), Instant::now());
    let mut listed = Vec::new();
    until("pods are listed", first, || {
        stage.pods(cri::PodSandboxFilter::default()).is_ok_and(|pods| {
            listed = pods;
            true
        })
    })?;
    let list = begun.elapsed();
    until("a container's status is told", first, || stage.container(container).is_ok())?;
    let status = begun.elapsed();
    println!(
        "the socket after {socket:.2?}, then the list after {list:.2?}, a status after {status:.2?}"
    );
    ensure!(status < first, "the first answers took {list:?}, {status:?}");
    Ok(listed)
}

/// A process that stands still until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn now(pid: u32) -> Result<Self> {
        signal(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that is gone needs none.
        let _ = signal(self.0, Signal::CONT);
    }
}

/// A pod with two containers: one writes a number after the other, and one ends when it is let.
struct Told {
    pod: String,
    quick: String,
    pid: u32,
    log: PathBuf,
    go: PathBuf,
}

impl Told {
    fn begin(stage: &Stage) -> Result<Self> {
        let (folder, config, pod) = stage.pod_with_logs("told")?;
        let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
        let writer = stage.create(&pod, &shell("writer", &stage.image, script), &config)?;
        let script = "while [ ! -e /shared/go ]; do sleep 0.02; done; exit 37";
        let mut quick = shell("quick", &stage.image, script);
        let shared = folder.join("shared");
        quick.mounts.push(cri::Mount {
            host_path: shared.display().to_string(),
            container_path: "/shared".to_owned(),
            ..Default::default()
        });
        let quick = stage.create(&pod, &quick, &config)?;
        stage.start(&writer)?;
        stage.start(&quick)?;
        let pid = pid_of(stage, &quick)?;
        let (log, go) = (folder.join("writer.log"), shared.join("go"));
        Ok(Self { pod, quick, pid, log, go })
    }

    /// All that was written so far.
    fn numbers(&self) -> Result<Vec<usize>> {
        let text = fs_err::read_to_string(&self.log)?;
        let whole = text.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
        let number = |line: &str| {
            let text = line.split(' ').nth(3).with_context(|| format!("{line:?}"))?;
            text.parse().with_context(|| format!("{line:?}"))
        };
        whole.lines().map(number).collect()
    }

    /// Has the other one end; answers between which times it did, in nanoseconds since 1970.
    fn end(&self) -> Result<(i64, i64)> {
        let from = now()?;
        fs_err::write(&self.go, "")?;
        let process = format!("/proc/{}", self.pid);
        until("it has ended", SOON, || !Path::new(&process).exists())?;
        Ok((from, now()?))
    }

    /// Nobody was there to be told of that end, and it is known all the same; no number is missing.
    fn check(&self, stage: &Stage, (from, to): (i64, i64)) -> Result<()> {
        let status = stage.ended(&self.quick)?;
        assert_eq!((status.exit_code, &*status.reason), (37, "Error"));
        let at = status.finished_at;
        ensure!((from..=to).contains(&at), "it ended at {at}, not from {from} to {to}");
        let numbers = self.numbers()?.len();
        until("it is written on", SOON, || {
            self.numbers().is_ok_and(|now| now.len() > numbers + 20)
        })?;
        let numbers = self.numbers()?;
        ensure!(numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
        Ok(())
    }
}

fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

fn pid_of(stage: &Stage, id: &str) -> Result<u32> {
    let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let answer = stage.runtime(|mut c| async move { c.container_status(request).await })?;
    let info = answer.info.get("info").context("info")?;
    let info: serde_json::Value = serde_json::from_str(info)?;
    let pid = info["pid"].as_u64().filter(|pid| *pid != 0).context("a pid")?;
    Ok(pid.try_into()?)
}

/// The rules of the network namespace, of both versions, without what they have counted.
fn rules() -> Result<Vec<String>> {
    let text = run("iptables-save")? + &run("ip6tables-save")?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.map(|line| line.split(" [").next().unwrap_or(line).to_owned()).collect())
}

/// Control groups of these pods' containers, and of their own processes.
fn groups(made: &BTreeMap<String, Made>) -> Result<BTreeSet<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    let mut found = BTreeSet::new();
    let mut hierarchies = vec![root.to_owned()];
    for entry in fs_err::read_dir(root)? {
        hierarchies.push(entry?.path());
    }
    let ids: Vec<_> = made.iter().flat_map(|(pod, one)| [pod, &one.container]).collect();
    for folder in hierarchies.iter().map(|hierarchy| hierarchy.join("berth-tests-cri")) {
        // Others have theirs in it, and they come and go.
        let Ok(entries) = fs_err::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if ids.iter().any(|id| name.contains(id.as_str())) {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

fn nothing_is_left(stage: &Stage) -> Result<()> {
    assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
    assert_eq!(stage.addresses()?, [""; 0]);
    let left = stage.node.mounts();
    ensure!(left.is_empty(), "{left:?}");
    let links = run("ip -o link")?;
    ensure!(!links.contains("veth"), "{links}");
    stage.node.shims_end()
}

/// Pods with a container each.
fn make(stage: &Stage, round: usize, pods: usize) -> Result<BTreeMap<String, Made>> {
    let making = futures::stream::iter(0..pods).map(|number| async move {
        let mut client = RuntimeServiceClient::new(stage.channel());
        let mut config = pod(&format!("many-{round}-{number}"));
        if number % PORT_EACH == 0 {
            config.port_mappings.push(cri::PortMapping {
                container_port: 80,
                host_port: i32::try_from(PORTS + number)?,
                ..Default::default()
            });
        }
        let request = cri::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let id = client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: id.clone(),
            config: Some(shell("sleeps", &stage.image, "sleep 100000")),
            sandbox_config: Some(config),
        };
        let container = client.create_container(request).await?.into_inner().container_id;
        let request = cri::StartContainerRequest { container_id: container.clone() };
        client.start_container(request).await?;
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = client.pod_sandbox_status(request).await?.into_inner().status;
        let ip = status.and_then(|status| status.network).context("a network")?.ip;
        Ok::<_, anyhow::Error>((id, Made { ip, container }))
    });
    stage.tokio().block_on(making.buffer_unordered(AT_ONCE).try_collect())
}

fn remove<'a>(stage: &Stage, ids: impl Iterator<Item = &'a String>) -> Result<()> {
    let removing = futures::stream::iter(ids.cloned().collect::<Vec<_>>()).map(|id| async move {
        let mut client = RuntimeServiceClient::new(stage.channel());
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
        client.stop_pod_sandbox(request).await?;
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id };
        client.remove_pod_sandbox(request).await?;
        Ok::<_, anyhow::Error>(())
    });
    stage.tokio().block_on(removing.buffer_unordered(AT_ONCE).try_collect())
}

/// Memory of a process that is its own, in KiB.
fn anonymous(pid: u32) -> Result<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("a figure")?;
    Ok(number.parse()?)
}
