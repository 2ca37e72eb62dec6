//! Containers and pods saved to files, and pods made again of them, by a runc that saves a container's file `/state`.

mod meanwhile;
mod restores;
mod unfinished;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_grpc::Channel;
use berth_proto::runtime::v1 as cri;
use berth_testkit::{run, saving_runc, until};
use cri::runtime_service_client::RuntimeServiceClient;
use tonic::{Code, Status};

use crate::stage::{SOON, Stage, apart, on_a_node_of, pod, refused, shell, usual};

const RUNNING: i32 = cri::ContainerState::ContainerRunning as i32;
const CREATED: i32 = cri::ContainerState::ContainerCreated as i32;
const EXITED: i32 = cri::ContainerState::ContainerExited as i32;

/// Writes a number to a file ten times a second, and waits where it was restored.
const COUNT: &str = "[ -e /restored ] && exec sleep 1000; i=0; \
    while :; do i=$((i+1)); echo $i >/state.new; mv /state.new /state; sleep 0.1; done";

/// A node whose usual handler is that runc.
fn on_a_saving_node(test: impl FnOnce(&mut Stage, &Path) -> Result<()> + Send) -> Result<()> {
    let tools = tempfile::TempDir::new()?;
    let runc = tools.path().join("runc");
    saving_runc(&runc)?;
    let handler = format!("[cri.runtimes.runc]\nbinary = {:?}\n", runc);
    on_a_node_of(|folder| Ok(usual(folder) + &handler), |stage| test(stage, tools.path()))
}

fn saving(id: &str, location: &Path, timeout: i64) -> cri::CheckpointContainerRequest {
    let location = location.display().to_string();
    cri::CheckpointContainerRequest { container_id: id.to_owned(), location, timeout }
}

fn checkpoint(stage: &Stage, id: &str, location: &Path, timeout: i64) -> Result<(), Status> {
    let request = saving(id, location, timeout);
    stage.runtime(|mut c| async move { c.checkpoint_container(request).await }).map(drop)
}

fn checkpoint_pod(stage: &Stage, id: &str, folder: &Path, ids: &[&str]) -> Result<(), Status> {
    let request = cri::CheckpointPodRequest {
        pod_sandbox_id: id.to_owned(),
        output_path: folder.display().to_string(),
        container_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    };
    stage.runtime(|mut c| async move { c.checkpoint_pod(request).await }).map(drop)
}

fn restore(
    stage: &Stage,
    folder: &Path,
    config: &cri::PodSandboxConfig,
    containers: &[cri::ContainerConfig],
) -> Result<cri::RestorePodResponse, Status> {
    let request = restoring(folder, config, containers);
    stage.runtime(|mut c| async move { c.restore_pod(request).await })
}

fn restoring(
    folder: &Path,
    config: &cri::PodSandboxConfig,
    containers: &[cri::ContainerConfig],
) -> cri::RestorePodRequest {
    cri::RestorePodRequest {
        checkpoint_path: folder.display().to_string(),
        config: Some(config.clone()),
        container_configs: containers.to_vec(),
        ..Default::default()
    }
}

/// What a container has in a file, as a number.
fn number(stage: &Stage, id: &str, file: &str) -> Result<u64> {
    let read = stage.exec(id, &["cat", file], 10)?;
    let text = String::from_utf8_lossy(&read.stdout);
    text.trim().parse().with_context(|| format!("{file}: {read:?}"))
}

fn counts(stage: &Stage, id: &str) -> Result<()> {
    until("it counts", SOON, || number(stage, id, "/state").is_ok_and(|count| count >= 3))
}

fn files(archive: &Path) -> Result<Vec<String>> {
    let text = run(&format!("tar tf {}", archive.display()))?;
    Ok(text.lines().map(|line| line.trim_start_matches("./").to_owned()).collect())
}

