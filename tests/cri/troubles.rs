//! What kubelets are told while something cannot be written, a service says nothing, or a plugin of a network hangs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Node, Signal, program, run, until, write_program};
use cri::runtime_service_client::RuntimeServiceClient;
use tonic::Code;

use crate::stage::{SOON, Stage, on_a_node, on_a_node_of, pod, refused, shell};

/// How long an answer may take that waits for nobody, on a machine that is busy: less than calls to services that say
/// nothing, and plugins that hang, are given.
const AT_ONCE: Duration = Duration::from_secs(15);
const RUNNING: i32 = cri::ContainerState::ContainerRunning as i32;
const CREATED: i32 = cri::ContainerState::ContainerCreated as i32;
const EXITED: i32 = cri::ContainerState::ContainerExited as i32;

/// What an HTTP client hears of the service's health: whether its store can be written.
fn is_ready(node: &Node) -> bool {
    let asked = program("curl")
        .args(["-s", "--http2-prior-knowledge", "--max-time", "20", "--unix-socket"])
        .args([node.socket("cri")])
        .args(["-o", "/dev/null", "-w", "%{http_code}", "http://localhost/readyz"]);
    asked.output().is_ok_and(|told| told.stdout == "200")
}

fn task(stage: &Stage, id: &str) -> Result<Option<String>> {
    let tasks = stage.node.ctr("-n k8s.io tasks ls").output()?.ok()?;
    Ok(tasks.lines().find(|line| line.starts_with(id)).map(str::to_owned))
}

/// Where that signal is ignored, a file that may not be written is an error, as one on a full disk is.
fn with_errors_of_disks(stage: &mut Stage) -> Result<()> {
    stage.node.stop()?;
    let by = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""].map(Into::into);
    let by = by.into_iter().chain([Node::binary("berthd")?.into_os_string()]);
    stage.node.start_by(by);
    stage.node.start_berthd()
}

