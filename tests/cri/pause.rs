//! Pods whose own process is an image's (`sandbox_image`).

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Image, Layer, program, until};
use serde_json::json;
use tonic::Code;

use crate::stage::{SOON, Stage, on_a_node, pod, refused, shell};

const READY: i32 = cri::PodSandboxState::SandboxReady as i32;

/// Gives the registry an image that waits, and answers its name.
pub fn push(stage: &Stage) -> Result<String> {
    let config = json!({
        "Entrypoint": ["/bin/sleep"], "Cmd": ["100000"],
        "Labels": {"of": "the image", "io.cri-containerd.kind": "container"},
    });
    let image = Image::build(vec![Layer::busybox()?], config)?;
    let name = stage.image.replace("busybox:1", "pause:1");
    let copy = ["copy", "--insecure-policy", "-q", "--dest-tls-verify=false", "--preserve-digests"];
    let (from, to) = (format!("oci:{}", image.layout().display()), format!("docker://{name}"));
    program("skopeo").args(copy).args([from, to]).output()?.ok()?;
    Ok(name)
}

/// Has the node's pods run it from now on; empty: what berth brings.
pub fn configure(stage: &Stage, image: &str) -> Result<()> {
    let file = stage.node.path("berth.toml");
    let text = fs_err::read_to_string(&file)?;
    let lines = text.lines().filter(|line| !line.starts_with("sandbox_image"));
    let more = format!("[cri]\nsandbox_image = {image:?}");
    let lines = lines.map(|line| if line == "[cri]" { &*more } else { line });
    fs_err::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
    stage.node.kill_service("berth-cri")?;
    until("the service is there again", SOON, || {
        stage.pods(cri::PodSandboxFilter::default()).is_ok()
    })
}

fn snapshots(stage: &Stage) -> Result<String> {
    stage.node.ctr("-n k8s.io snapshots ls").output()?.ok()
}

#[test]
fn a_pods_own_process_may_be_an_images() -> Result<()> {
    on_a_node(|stage| {
        let image = push(stage)?;
        let own = stage.run_pod(&pod("own"))?;
        configure(stage, &image)?;
        // It is pulled for the first pod.
        let id = stage.run_pod(&pod("web"))?;
        let all = stage.images(|mut c| async move {
            c.list_images(cri::ListImagesRequest::default()).await
        })?;
        let [found] = &all.images[..] else { anyhow::bail!("{all:?}") };
        ensure!(found.pinned && found.repo_tags == [image.clone()], "{found:?}");
        let record = stage.node.ctr(&format!("-n k8s.io containers info {id}")).output()?.ok()?;
        let record: serde_json::Value = serde_json::from_str(&record)?;
        assert_eq!((&record["Image"], &record["SnapshotKey"]), (&json!(image), &json!(id)));
        let labels = json!({"of": "the image", "io.cri-containerd.kind": "sandbox", "app": "web"});
        assert_eq!(record["Labels"], labels);
        let annotation = "io.kubernetes.cri.podsandbox.image-name";
        assert_eq!(record["Spec"]["annotations"][annotation], json!(image));
        let about = stage.details(&id)?;
        assert_eq!((&about["image"], &about["snapshotKey"]), (&json!(image), &json!(id)));
        let ran = fs_err::read(format!("/proc/{}/cmdline", about["pid"]))?;
        assert_eq!(ran, b"/bin/sleep\x00100000\0");
        ensure!(snapshots(stage)?.contains(&id), "{}", snapshots(stage)?);

        // Containers join it as any other.
        stage.pull()?;
        let container = stage.create(&id, &shell("in", &stage.image, "sleep 1000"), &pod("web"))?;
        stage.start(&container)?;
        assert_eq!(stage.exec(&container, &["hostname"], 20)?.stdout, b"web\n");

        // Both kinds outlive the service, and a change of what is configured.
        configure(stage, "")?;
        until("the pods are known again", SOON, || {
            [&id, &own].iter().all(|id| stage.pod(id).is_ok_and(|pod| pod.state == READY))
        })?;
        assert_eq!(stage.details(&id)?["image"], json!(image));
        assert_eq!(stage.details(&own)?["image"], "");
        configure(stage, &image)?;
        for id in [&id, &own] {
            stage.remove_pod(id)?;
        }
        ensure!(!snapshots(stage)?.contains(&id));
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.shims_end()
    })
}

#[test]
fn without_its_image_no_pod_is_made() -> Result<()> {
    on_a_node(|stage| {
        let none = stage.image.replace("busybox:1", "none:1");
        configure(stage, &none)?;
        let words = format!(
            "failed to get sandbox image {none:?}: failed to pull image {none:?}: failed to pull and unpack image"
        );
        refused(stage.run_pod(&pod("web")), Code::NotFound, &words)?;
        assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
        assert_eq!(stage.addresses()?, [""; 0]);
        // One that ends by itself.
        stage.pull()?;
        configure(stage, &stage.image)?;
        let id = stage.run_pod(&pod("web"))?;
        until("its shell has ended", SOON, || stage.pod(&id).is_ok_and(|pod| pod.state != READY))?;
        stage.remove_pod(&id)?;
        configure(stage, "")?;
        let id = stage.run_pod(&pod("web"))?;
        stage.remove_pod(&id)?;
        stage.node.shims_end()
    })
}