#[test]
fn a_container_that_runs_is_saved_and_goes_on() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("saved")?;
        let config = shell("count", &stage.image, COUNT);
        let id = stage.create(&pod, &config, &pod_config)?;
        let archive = tools.join("saved.tar");
        refused(
            checkpoint(stage, "0123", &archive, 0),
            Code::NotFound,
            "trying to find container",
        )?;
        let state =
            "is in CONTAINER_CREATED state. only CONTAINER_RUNNING containers can be checkpointed";
        refused(checkpoint(stage, &id, &archive, 0), Code::Unknown, state)?;
        stage.start(&id)?;
        counts(stage, &id)?;
        for wrong in ["", "relative.tar", "/"] {
            let refusal = checkpoint(stage, &id, Path::new(wrong), 0);
            refused(refusal, Code::InvalidArgument, "no absolute path of a file")?;
        }

        checkpoint(stage, &id, &archive, 0)?;
        let found = files(&archive)?;
        for name in [
            "config.dump",
            "spec.dump",
            "status.dump",
            "status",
            "dump.log",
            "container.log",
            "rootfs-diff.tar",
            "checkpoint/state",
            "checkpoint/pages-1.img",
        ] {
            ensure!(found.iter().any(|file| file == name), "{name} is not in {found:?}");
        }
        let at = number(stage, &id, "/state")?;
        until("it goes on", SOON, || number(stage, &id, "/state").is_ok_and(|now| now > at))?;

        // A limit that passes leaves no file, and the container runs.
        fs_err::write(tools.join("hold"), "")?;
        let late = tools.join("late.tar");
        refused(checkpoint(stage, &id, &late, 1), Code::DeadlineExceeded, "within 1s")?;
        fs_err::remove_file(tools.join("hold"))?;
        let at = number_when_it_answers(stage, &id)?;
        until("it goes on", SOON, || number(stage, &id, "/state").is_ok_and(|now| now > at))?;
        ensure!(!late.exists(), "nobody waited for it");
        stage.remove_pod(&pod).map_err(Into::into)
    })
}

/// An execution waits for a container that stands still.
fn number_when_it_answers(stage: &Stage, id: &str) -> Result<u64> {
    until("it answers", SOON, || number(stage, id, "/state").is_ok())?;
    number(stage, id, "/state")
}

