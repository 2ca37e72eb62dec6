//! `--json` wherever a list or an object is shown, and completions.

use anyhow::Result;

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

#[test]
fn what_is_shown_to_people_names_the_same() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name json-people", "sleep 600").output()?.ok()?;
    let info = stage.berth("info")?;
    for part in ["containers   1 (1 running)", "images       1", "snapshotter.v1.overlayfs"] {
        assert!(info.contains(part), "{part} is missing: {info}");
    }
    assert!(stage.berth("ps")?.contains("json-people"));
    assert!(stage.berth("images")?.contains("busybox:1"));
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
