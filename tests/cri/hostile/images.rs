//! Images that say what only a runtime may, and whose files of users are none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_proto::containerd::services::containers::v1::GetContainerRequest;
use berth_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use berth_proto::runtime::v1 as cri;
use berth_testkit::{EntryType, Image, Layer, until};
use cri::runtime_service_client::RuntimeServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::stage::{SOON, Stage, on_a_node, refused, shell};

/// The longest that a refusal may take on a slow machine. Reading 10 GiB takes longer, and a pipe that nobody writes
/// into has no end.
const QUICKLY: Duration = Duration::from_secs(30);
/// How much more memory the service may ever have had afterwards, in KiB: a file of users is read up to 10 MiB.
const MEMORY: u64 = 96 << 10;

/// An image of busybox with one more layer.
pub fn image(stage: &Stage, name: &str, layer: Layer, config: Value) -> Result<String> {
    let layers = vec![Layer::busybox()?, layer];
    let image = Image::build(layers, config)?.push(&stage.registry, name)?;
    stage.pull_of(&image)?;
    Ok(image)
}

/// Names of the records and root file systems that there are.
pub fn kept(stage: &Stage) -> Result<(String, String)> {
    let list = |line: &str| stage.node.ctr(line).output()?.ok();
    Ok((list("-n k8s.io containers ls -q")?, list("-n k8s.io snapshots ls")?))
}

/// The labels of a record.
fn labels(stage: &Stage, id: &str) -> Result<BTreeMap<String, String>> {
    let mut client = ContainersClient::new(stage.channel());
    let request = GetContainerRequest { id: id.to_owned() };
    let request = berth_grpc::with_namespace(request, &"k8s.io".parse()?);
    let found = stage.tokio().block_on(client.get(request))?.into_inner().container;
    Ok(found.context("a record")?.labels.into_iter().collect())
}

#[test]
fn labels_of_an_image_mean_nothing_to_the_node() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("labels")?;
        let said = json!({"Cmd": ["/bin/sh"], "Labels": {
            "containerd.io/gc.root": "now",
            "containerd.io/gc.ref.content.0": "sha256:00",
            "containerd.io/restart.status": "running",
            "containerd.io/snapshot.ref": "other",
            "io.cri-containerd.kind": "sandbox",
            "io.cri-containerd.image": "managed",
            "io.cri-containerd": "yes",
            "long": "x".repeat(5000),
            "both": "of the image",
            "theirs": "kept",
        }});
        let image = image(stage, "labels:1", Layer::default(), said)?;
        let mut config = shell("c", &image, "sleep 1000");
        config.labels = [("both".to_owned(), "of the request".to_owned())].into();
        let id = stage.create(&pod, &config, &pod_config)?;
        let expected = [
            ("both", "of the request"),
            ("io.cri-containerd.kind", "container"),
            ("theirs", "kept"),
        ];
        let expected: BTreeMap<_, _> =
            expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(labels(stage, &id)?, expected);
        stage.start(&id)?;
        // Read from records alone it is still what it was: one container of one pod.
        stage.node.kill_service("berth-cri")?;
        let pods = stage.pods(cri::PodSandboxFilter::default())?;
        assert_eq!(pods.iter().map(|pod| &pod.id).collect::<Vec<_>>(), [&pod]);
        assert_eq!(stage.container(&id)?.labels, config.labels);
        // Nothing of it keeps the image, or the container, from going.
        stage.remove_pod(&pod)?;
        assert_eq!(kept(stage)?.0, "");
        Ok(())
    })
}

/// Layers that have something else in place of a file.
fn in_place_of(file: &str, outside: &str) -> Result<Vec<(&'static str, Layer)>> {
    let up = "../".repeat(40);
    let link = |target: &str| Layer::default().symlink(file, target);
    Ok(vec![
        ("fifo", Layer::default().as_it_is(EntryType::Fifo, file, "")?),
        ("device", Layer::default().device(file, 1, 5)?),
        ("socket-of-a-link", link("/proc/self/fd/0")?),
        ("link", link(outside)?),
        ("upwards", link(&format!("{up}{}", outside.trim_start_matches('/')))?),
        ("circle", link(&format!("/{file}"))?),
        ("folder", Layer::default().dir(&format!("{file}/passwd"))?),
        ("sparse", Layer::default().sparse(file, 10 << 30, b"app:x:7:\n")?),
    ])
}

