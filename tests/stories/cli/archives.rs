//! Images in tar archives.

use anyhow::{Context, Result};
use berth_testkit::{Family, Image, Layer, Node, Output, Recipe, program};
use serde_json::json;

use crate::stage::Stage;

/// An image that prints this.
fn saying(stage: &Stage, text: &str) -> Result<String> {
    let file = Layer::default().file("said", 0o644, text.as_bytes())?;
    let config = json!({"Cmd": ["cat", "/said"]});
    let image = Image::build(vec![Layer::busybox()?, file], config)?;
    let name = image.push(&stage.registry, &format!("{text}:1"))?;
    stage.berth(&format!("pull -q {name}"))?;
    Ok(name)
}

/// Takes these images away with all that they were made of.
fn forget(stage: &Stage, images: &[&String]) -> Result<()> {
    stage.node.berth("rmi --sync").args(images).output()?.ok()?;
    assert_eq!(stage.ctr("content ls -q")?, "");
    Ok(())
}

/// A shell's command, in which `berth` is this node's.
fn shell(stage: &Stage, script: &str) -> Result<Output> {
    let berth = Node::binary("berth")?.display().to_string();
    let function =
        format!("berth() {{ {berth} --address {} \"$@\"; }}", stage.node.address().display());
    program("sh")
        .args(["-ec", &format!("{function}\n{script}")])
        .within(stage.node.path(""))
        .output()
}

/// The names in a folder.
fn names(folder: impl AsRef<std::path::Path>) -> Result<Vec<String>> {
    let name = |entry: std::io::Result<fs_err::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let mut names: Vec<_> =
        fs_err::read_dir(folder.as_ref())?.map(name).collect::<Result<_, _>>()?;
    names.sort();
    Ok(names)
}

#[test]
fn several_images_go_out_and_come_back() -> Result<()> {
    let stage = Stage::new()?;
    let (one, two) = (saying(&stage, "one")?, saying(&stage, "two")?);
    let folder = stage.node.path("archives");
    fs_err::create_dir(&folder)?;
    let archive = folder.join("both.tar");
    let told = stage.node.berth("--json export").args([&archive]).args([&one, &two]).output()?;
    let told: serde_json::Value = serde_json::from_str(&told.ok()?)?;
    assert_eq!(told, json!({"archive": archive, "images": [one, two]}));
    forget(&stage, &[&one, &two])?;
    let told = stage.json(&format!("import {}", archive.display()))?;
    assert_eq!(told, json!({"images": [one, two]}));
    for (image, text) in [(&one, "one"), (&two, "two")] {
        assert_eq!(stage.berth(&format!("run --rm --pull never {image}"))?, text);
    }
    Ok(())
}

#[test]
fn archives_go_through_standard_input_and_output() -> Result<()> {
    let stage = Stage::new()?;
    let image = saying(&stage, "piped")?;
    // Nothing but the archive is on standard output.
    let script = format!("berth --json export - {image} > a.tar; tar -tf a.tar");
    let listed = shell(&stage, &script)?.ok()?;
    assert!(listed.lines().any(|name| name == "index.json"), "{listed}");
    forget(&stage, &[&image])?;
    let imported = shell(&stage, "berth import - < a.tar")?.ok()?;
    assert_eq!(imported, format!("{image}\n"));
    assert_eq!(stage.berth(&format!("run --rm --pull never {image}"))?, "piped");
    // A pipe that has a name stays a pipe.
    let script = format!(
        "mkfifo pipe; cat pipe > b.tar & berth export pipe {image}; wait $!; tar -tf b.tar; [ -p pipe ]"
    );
    assert_eq!(shell(&stage, &script)?.ok()?, listed);
    Ok(())
}

#[test]
fn an_export_touches_no_other_file_and_leaves_none_when_it_fails() -> Result<()> {
    let stage = Stage::new()?;
    let image = saying(&stage, "kept")?;
    let folder = stage.node.path("archives");
    fs_err::create_dir(&folder)?;
    fs_err::write(folder.join("a.partial"), "somebody's own")?;
    fs_err::write(folder.join("a.tar"), "an older one")?;
    let archive = folder.join("a.tar");
    let export = || stage.node.berth("export").args([&archive]).args([&image]).output();
    export()?.ok()?;
    assert_eq!(names(&folder)?, ["a.partial", "a.tar"]);
    assert_eq!(fs_err::read_to_string(folder.join("a.partial"))?, "somebody's own");
    let whole = fs_err::read(&archive)?;
    assert!(whole.len() > 500_000, "{} bytes", whole.len());

    let layers = stage.json(&format!("inspect {image}"))?[0]["here"]["layers"].clone();
    let layer = layers[1]["digest"].as_str().context("no layer")?;
    stage.ctr(&format!("content rm {layer}"))?;
    let failed = export()?.fails(1)?;
    assert!(failed.contains(layer), "{failed}");
    assert_eq!(names(&folder)?, ["a.partial", "a.tar"]);
    assert!(fs_err::read(&archive)? == whole, "the older archive is as it was");
    let nowhere = stage.node.berth("export /no/such/a.tar").args([&image]).output()?.fails(1)?;
    assert!(nowhere.contains("/no/such/a.tar"), "{nowhere}");
    Ok(())
}