#[test]
fn a_pod_is_saved_and_made_again() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, id) = stage.pod_with_logs("first")?;
        let configs = ["one", "two"].map(|name| shell(name, &stage.image, COUNT));
        let mut ids = Vec::new();
        for config in &configs {
            let container = stage.create(&id, config, &pod_config)?;
            stage.start(&container)?;
            counts(stage, &container)?;
            ids.push(container);
        }
        let folder = tools.join("pod");
        fs_err::create_dir(&folder)?;
        let [one, two] = [&*ids[0], &*ids[1]];
        refused(checkpoint_pod(stage, &id, &folder, &[]), Code::InvalidArgument, "0 containers")?;
        let twice = checkpoint_pod(stage, &id, &folder, &[one, one]);
        refused(twice, Code::InvalidArgument, "named twice")?;
        let other = stage.run_pod(&pod("other"))?;
        let wrong = checkpoint_pod(stage, &other, &folder, &[one]);
        refused(wrong, Code::InvalidArgument, "not of this pod")?;
        ensure!(!folder.join("pod.dump").exists(), "nothing was saved");

        // One that cannot be saved keeps the other from being saved, and not from going on.
        let three = stage.create(&id, &shell("three", &stage.image, "sleep 1000"), &pod_config)?;
        stage.start(&three)?;
        refused(checkpoint_pod(stage, &id, &folder, &[one, &three]), Code::Unknown, "no state")?;
        ensure!(!folder.join("pod.dump").exists(), "it is not whole");
        let at = number(stage, one, "/state")?;
        until("it goes on", SOON, || number(stage, one, "/state").is_ok_and(|now| now > at))?;
        assert_eq!(stage.exec(&three, &["true"], 10)?.exit_code, 0);

        checkpoint_pod(stage, &id, &folder, &[one, two])?;
        let saved = [number(stage, one, "/state")?, number(stage, two, "/state")?];
        stage.remove_pod(&id)?;

        let again = pod("again");
        let missing = restore(stage, &folder, &again, &configs[..1]);
        refused(missing, Code::InvalidArgument, "no configuration of container \"two\"")?;
        let extra = shell("three", &stage.image, COUNT);
        let [first, second] = configs.clone();
        let more = restore(stage, &folder, &again, &[first, second, extra]);
        refused(more, Code::InvalidArgument, "\"three\" is not in the checkpoint")?;
        let nowhere = restore(stage, &tools.join("none"), &again, &configs);
        refused(nowhere, Code::NotFound, "pod.dump")?;

        let restored = restore(stage, &folder, &again, &configs)?;
        let names: Vec<_> = restored.restored_containers.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["one", "two"]);
        // What is known of them is on disk.
        stage.node.kill_service("berth-cri")?;
        for (one, least) in restored.restored_containers.iter().zip(saved) {
            assert_eq!(stage.container(&one.container_id)?.state, CREATED);
            stage.start(&one.container_id)?;
            assert_eq!(stage.container(&one.container_id)?.state, RUNNING);
            let at = number(stage, &one.container_id, "/restored")?;
            ensure!(at > 0 && at <= least, "restored at {at}, saved at {least} at the latest");
            // The files on top of the image are there, too.
            ensure!(number(stage, &one.container_id, "/state")? <= least, "the same moment");
        }
        let calls = fs_err::read_to_string(tools.join("calls"))?;
        let count = calls.lines().filter(|line| line.contains(" restore ")).count();
        assert_eq!(count, 2, "{calls}");
        stage.remove_pod(&restored.pod_sandbox_id)?;
        stage.remove_pod(&other)?;
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

#[test]
fn a_container_goes_on_when_the_service_dies_while_it_is_saved() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("killed")?;
        let id = stage.create(&pod, &shell("count", &stage.image, COUNT), &pod_config)?;
        stage.start(&id)?;
        counts(stage, &id)?;
        fs_err::write(tools.join("hold"), "")?;
        let archive = tools.join("saved.tar");
        std::thread::scope(|scope| {
            let (channel, request) = (stage.channel(), saving(&id, &archive, 0));
            let call = |mut c: RuntimeServiceClient<Channel>| async move {
                c.checkpoint_container(request).await
            };
            let asked = scope.spawn(move || apart(channel, call).is_err());
            let held = tools.join("held");
            until("it is being saved", SOON, || held.exists())?;
            stage.node.kill_service("berth-cri")?;
            fs_err::remove_file(tools.join("hold"))?;
            ensure!(asked.join().expect("the caller"), "the call failed");
            Ok(())
        })?;
        let at = number_when_it_answers(stage, &id)?;
        until("it goes on", SOON, || number(stage, &id, "/state").is_ok_and(|now| now > at))?;
        ensure!(!archive.exists(), "it is not whole");
        stage.remove_pod(&pod).map_err(Into::into)
    })
}