/// The most memory that a process has ever had, in KiB.
fn highest(pid: u32) -> Result<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn files_of_users_are_read_with_bounds_and_inside_the_image() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("files")?;
        stage.pull()?;
        // The machine's own file knows the user, and the group.
        let outside = stage.node.path("outside").display().to_string();
        fs_err::write(&outside, "app:x:7:7:app:/:/bin/sh\n")?;
        let mut images = Vec::new();
        for (file, user) in [("etc/passwd", "app"), ("etc/group", "guest:app")] {
            for (what, layer) in in_place_of(file, &outside)? {
                let name = format!("{}-{what}:1", file.replace('/', "-"));
                let said = json!({"Cmd": ["/bin/sh"], "User": user});
                let image = image(stage, &name, layer, said).context(what)?;
                images.push((file, what, image));
            }
        }
        let (before, memory) = (kept(stage)?, highest(stage.node.service_pid("berth-cri")?)?);
        for (number, (file, what, image)) in images.iter().enumerate() {
            let words = match (*what, *file) {
                ("fifo" | "device", _) => "is no file",
                ("sparse", _) => "exceeds 10485760 bytes",
                (_, "etc/passwd") => "no users found",
                _ => "no groups found",
            };
            let begun = Instant::now();
            let config = shell(&format!("c{number}"), image, "true");
            let made = stage.create(&pod, &config, &pod_config);
            let code = if words == "is no file" { Code::InvalidArgument } else { Code::Unknown };
            refused(made, code, words).with_context(|| format!("{what} in place of {file}"))?;
            let took = begun.elapsed();
            ensure!(took < QUICKLY, "{what} in place of {file} takes {took:?}");
        }
        let left = kept(stage)?;
        ensure!(left.0 == before.0, "records are left: {} after {}", left.0, before.0);
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        // Images are unpacked by the first that asks for them; nothing is left on top of them.
        let active = |text: &str| lines(text).iter().filter(|l| l.contains("Active")).count();
        assert_eq!(active(&left.1), active(&before.1), "{}", left.1);
        let grown = highest(stage.node.service_pid("berth-cri")?)?.saturating_sub(memory);
        ensure!(grown < MEMORY, "{grown} KiB more at once");
        Ok(stage.remove_pod(&pod)?)
    })
}

/// The runtime reads the file too, within the container: there it may lead to what only the container has.
#[test]
fn a_start_that_waits_for_ever_holds_up_no_other() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("waits")?;
        stage.pull()?;
        let on = stage.create(&pod, &shell("on", &stage.image, "sleep 100000"), &pod_config)?;
        stage.start(&on)?;
        let layer = Layer::default().symlink("etc/passwd", "/dev/ptmx")?;
        let image = image(stage, "waits:1", layer, json!({"User": "1000:1000"}))?;
        let id = stage.create(&pod, &shell("waits", &image, "true"), &pod_config)?;
        let request = cri::StartContainerRequest { container_id: id.clone() };
        let mut client = RuntimeServiceClient::new(stage.channel());
        let starting =
            stage.tokio().spawn(async move { client.start_container(request).await.map(drop) });
        // In the pod's pid namespace all see each other.
        until("it waits", SOON, || {
            let listed = stage.exec(&on, &["ps", "-o", "comm"], 60);
            listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).contains("INIT"))
        })?;
        ensure!(!starting.is_finished(), "it has started");
        let begun = Instant::now();
        let other = stage.create(&pod, &shell("other", &stage.image, "sleep 9"), &pod_config)?;
        stage.start(&other)?;
        let second = stage.run_pod(&crate::stage::pod("second"))?;
        stage.remove_pod(&second)?;
        let state = stage.container(&id)?.state;
        assert_eq!(state, cri::ContainerState::ContainerCreated as i32);
        ensure!(begun.elapsed() < QUICKLY, "others wait {:?}", begun.elapsed());
        ensure!(!starting.is_finished(), "it has started");

        let kill = "cd /proc; for p in [0-9]*; do grep -q INIT $p/comm && kill -9 $p; done; true";
        assert_eq!(stage.exec(&on, &["sh", "-c", kill], 60)?.exit_code, 0);
        let started = stage.within(async { Ok(starting.await?) })?;
        refused(started, Code::Unknown, "failed to start container")?;
        let ended = stage.container(&id)?;
        assert_eq!((ended.exit_code, &*ended.reason), (128, "StartError"));
        stage.remove_pod(&pod)?;
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.shims_end()
    })
}
