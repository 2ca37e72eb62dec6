//! `--json` wherever a list or an object is shown, and completions.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::stage::Stage;

#[test]
fn lists_and_objects_are_printed_as_json() -> Result<()> {
    let stage = Stage::pulled()?;
    let image = &stage.image;
    let made = stage.json(&format!("create --name json-made {image} true"))?;
    assert_eq!(made["id"], "json-made");
    let run = stage.json(&format!("run -d --name json-run {image} sleep 600"))?;
    assert_eq!(run["id"], "json-run");
    assert_eq!(stage.json("start json-made")?["id"], "json-made");
    stage.node.berth("wait json-made").output()?.ok()?;

    let images = stage.json("images")?;
    assert_eq!(images[0]["name"], image.as_str());
    assert!(images[0]["size"].as_u64() > Some(0), "{images}");
    let listed = stage.json("ps -a")?;
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    let inspected = stage.json(&format!("inspect json-run {image}"))?;
    assert_eq!(inspected[0]["id"], "json-run", "{inspected}");
    assert_eq!(inspected[1]["name"], image.as_str(), "{inspected}");
    assert!(stage.json("top json-run")?[0]["pid"].as_u64() > Some(1));
    assert_eq!(stage.json("stats --no-stream")?[0]["id"], "json-run");
    let info = stage.json("info")?;
    assert_eq!((&info["images"], &info["containers"]), (&1.into(), &2.into()), "{info}");
    assert_eq!(info["running"], 1, "{info}");
    assert!(info["plugins"].as_array().is_some_and(|list| list.len() > 5), "{info}");
    assert!(stage.json("version")?["server"]["version"].is_string());
    stage.berth("rm -f json-made json-run")?;
    assert!(stage.json("gc")?["elapsed_ms"].is_u64());
    Ok(())
}

/// The objects that a successful command prints, one a line.
fn objects(stage: &Stage, line: &str) -> Result<Vec<Value>> {
    let printed = stage.berth(&format!("--json {line}"))?;
    let objects = printed.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    objects.with_context(|| format!("berth {line}: {printed}"))
}

#[test]
fn what_is_told_one_by_one_is_an_object_a_line() -> Result<()> {
    let stage = Stage::pulled()?;
    let names = ["json-one", "json-two"];
    for name in names {
        stage.run(&format!("-d --name {name}"), "exec sleep 600").output()?.ok()?;
    }
    let both = [json!({"id": names[0]}), json!({"id": names[1]})];
    for verb in ["pause", "unpause", "kill -s CONT", "stop -t 0"] {
        assert_eq!(objects(&stage, &format!("{verb} json-one json-two"))?, both, "{verb}");
    }
    let ended = names.map(|id| json!({"id": id, "exit_code": 137}));
    assert_eq!(objects(&stage, "wait json-one json-two")?, ended);
    let listed = stage.json("ps -a -q")?;
    assert_eq!(listed, json!(["json-two", "json-one"]), "newest first");
    assert_eq!(objects(&stage, "rm json-one json-two")?, both);
    assert_eq!(stage.json("ps -q")?, json!([]));

    let image = &stage.image;
    let kept = "docker.io/library/kept:latest";
    let digest = stage.json("images")?[0]["digest"].clone();
    let told = objects(&stage, &format!("tag {image} kept"))?;
    assert_eq!(told, [json!({"name": kept, "digest": digest})]);
    assert_eq!(stage.json("images -q")?, json!([image, kept]));
    let told = objects(&stage, &format!("rmi kept {image}"))?;
    assert_eq!(told, [json!({"name": kept}), json!({"name": image})]);
    Ok(())
}

#[test]
fn logs_are_an_object_a_line() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name json-logs", "echo out; printf 'not \\377 text' >&2").output()?.ok()?;
    stage.berth("wait json-logs")?;
    for line in ["logs json-logs", "logs -f json-logs"] {
        let mut lines = objects(&stage, line)?;
        lines.sort_by_key(|of| of["stream"] == "stdout");
        assert!(lines.iter().all(|of| of["time"].as_str().is_some_and(|at| at.ends_with('Z'))));
        let told = |at: usize| (lines[at]["stream"].clone(), lines[at]["text"].clone());
        assert_eq!(told(0), (json!("stderr"), json!("not \u{fffd} text")), "{lines:?}");
        assert_eq!(told(1), (json!("stdout"), json!("out")), "{lines:?}");
        assert_eq!((lines.len(), &lines[1]["whole"]), (2, &json!(true)));
    }
    stage.berth("rm json-logs")?;
    Ok(())
}

#[test]
fn what_is_shown_to_people_names_the_same() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name json-people", "sleep 600").output()?.ok()?;
    let info = stage.berth("info")?;
    for part in ["containers   1 (1 running)", "images       1", "snapshotter.v1.overlayfs"] {
        assert!(info.contains(part), "{part} is missing: {info}");
    }
    assert!(stage.berth("ps")?.contains("json-people"));
    let digest = stage.json("images")?[0]["digest"].as_str().context("no digest")?.to_owned();
    let (short, whole) = (stage.berth("images")?, stage.berth("images --no-trunc")?);
    assert!(short.contains("busybox:1") && !short.contains(&digest), "{short}");
    assert!(whole.contains(&stage.image) && whole.contains(&digest), "{whole}");
    assert!(stage.berth("version")?.contains("server"));
    stage.berth("rm -f json-people")?;
    Ok(())
}

#[test]
fn shells_understand_the_completions() -> Result<()> {
    let stage = Stage::new()?;
    let script = stage.node.path("completions");
    fs_err::write(&script, stage.berth("completions bash")?)?;
    let ask = format!(
        "source {}; COMP_WORDS=(berth pu); COMP_CWORD=1; _berth berth pu berth; echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let offered = berth_testkit::program("bash").args(["-c", &ask]).output()?.ok()?;
    let offered: Vec<_> = offered.split_whitespace().collect();
    assert_eq!(offered, ["pull", "push"]);
    for shell in ["zsh", "fish"] {
        assert!(stage.berth(&format!("completions {shell}"))?.contains("berth"));
    }
    Ok(())
}
