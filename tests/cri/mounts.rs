//! What containers are given of images and of the node: volumes that an image declares, mounts of images, host paths.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{EntryType, Image, Layer, Registry, until};
use serde_json::json;
use tonic::Code;

use crate::stage::{SOON, Stage, on_a_node, refused, shell};

const SLEEP: &str = "while true; do sleep 1; done";

/// Pulls an image that is in a registry of the test's.
fn pull(stage: &Stage, image: &str) -> Result<()> {
    let image = Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() });
    let request = cri::PullImageRequest { image, ..Default::default() };
    stage.images(|mut c| async move { c.pull_image(request).await })?;
    Ok(())
}

/// A container that runs.
fn run(
    stage: &Stage,
    pod: &str,
    config: &cri::ContainerConfig,
    pod_config: &cri::PodSandboxConfig,
) -> Result<String> {
    let id = stage.create(pod, config, pod_config)?;
    stage.start(&id)?;
    Ok(id)
}

/// What a command that has to work prints.
fn said(stage: &Stage, id: &str, script: &str) -> Result<String> {
    let answer = stage.exec(id, &["sh", "-c", script], 20)?;
    ensure!(answer.exit_code == 0, "{script}: {answer:?}");
    Ok(String::from_utf8(answer.stdout)?.trim_end().to_owned())
}

fn entries(folder: &Path) -> Result<usize> {
    Ok(fs_err::read_dir(folder)?.count())
}

/// Snapshots and mounts that are there of images for pods.
fn views(stage: &Stage) -> Result<usize> {
    let listed = stage.node.ctr("-n k8s.io snapshots ls").output()?.ok()?;
    let mounts = stage.node.mounts();
    let mounted = mounts.iter().filter(|mount| mount.contains("/activations/"));
    Ok(listed.lines().filter(|line| line.contains("image-volumes/")).count() + mounted.count())
}

#[test]
fn volumes_of_an_image_begin_with_what_it_has_there() -> Result<()> {
    on_a_node(|stage| {
        let secret = tempfile::tempdir()?;
        fs_err::write(secret.path().join("secret"), "of the node")?;
        let outside = secret.path().display().to_string();
        let layer = Layer::default()
            .dir("data")?
            .file("data/file", 0o644, b"of the image")?
            .file("data/suid", 0o4751, b"")?
            .hard_link("data/again", "data/file")?
            .symlink("data/link", &format!("{outside}/secret"))?
            .as_it_is(EntryType::Fifo, "data/fifo", "")?
            .device("data/device", 511, 511)?
            .symlink("evil", &outside)?
            .symlink("up", &format!("../../../../../../../../../..{outside}"))?
            .symlink("inner", "/data")?
            .file("taken/hidden", 0o644, b"")?
            .file("plain", 0o644, b"no folder")?;
        let volumes = |paths: &[&str]| {
            let volumes: serde_json::Map<_, _> =
                paths.iter().map(|path| ((*path).to_owned(), json!({}))).collect();
            json!({"Cmd": ["/bin/sh"], "Volumes": volumes})
        };
        let registry = Registry::start()?;
        let paths = ["/data", "evil", "/up/", "/inner", "/made/here", "/taken", "/", ".."];
        let layers = vec![Layer::busybox()?, layer];
        let image = Image::build(layers, volumes(&paths))?.push(&registry, "volumes:1")?;
        pull(stage, &image)?;
        let (_, pod_config, pod) = stage.pod_with_logs("volumes")?;
        let mut config = shell("one", &image, SLEEP);
        let own = secret.path().join("own");
        config.mounts.push(cri::Mount {
            container_path: "/taken".to_owned(),
            host_path: own.display().to_string(),
            ..Default::default()
        });
        let id = run(stage, &pod, &config, &pod_config)?;
        let text = said(stage, &id, "cat /data/file; stat -c %a /data/suid; readlink /data/link")?;
        assert_eq!(text, format!("of the image4751\n{outside}/secret"));
        said(stage, &id, "test -p /data/fifo && test -c /data/device")?;
        assert_eq!(said(stage, &id, "stat -c %h /data/file; ls /made/here")?, "2");
        // Links of the image end in the image: what they name there is not there.
        assert_eq!(said(stage, &id, "ls -A /evil/ /up/ | grep -c secret || true")?, "0");
        assert_eq!(said(stage, &id, "ls -A /taken")?, "");
        // What is written to one is not in the root file system.
        let folder = stage.node.path("root/cri/containers").join(&id).join("volumes");
        assert_eq!(entries(&folder)?, 5, "data, evil, up, inner, made");
        said(stage, &id, "echo new > /data/new && echo own > /taken/own")?;
        assert_eq!(fs_err::read_to_string(own.join("own"))?, "own\n");
        let written = fs_err::read_dir(&folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|volume| volume.join("new").exists())
            .count();
        assert_eq!(written, 1);

        // Another container begins anew, and what was needed to copy is gone.
        let other = run(stage, &pod, &shell("two", &image, SLEEP), &pod_config)?;
        assert_eq!(said(stage, &other, "ls /data; ls /taken")?.matches("new").count(), 0);
        assert_eq!(said(stage, &other, "ls /taken")?, "hidden");
        assert_eq!(views(stage)?, 0);

        // One that is no folder there, and more than there may be: refused, and nothing of it stays.
        let before = entries(&stage.node.path("root/cri/containers"))?;
        let layers = || Ok::<_, anyhow::Error>(vec![Layer::busybox()?.file("x", 0o644, b"")?]);
        let plain = Image::build(layers()?, volumes(&["/x"]))?.push(&registry, "plain:1")?;
        pull(stage, &plain)?;
        let none = stage.create(&pod, &shell("plain", &plain, SLEEP), &pod_config);
        refused(
            none,
            Code::Unknown,
            "taking runtime copy of volume \"/x\": \"/x\" is not a folder",
        )?;
        let many: Vec<String> = (0..300).map(|n| format!("/v{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let many = Image::build(layers()?, volumes(&many))?.push(&registry, "many:1")?;
        pull(stage, &many)?;
        let none = stage.create(&pod, &shell("many", &many, SLEEP), &pod_config);
        refused(none, Code::ResourceExhausted, "300 volumes of the image")?;
        assert_eq!(entries(&stage.node.path("root/cri/containers"))?, before);
        assert_eq!(views(stage)?, 0);

        stage.stop(&id, 0)?;
        stage.remove(&id)?;
        ensure!(!folder.exists(), "its volumes go with it");
        stage.remove_pod(&pod)?;
        assert_eq!(entries(&stage.node.path("root/cri/containers"))?, 0);
        assert_eq!(fs_err::read(secret.path().join("secret"))?, b"of the node");
        stage.node.shims_end()
    })
}

/// A mount of an image.
fn of_image(image: &str, place: &str, inside: &str) -> cri::Mount {
    cri::Mount {
        container_path: place.to_owned(),
        image: Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() }),
        image_sub_path: inside.to_owned(),
        readonly: true,
        ..Default::default()
    }
}