#[test]
fn a_pod_that_is_restored_again_stays() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, id) = stage.pod_with_logs("first")?;
        let configs = [shell("count", &stage.image, COUNT)];
        let container = stage.create(&id, &configs[0], &pod_config)?;
        stage.start(&container)?;
        counts(stage, &container)?;
        let (folder, other) = (tools.join("pod"), tools.join("other"));
        fs_err::create_dir(&folder)?;
        checkpoint_pod(stage, &id, &folder, &[&container])?;
        run(&format!("cp -r {} {}", folder.display(), other.display()))?;
        stage.remove_pod(&id)?;

        // A pod that is there is not this one.
        let plain = stage.run_pod(&pod("plain"))?;
        let there = "is there already: it has no such container \"count\"";
        refused(restore(stage, &folder, &pod("plain"), &configs), Code::Unknown, there)?;
        assert_eq!(stage.pod(&plain)?.state, cri::PodSandboxState::SandboxReady as i32);

        let again = pod("again");
        let [one, two] = std::thread::scope(|scope| {
            let asking = [(); 2].map(|()| {
                let (channel, request) = (stage.channel(), restoring(&folder, &again, &configs));
                let call = |mut c: RuntimeServiceClient<Channel>| async move {
                    c.restore_pod(request).await
                };
                scope.spawn(move || apart(channel, call))
            });
            asking.map(|asking| asking.join().expect("a caller"))
        });
        let restored = one?;
        assert_eq!(restored, two?);
        assert_eq!(restored, restore(stage, &folder, &again, &configs)?);
        // Also of one who comes after this service.
        stage.node.kill_service("berth-cri")?;
        assert_eq!(restored, restore(stage, &folder, &again, &configs)?);
        let elsewhere = restore(stage, &other, &again, &configs);
        refused(elsewhere, Code::Unknown, "\"count\" was not restored from here")?;

        let id = &restored.restored_containers[0].container_id;
        stage.start(id)?;
        ensure!(number(stage, id, "/restored")? > 0, "it goes on");
        let late = restore(stage, &folder, &again, &configs);
        refused(late, Code::Unknown, "container \"count\" is in CONTAINER_RUNNING state")?;
        assert_eq!(stage.container(id)?.state, RUNNING);
        ensure!(number(stage, id, "/restored")? > 0, "it runs");
        let pods = stage.pods(cri::PodSandboxFilter::default())?;
        let mut ids: Vec<_> = pods.iter().map(|pod| &pod.id).collect();
        ids.sort();
        let mut expected = [&plain, &restored.pod_sandbox_id];
        expected.sort();
        assert_eq!(ids, expected);
        for pod in [&plain, &restored.pod_sandbox_id] {
            stage.remove_pod(pod)?;
        }
        let left = ["containers", "checkpoints"].map(|of| stage.node.path("root/cri").join(of));
        let [containers, checkpoints] = left.map(|folder| folder.display().to_string());
        let left = run(&format!("find {containers} {checkpoints} -type f"))?;
        assert_eq!(left, "", "files that are left");
        Ok(())
    })
}

#[test]
fn a_container_that_is_being_saved_can_be_stopped() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("stopped")?;
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let id = stage.create(&pod, &shell(name, &stage.image, COUNT), &pod_config)?;
            stage.start(&id)?;
            counts(stage, &id)?;
            ids.push(id);
        }
        fs_err::write(tools.join("hold"), "")?;
        std::thread::scope(|scope| {
            let asked: Vec<_> = ids
                .iter()
                .map(|id| {
                    let (channel, request) = (stage.channel(), saving(id, &tools.join(id), 0));
                    let call = |mut c: RuntimeServiceClient<Channel>| async move {
                        c.checkpoint_container(request).await
                    };
                    scope.spawn(move || apart(channel, call))
                })
                .collect();
            let stopped = (|| {
                until("both are being saved", SOON, || {
                    fs_err::read_to_string(tools.join("calls"))
                        .is_ok_and(|calls| calls.matches(" checkpoint ").count() == 2)
                })?;
                // It cannot hear a signal: it is killed when its time is over.
                stage.stop(&ids[0], 1)?;
                stage.stop_pod(&pod)?;
                for id in &ids {
                    let status = stage.ended(id)?;
                    assert_eq!(status.exit_code, 137, "{status:?}");
                }
                ensure!(asked.iter().all(|asked| !asked.is_finished()), "they are being saved");
                Ok(())
            })();
            // Whoever saves them is let go whatever has become of them.
            fs_err::remove_file(tools.join("hold"))?;
            for asked in asked {
                let saved = asked.join().expect("a caller");
                ensure!(
                    !matches!(&saved, Err(late) if late.code() == Code::DeadlineExceeded),
                    "{saved:?}"
                );
            }
            stopped
        })?;
        stage.remove_pod(&pod)?;
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}
