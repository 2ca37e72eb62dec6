//! The life of containers.

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::until;
use tonic::Code;

use crate::stage::{SOON, on_a_node, refused, shell};

const CREATED: i32 = cri::ContainerState::ContainerCreated as i32;
const RUNNING: i32 = cri::ContainerState::ContainerRunning as i32;
const EXITED: i32 = cri::ContainerState::ContainerExited as i32;

/// A program that says something each time that it is asked to, and ends well when it is asked to end.
const SERVE: &str = "trap 'echo bye; exit 3' TERM; echo one; echo two >&2; \
    while true; do sleep 0.1; done";

/// Texts of a log, with their streams and tags.
fn lines(log: &std::path::Path) -> Result<Vec<String>> {
    let text = fs_err::read_to_string(log)?;
    let line = |line: &str| line.split_once(' ').map_or(String::new(), |(_, rest)| rest.to_owned());
    Ok(text.lines().map(line).collect())
}

#[test]
fn a_container_is_made_started_talked_to_stopped_and_taken_away() -> Result<()> {
    on_a_node(|stage| {
        let (logs, pod_config, pod) = stage.pod_with_logs("web")?;
        let unknown = stage.create(&pod, &shell("web", &stage.image, SERVE), &pod_config);
        refused(unknown, Code::NotFound, "failed to resolve image")?;
        let image = stage.pull()?;
        let config = shell("web", &stage.image, SERVE);
        let id = stage.create(&pod, &config, &pod_config)?;
        // A retry joins what is there.
        assert_eq!(stage.create(&pod, &config, &pod_config)?, id);
        let status = stage.container(&id)?;
        assert_eq!((status.state, status.started_at, status.finished_at), (CREATED, 0, 0));
        ensure!(status.created_at > 0 && status.image_id == image, "{status:?}");
        refused(stage.exec(&id, &["true"], 0), Code::Unknown, "CONTAINER_CREATED state")?;

        stage.start(&id)?;
        refused(stage.start(&id), Code::Unknown, "CONTAINER_RUNNING state")?;
        let status = stage.container(&id)?;
        ensure!(status.state == RUNNING && status.started_at >= status.created_at, "{status:?}");
        let log = logs.join("web.log");
        until("it has said what it says", SOON, || {
            lines(&log).is_ok_and(|lines| lines.len() == 2)
        })?;
        let mut said = lines(&log)?;
        said.sort();
        assert_eq!(said, ["stderr F two", "stdout F one"]);

        // In the pod's network, with the pod's names.
        let ip = stage.pod(&pod)?.network.unwrap_or_default().ip;
        let seen = stage.exec(&id, &["ip", "-o", "addr", "show", "eth0"], 10)?;
        ensure!(String::from_utf8_lossy(&seen.stdout).contains(&ip), "{seen:?}");
        let named = stage.exec(&id, &["hostname"], 10)?;
        assert_eq!((&*named.stdout, named.exit_code), (&b"web\n"[..], 0));
        let both = stage.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 7"], 10)?;
        assert_eq!(
            (&*both.stdout, &*both.stderr, both.exit_code),
            (&b"out\n"[..], &b"err\n"[..], 7)
        );
        refused(
            stage.exec(&id, &["sleep", "100"], 1),
            Code::DeadlineExceeded,
            "timeout 1s exceeded",
        )?;
        // What a command leaves behind holds its output open, and nobody up.
        let behind = stage.exec(&id, &["sh", "-c", "sleep 1000 & echo done"], 60)?;
        assert_eq!((&*behind.stdout, behind.exit_code), (&b"done\n"[..], 0));
        refused(
            stage.exec(&id, &["/there/is/no/such"], 10),
            Code::Unknown,
            "failed to start exec",
        )?;

        let tasks = stage.node.ctr("-n k8s.io tasks ls").output()?.ok()?;
        ensure!(
            tasks.lines().any(|line| line.starts_with(&id) && line.contains("RUNNING")),
            "{tasks}"
        );
        assert_eq!(stage.node.shims().len(), 1, "one for the whole pod");

        stage.stop(&id, 30)?;
        stage.stop(&id, 30)?;
        let status = stage.container(&id)?;
        assert_eq!((status.state, status.exit_code, &*status.reason), (EXITED, 3, "Error"));
        ensure!(status.finished_at >= status.started_at, "{status:?}");
        assert_eq!(lines(&log)?.last().map(String::as_str), Some("stdout F bye"));
        stage.remove(&id)?;
        stage.remove(&id)?;
        stage.remove_pod(&pod)?;
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.shims_end()
    })
}