fn files() -> Result<Image> {
    let one = Layer::default().dir("a")?.dir("a/b")?.file("a/b/file", 0o644, b"deep")?;
    let two = Layer::default()
        .file("top", 0o644, b"high")?
        .file("later", 0o644, b"not read before")?
        .symlink("good", "a/b")?
        .symlink("bad", "../../../../../../../../etc")?
        .symlink("absolute", "/a")?;
    Image::build(vec![one, two], json!({}))
}

#[test]
fn images_are_mounted_once_for_a_pod_and_go_with_it() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let registry = Registry::start()?;
        let image = files()?.push(&registry, "files:1")?;
        let (_, pod_config, pod) = stage.pod_with_logs("images")?;
        let busybox = stage.image.clone();
        let with = |name: &str, mounts: &[cri::Mount]| {
            let mut config = shell(name, &busybox, SLEEP);
            config.mounts = mounts.to_vec();
            config
        };
        let whole = of_image(&image, "/img", "");
        let missing = stage.create(&pod, &with("one", std::slice::from_ref(&whole)), &pod_config);
        refused(missing, Code::NotFound, "ImageVolumeMountFailed: failed to mount image volume: ")?;
        pull(stage, &image)?;

        let config = with("one", &[whole.clone(), of_image(&image, "/sub", "a/b")]);
        let one = run(stage, &pod, &config, &pod_config)?;
        // A retry joins what is there.
        let new = with("new", &[of_image(&image, "/sub", "good")]);
        let id = stage.create(&pod, &new, &pod_config)?;
        assert_eq!(stage.create(&pod, &new, &pod_config)?, id);
        let text = said(stage, &one, "cat /img/top /img/a/b/file /sub/file")?;
        assert_eq!(text, "highdeepdeep");
        let write = stage.exec(&one, &["touch", "/img/top", "/sub/new"], 10)?;
        ensure!(write.exit_code != 0, "{write:?}");
        assert_eq!(String::from_utf8_lossy(&write.stderr).matches("Read-only").count(), 2);
        assert_eq!(views(stage)?, 2, "one snapshot and one mount");

        let wrong = [
            ("readonly", cri::Mount { readonly: false, ..whole.clone() }, "readonly must be true"),
            ("host", cri::Mount { host_path: "/etc".into(), ..whole.clone() }, "must be empty"),
            ("none", of_image("", "/img", ""), "image not specified"),
            ("up", of_image(&image, "/img", "../x"), "path escapes from parent"),
            ("link", of_image(&image, "/img", "bad"), "path escapes from parent"),
            ("absolute", of_image(&image, "/img", "absolute"), "path escapes from parent"),
            ("gone", of_image(&image, "/img", "a/none"), "no such file or directory"),
            ("file", of_image(&image, "/img", "top"), "only directory subpath is supported"),
        ];
        for (name, mount, words) in wrong {
            let Err(status) = stage.create(&pod, &with(name, &[mount]), &pod_config) else {
                anyhow::bail!("{name} works");
            };
            let begins = status.message().starts_with("ImageVolumeMountFailed: ");
            ensure!(begins && status.message().contains(words), "{name}: {status:?}");
        }

        // The service dies: what is mounted is found again. The image goes: what is mounted stays whole.
        stage.node.kill_service("berth-cri")?;
        let two = run(stage, &pod, &with("two", std::slice::from_ref(&whole)), &pod_config)?;
        assert_eq!(said(stage, &two, "cat /img/top")?, "high");
        assert_eq!(views(stage)?, 2, "still one");
        let spec = Some(cri::ImageSpec { image: image.clone(), ..Default::default() });
        let request = cri::RemoveImageRequest { image: spec };
        stage.images(|mut c| async move { c.remove_image(request).await })?;
        assert_eq!(said(stage, &two, "cat /img/later")?, "not read before");

        stage.stop_pod(&pod)?;
        assert_eq!(views(stage)?, 0, "they go with the pod");
        stage.remove_pod(&pod)?;
        stage.node.shims_end()?;
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.fsck()
    })
}