#[test]
fn a_start_that_cannot_be_written_down_leaves_nothing_that_runs() -> Result<()> {
    on_a_node(|stage| {
        with_errors_of_disks(stage)?;
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("unwritten")?;
        for (name, dies) in [("stays", false), ("dies", true)] {
            let id = stage.create(&pod, &shell(name, &stage.image, "sleep 100000"), &pod_config)?;
            let service = stage.node.service_pid("berth-cri")?;
            run(&format!("prlimit --pid {service} --fsize=0:"))?;
            let disk = stage.node.path("root/cri");
            let step = format!("note below {} that it runs: ", disk.display());
            refused(stage.start(&id), Code::Internal, &step)?;
            assert_eq!(stage.container(&id)?.state, CREATED, "as it is on record");
            assert_eq!(task(stage, &id)?, None, "nothing of it runs");
            if dies {
                // The next one has no such limit.
                stage.node.kill_service("berth-cri")?;
            } else {
                run(&format!("prlimit --pid {service} --fsize=unlimited:"))?;
            }
            until("it can be written", SOON, || is_ready(&stage.node))?;
            until("it is known", SOON, || stage.container(&id).is_ok())?;
            assert_eq!(stage.container(&id)?.state, CREATED, "as it is on record");
            stage.start(&id)?;
            assert_eq!(stage.container(&id)?.state, RUNNING);
            stage.stop(&id, 0)?;
            assert_eq!(stage.ended(&id)?.exit_code, 137);
        }
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn an_end_that_cannot_be_written_down_is_not_lost() -> Result<()> {
    on_a_node(|stage| {
        with_errors_of_disks(stage)?;
        stage.pull()?;
        let (logs, pod_config, pod) = stage.pod_with_logs("unwritten")?;
        let script = "trap 'exit 3' TERM; echo here; while :; do sleep 0.05; done";
        for (name, dies) in [("stays", false), ("dies", true)] {
            let id = stage.create(&pod, &shell(name, &stage.image, script), &pod_config)?;
            stage.start(&id)?;
            until("it takes signals", SOON, || {
                let log = fs_err::read_to_string(logs.join(format!("{name}.log")));
                log.is_ok_and(|log| log.contains("here"))
            })?;
            let service = stage.node.service_pid("berth-cri")?;
            run(&format!("prlimit --pid {service} --fsize=0:"))?;
            stage.node.ctr(&format!("-n k8s.io tasks kill -s SIGTERM {id}")).output()?.ok()?;
            until("its end cannot be written", SOON, || !is_ready(&stage.node))?;
            assert_eq!(stage.container(&id)?.state, RUNNING, "nothing is told that is not durable");
            let left = task(stage, &id)?.unwrap_or_default();
            ensure!(left.contains("STOPPED"), "{left}");
            if dies {
                // The next one has no such limit.
                stage.node.kill_service("berth-cri")?;
            } else {
                run(&format!("prlimit --pid {service} --fsize=unlimited:"))?;
            }
            let ended = stage.ended(&id)?;
            assert_eq!((ended.exit_code, &*ended.reason), (3, "Error"));
            ensure!(ended.finished_at >= ended.started_at, "{ended:?}");
            until("its task is gone", SOON, || task(stage, &id).is_ok_and(|left| left.is_none()))?;
        }
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn containers_are_told_of_while_nobody_knows_their_images() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("nameless")?;
        let id = stage.create(&pod, &shell("c", &stage.image, "sleep 100000"), &pod_config)?;
        stage.start(&id)?;
        let name = |status: &cri::ContainerStatus| status.image.clone().unwrap_or_default().image;
        let mut told = stage.stream(|mut c| async move {
            c.get_container_events(cri::GetEventsRequest {}).await
        })?;
        stage.node.signal_service("berth-distribution", Signal::STOP)?;
        let begun = Instant::now();
        let status = stage.container(&id)?;
        ensure!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!((status.state, &*name(&status)), (RUNNING, &*stage.image));
        stage.stop(&id, 0)?;
        let event = stage.next(&mut told)?.context("an event")?;
        assert_eq!(event.container_event_type(), cri::ContainerEventType::ContainerStoppedEvent);
        let of: Vec<_> = event.containers_statuses.iter().map(|of| (&of.id, of.state)).collect();
        assert_eq!(of, [(&id, EXITED)]);
        stage.node.signal_service("berth-distribution", Signal::CONT)?;
        Ok(stage.remove_pod(&pod)?)
    })
}

/// Whether pods can be run; or else why not.
fn runtime_ready(stage: &Stage) -> Result<cri::RuntimeCondition> {
    let request = cri::StatusRequest { verbose: false };
    let told = stage.runtime(|mut c| async move { c.status(request).await })?;
    let mut conditions = told.status.unwrap_or_default().conditions.into_iter();
    conditions.find(|one| one.r#type == "RuntimeReady").context("a condition")
}

#[test]
fn a_service_that_says_nothing_is_a_runtime_that_is_not_ready() -> Result<()> {
    on_a_node(|stage| {
        assert_eq!((runtime_ready(stage)?.status, &*runtime_ready(stage)?.reason), (true, ""));
        for service in ["runtime", "bundle", "distribution"] {
            let process = format!("berth-{service}");
            stage.node.signal_service(&process, Signal::STOP)?;
            let begun = Instant::now();
            let told = runtime_ready(stage)?;
            ensure!(begun.elapsed() < AT_ONCE, "{service}: {:?}", begun.elapsed());
            assert_eq!((told.status, &*told.reason), (false, "RuntimeNotReady"));
            let names = format!("{service} at {}", stage.node.socket(service).display());
            ensure!(told.message.starts_with(&names), "{}", told.message);
            stage.node.signal_service(&process, Signal::CONT)?;
            until("it is ready", SOON, || runtime_ready(stage).is_ok_and(|told| told.status))?;
        }
        stage.node.kill_service("berth-runtime")?;
        until("it is ready again", SOON, || runtime_ready(stage).is_ok_and(|told| told.status))
    })
}

/// A plugin that tells which of its commands has begun, and does it when it may.
const HANGS: &str = "#!/bin/sh\ncat > /dev/null\ncd \"$(dirname \"$0\")/..\" || exit 9\n\
    : > began-$CNI_COMMAND\nwhile [ -e holds-$CNI_COMMAND ]; do sleep 0.05; done\n\
    if [ $CNI_COMMAND = ADD ]; then echo '{\"cniVersion\": \"1.0.0\", \"interfaces\": [{\"name\": \"eth0\", \"sandbox\": \"'$CNI_NETNS'\"}],\n\
    \"ips\": [{\"address\": \"10.79.0.2/24\", \"interface\": 0}]}'; fi\n";

pub fn hanging(folder: &Path) -> Result<String> {
    let programs = folder.join("bin");
    fs_err::create_dir(&programs)?;
    write_program(&programs.join("hangs"), HANGS)?;
    let list = r#"{"cniVersion": "1.0.0", "name": "hangs", "plugins": [{"type": "hangs"}]}"#;
    fs_err::write(folder.join("net.d/10-pods.conflist"), list)?;
    Ok(format!(
        "[cri]\nenabled = true\nrestrict_oom_score_adj = true\n[network]\nconf_dir = {:?}\nbin_dirs = [{programs:?}]\n",
        folder.join("net.d")
    ))
}

#[test]
fn a_pod_that_takes_long_to_be_undone_keeps_nobody_waiting() -> Result<()> {
    on_a_node_of(hanging, |stage| {
        let folder = stage.conf_dir().parent().context("a folder")?.to_owned();
        let (add, del) = (folder.join("holds-ADD"), folder.join("holds-DEL"));
        for held in [&add, &del] {
            fs_err::write(held, "")?;
        }
        let config = pod("unfinished");
        let channel = stage.channel();
        let request =
            cri::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let making = std::thread::spawn(move || -> Result<_> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let mut client = RuntimeServiceClient::new(channel);
            let made = client.run_pod_sandbox(request);
            Ok(runtime.block_on(async { tokio::time::timeout(SOON * 2, made).await })?.is_ok())
        });
        until("it is being attached", SOON, || folder.join("began-ADD").exists())?;
        stage.node.kill_service("berth-cri")?;
        ensure!(!making.join().expect("no panic")?, "the pod is made");
        fs_err::remove_file(&add)?;
        until("kubelets are answered", AT_ONCE, || {
            let version = cri::VersionRequest::default();
            stage.runtime(|mut c| async move { c.version(version).await }).is_ok()
        })?;
        until("it is being detached", SOON, || folder.join("began-DEL").exists())?;
        let listed = || stage.pods(cri::PodSandboxFilter::default());
        let not_ready = cri::PodSandboxState::SandboxNotready as i32;
        let states: Vec<_> = listed()?.into_iter().map(|pod| pod.state).collect();
        assert_eq!(states, [not_ready]);
        // Nobody has its name until it is gone; one of another name is made meanwhile.
        refused(stage.run_pod(&config), Code::Unknown, "is reserved for")?;
        let mut next = config.clone();
        next.metadata.get_or_insert_default().attempt = 1;
        let next = stage.run_pod(&next)?;
        fs_err::remove_file(&del)?;
        until("it is gone", SOON, || {
            listed().is_ok_and(|left| left.len() == 1 && left[0].id == next)
        })?;
        let first = stage.run_pod(&config)?;
        for id in [&first, &next] {
            stage.remove_pod(id)?;
        }
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.shims_end()
    })
}