#[test]
fn how_a_container_ended_is_told_exactly() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("ends")?;
        stage.pull()?;
        let run = |name: &str, script: &str| -> Result<String> {
            let id = stage.create(&pod, &shell(name, &stage.image, script), &pod_config)?;
            stage.start(&id)?;
            Ok(id)
        };
        let (well, badly) = (run("well", "true")?, run("badly", "exit 9")?);
        let ended = stage.ended(&well)?;
        assert_eq!((ended.exit_code, &*ended.reason), (0, "Completed"));
        let ended = stage.ended(&badly)?;
        assert_eq!((ended.exit_code, &*ended.reason), (9, "Error"));

        let mut none = shell("none", &stage.image, "");
        none.command = vec!["/there/is/no/such".to_owned()];
        let id = stage.create(&pod, &none, &pod_config)?;
        refused(stage.start(&id), Code::Unknown, "no such file")?;
        let ended = stage.container(&id)?;
        assert_eq!((ended.state, ended.exit_code, &*ended.reason), (EXITED, 128, "StartError"));
        ensure!(ended.message.contains("no such file"), "{ended:?}");

        let mut greedy = shell("greedy", &stage.image, "x=a; while true; do x=$x$x; done");
        let limits =
            cri::LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() };
        greedy.linux.get_or_insert_default().resources = Some(limits);
        let id = stage.create(&pod, &greedy, &pod_config)?;
        stage.start(&id)?;
        let ended = stage.ended(&id)?;
        assert_eq!((ended.exit_code, &*ended.reason), (137, "OOMKilled"));

        // One that does not listen is killed when its time is over.
        let deaf = run("deaf", "trap '' TERM; while true; do sleep 0.1; done")?;
        stage.stop(&deaf, 1)?;
        assert_eq!(stage.container(&deaf)?.exit_code, 137);
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn containers_outlive_the_service_and_what_happens_meanwhile_is_seen() -> Result<()> {
    on_a_node(|stage| {
        let (logs, pod_config, pod) = stage.pod_with_logs("kept")?;
        stage.pull()?;
        let on = stage.create(&pod, &shell("on", &stage.image, SERVE), &pod_config)?;
        stage.start(&on)?;
        let script = "while [ ! -e /go ]; do sleep 0.05; done; echo gone; exit 5";
        let ends = stage.create(&pod, &shell("ends", &stage.image, script), &pod_config)?;
        stage.start(&ends)?;
        let new = stage.create(&pod, &shell("new", &stage.image, "true"), &pod_config)?;
        let started = stage.container(&on)?.started_at;

        // It dies, and one of them ends before it is back.
        stage.exec(&ends, &["touch", "/go"], 10)?;
        stage.node.kill_service("berth-cri")?;
        let ended = stage.ended(&ends)?;
        assert_eq!((ended.exit_code, &*ended.reason), (5, "Error"));
        let status = stage.container(&on)?;
        assert_eq!((status.state, status.started_at), (RUNNING, started));
        assert_eq!(lines(&logs.join("ends.log"))?, ["stdout F gone"]);
        // One that was made can be started, and the one that runs be talked to.
        stage.start(&new)?;
        stage.ended(&new)?;
        assert_eq!(stage.exec(&on, &["echo", "here"], 10)?.stdout, b"here\n");
        stage.stop(&on, 30)?;
        assert_eq!(stage.container(&on)?.exit_code, 3);
        stage.remove_pod(&pod)?;
        stage.node.shims_end()
    })
}