#[test]
fn an_archive_has_the_platforms_that_are_asked_for() -> Result<()> {
    let stage = Stage::new()?;
    let one = |architecture: &'static str| -> Result<Image> {
        let file = Layer::default().file("for", 0o644, architecture.as_bytes())?;
        let recipe = Recipe { architecture, ..Recipe::default() };
        Image::build_as(&recipe, vec![Layer::busybox()?, file], json!({"Cmd": ["cat", "/for"]}))
    };
    let image = Image::index(Family::Oci, &[one("amd64")?, one("arm64")?])?;
    let image = image.push(&stage.registry, "both:1")?;
    stage.berth(&format!("pull -q {image}"))?;
    stage.berth(&format!("pull -q --no-unpack --platform linux/arm64 {image}"))?;
    let layouts = [("here", ""), ("there", "--platform linux/arm64"), ("all", "--all-platforms")];
    for (name, flags) in layouts {
        let archive = stage.node.path(name);
        stage
            .node
            .berth(&format!("export {flags}"))
            .args([&archive])
            .args([&image])
            .output()?
            .ok()?;
    }
    forget(&stage, &[&image])?;
    let run = |platform: &str| {
        let line = format!("run --rm --pull never --platform linux/{platform} {image}");
        stage.node.berth(&line).output()
    };
    for (archive, flags, here, there) in [
        ("here", "", true, false),
        ("there", "--platform linux/arm64", false, true),
        ("all", "--all-platforms", true, true),
        ("all", "", true, false),
    ] {
        let archive = stage.node.path(archive);
        stage.node.berth(&format!("import {flags}")).args([&archive]).output()?.ok()?;
        for (platform, has) in [("amd64", here), ("arm64", there)] {
            let ran = run(platform)?;
            let as_expected = if has { ran.stdout == platform } else { ran.code == 125 };
            assert!(as_expected, "{} {flags}: {ran}", archive.display());
        }
        forget(&stage, &[&image])?;
    }
    Ok(())
}

#[test]
fn an_image_and_one_for_several_platforms_that_has_it_come_back_both() -> Result<()> {
    let stage = Stage::new()?;
    let here = Image::build(vec![Layer::busybox()?], json!({"Cmd": ["echo", "here"]}))?;
    let here_digest = here.digest.clone();
    let one = here.push(&stage.registry, "one:1")?;
    let several = Image::index(Family::Oci, &[here])?;
    let several_digest = several.digest.clone();
    let several = several.push(&stage.registry, "several:1")?;
    stage.berth(&format!("pull -q {one}"))?;
    stage.berth(&format!("pull -q {several}"))?;
    let archive = stage.node.path("both.tar");
    stage.node.berth("export").args([&archive]).args([&one, &several]).output()?.ok()?;
    forget(&stage, &[&one, &several])?;
    for _ in 0..2 {
        let told = stage.json(&format!("import {}", archive.display()))?;
        assert_eq!(told, json!({"images": [one, several]}));
        assert_eq!(stage.json("images -q")?, json!([one, several]));
    }
    assert_eq!(stage.json(&format!("inspect {one}"))?[0]["digest"], here_digest);
    assert_eq!(stage.json(&format!("inspect {several}"))?[0]["digest"], several_digest);
    forget(&stage, &[&one, &several])
}

#[test]
fn an_import_names_and_unpacks_as_is_asked_for() -> Result<()> {
    let stage = Stage::new()?;
    // Its archive says nothing of a name.
    let image = Image::build(vec![Layer::busybox()?], json!({"Cmd": ["echo", "unnamed"]}))?;
    let archive = stage.node.path("unnamed.tar");
    program("tar")
        .args(["-C"])
        .args([image.layout()])
        .args(["-cf"])
        .args([&archive])
        .args(["."])
        .output()?
        .ok()?;
    let import =
        |flags: &str| stage.node.berth(&format!("import {flags}")).args([&archive]).output();
    let snapshots = |snapshotter: &str| -> Result<usize> {
        Ok(stage.ctr(&format!("snapshots --snapshotter {snapshotter} ls"))?.lines().count() - 1)
    };
    let name = format!("import@{}", image.digest);
    assert_eq!(import("--no-unpack")?.ok()?, format!("{name}\n"));
    assert_eq!((snapshots("overlayfs")?, snapshots("native")?), (0, 0));
    let named = format!("local/thing@{}", image.digest);
    let unpacked = import("--base-name local/thing --snapshotter native")?;
    assert_eq!(unpacked.ok()?, format!("{named}\n"));
    assert_eq!((snapshots("overlayfs")?, snapshots("native")?), (0, 1));
    let run = format!("run --rm --pull never --snapshotter native {named}");
    assert_eq!(stage.berth(&run)?, "unnamed\n");
    Ok(())
}

/// As `ctr images import --discard-unpacked-layers` of containerd 2: the client lets the layers go.
#[test]
fn an_import_may_keep_the_snapshots_alone() -> Result<()> {
    let stage = Stage::new()?;
    let image = saying(&stage, "discarded")?;
    let archive = stage.node.path("discarded.tar");
    stage.node.berth("export").args([&archive]).args([&image]).output()?.ok()?;
    forget(&stage, &[&image])?;
    let both = "import --no-unpack --discard-unpacked-layers";
    stage.node.berth(both).args([&archive]).output()?.fails(2)?;
    let import = stage.node.berth("import --discard-unpacked-layers").args([&archive]);
    assert_eq!(import.output()?.ok()?, format!("{image}\n"));
    stage.berth("gc")?;
    // The manifest and the configuration; the archive's index goes as well.
    assert_eq!(stage.ctr("content ls -q")?.lines().count(), 2);
    assert_eq!(stage.ctr("snapshots ls")?.lines().count(), 3, "a line of names, two layers");
    let run = "run --rm --name discarded-layers --pull never";
    assert_eq!(stage.berth(&format!("{run} {image}"))?, "discarded");
    Ok(())
}