#[test]
fn a_mount_whose_pod_was_forgotten_is_collected() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let registry = Registry::start()?;
        let image = files()?.push(&registry, "files:1")?;
        pull(stage, &image)?;
        let (_, pod_config, pod) = stage.pod_with_logs("gone")?;
        let mut config = shell("one", &stage.image, SLEEP);
        config.mounts.push(of_image(&image, "/img", ""));
        let id = stage.create(&pod, &config, &pod_config)?;
        assert_eq!(views(stage)?, 2);
        stage.remove(&id)?;
        assert_eq!(views(stage)?, 2, "it is the pod's");
        // As if the service had died in the midst of the pod's end: the lease is all that holds it.
        let removed = stage.node.ctr(&format!("-n k8s.io leases rm --sync {pod}")).output()?;
        removed.ok()?;
        until("it is collected", SOON, || views(stage).is_ok_and(|left| left == 0))?;
        stage.remove_pod(&pod)?;
        stage.node.shims_end()
    })
}

/// All that a change of a file's owner, mode or attributes would change.
fn facts(path: &Path) -> Result<(u32, u32, u32, i64, i64)> {
    let of = fs_err::symlink_metadata(path)?;
    Ok((of.uid(), of.gid(), of.mode(), of.ctime(), of.ctime_nsec()))
}

#[test]
fn what_a_host_path_leads_to_is_as_it_was() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        fs_err::create_dir(path("target"))?;
        fs_err::write(path("target/file"), "kept")?;
        std::os::unix::fs::chown(path("target"), Some(1234), Some(1235))?;
        for (link, target) in [("link", "target"), ("file", "target/file"), ("nowhere", "none")] {
            fs_err::os::unix::fs::symlink(path(target), path(link))?;
        }
        let names = ["target", "target/file", "link", "file", "nowhere"];
        let all = || names.iter().map(|name| facts(&path(name))).collect::<Result<Vec<_>>>();
        let before = all()?;
        let mount = |name: &str, place: &str| cri::Mount {
            container_path: place.to_owned(),
            host_path: path(name).display().to_string(),
            selinux_relabel: true,
            readonly: true,
            ..Default::default()
        };
        let (_, pod_config, pod) = stage.pod_with_logs("paths")?;
        let mut config = shell("one", &stage.image, SLEEP);
        config.mounts = vec![mount("link", "/l"), mount("file", "/f"), mount("new/one", "/n")];
        let user = Some(cri::Int64Value { value: 1000 });
        let security = cri::LinuxContainerSecurityContext {
            run_as_user: user,
            run_as_group: user,
            ..Default::default()
        };
        config.linux.get_or_insert_default().security_context = Some(security);
        let id = run(stage, &pod, &config, &pod_config)?;
        assert_eq!(said(stage, &id, "cat /f /l/file; stat -c %u:%g /l")?, "keptkept1234:1235");
        assert_eq!(all()?, before, "nothing was given away or relabelled");
        let made = fs_err::metadata(path("new/one"))?;
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (0, 0, 0o755));

        // A link to nothing makes nothing.
        config.metadata.get_or_insert_default().name = "two".to_owned();
        config.mounts = vec![mount("nowhere", "/l")];
        let none = stage.create(&pod, &config, &pod_config);
        refused(none, Code::Unknown, "failed to mkdir")?;
        ensure!(!path("none").exists() && all()? == before, "it was made");
        stage.remove_pod(&pod)?;
        stage.node.shims_end()
    })
}
