//! Where the time of a pull and of a start went: `berth trace`.

use std::io::Read;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::stage::Stage;

/// The latest of a kind in what `berth --json trace` told.
fn latest<'a>(told: &'a Value, kind: &str) -> Result<&'a Value> {
    let mut all = told.as_array().into_iter().flatten();
    all.find(|operation| operation["kind"] == kind).with_context(|| format!("no {kind}: {told}"))
}

fn stages<'a>(operation: &'a Value, name: &str) -> Vec<&'a Value> {
    let all = operation["stages"].as_array().into_iter().flatten();
    all.filter(|stage| stage["name"] == name).collect()
}

fn ms(of: &Value, key: &str) -> Result<f64> {
    of[key].as_f64().with_context(|| format!("no {key}: {of}"))
}

/// Each stage lies within the whole, and its parts within it. Times are told in whole microseconds.
fn fits(operation: &Value) -> Result<()> {
    const ROUNDED: f64 = 0.002;
    let whole = ms(operation, "took_ms")?;
    for stage in operation["stages"].as_array().into_iter().flatten() {
        let (from, took) = (ms(stage, "from_ms")?, ms(stage, "took_ms")?);
        ensure!(from + took <= whole + ROUNDED, "{stage} of {whole}");
        for part in stage["parts"].as_array().into_iter().flatten() {
            ensure!(ms(part, "took_ms")? <= took + ROUNDED, "{part} of {stage}");
        }
    }
    Ok(())
}

#[test]
fn a_pull_is_told_by_stage() -> Result<()> {
    let stage = Stage::pulled()?;
    let told = stage.json(&format!("trace {}", stage.image))?;
    let pull = latest(&told, "pull")?;
    assert_eq!((&pull["outcome"], &pull["namespace"]), (&"done".into(), &"default".into()));
    fits(pull)?;
    // Manifest, configuration, one layer.
    let numbers = ["resolve", "fetch", "unpack", "commit", "save"].map(|s| stages(pull, s).len());
    assert_eq!(numbers, [1, 3, 1, 1, 1], "{pull}");
    let layer = stages(pull, "unpack")[0];
    let parts: Vec<_> = layer["parts"].as_array().into_iter().flatten().collect();
    let parts: Vec<_> = parts.iter().map(|part| part["name"].as_str()).collect();
    assert_eq!(parts, [Some("wait for bytes"), Some("sync")]);
    let fetched = stages(pull, "fetch").into_iter().find(|of| of["about"] == layer["about"]);
    assert_eq!(fetched.context("its blob")?["bytes"], layer["bytes"]);
    assert!(layer["bytes"].as_u64() > Some(100_000), "{layer}");

    let text = stage.berth(&format!("trace {}", stage.image))?;
    assert!(text.starts_with("pull ") && text.contains(": done after "), "{text}");
    assert!(text.contains("\nSTAGE ") && text.contains("\n  wait for bytes "), "{text}");
    let list = stage.berth("trace")?;
    assert!(list.starts_with("BEGAN ") && list.contains(&stage.image), "{list}");
    Ok(())
}

#[test]
fn a_start_is_told_down_to_runc() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name st-web", "exec sleep 600").output()?.ok()?;
    stage.berth("exec st-web true")?;
    stage.berth("rm -f st-web")?;
    let told = stage.json("trace st-web")?;
    let told_kinds: Vec<_> = told.as_array().into_iter().flatten().map(|of| &of["kind"]).collect();
    assert_eq!(told_kinds, ["create", "start", "exec", "delete"], "as they happened");
    let runs = [
        ("create", "Create", "runc create"),
        ("start", "Start", "runc start"),
        ("exec", "Start", "runc exec"),
        ("delete", "Delete", "runc delete"),
    ];
    for (kind, method, run) in runs {
        let operation = latest(&told, kind)?;
        assert_eq!(operation["outcome"], "done", "{operation}");
        fits(operation)?;
        let shim = stages(operation, "shim").into_iter().find(|of| of["about"] == method);
        let shim = shim.with_context(|| format!("shim {method}: {operation}"))?;
        let parts = shim["parts"].as_array().into_iter().flatten();
        assert!(parts.clone().any(|part| part["name"] == run), "{run}: {shim}");
    }
    assert_eq!(stages(latest(&told, "create")?, "shim start").len(), 1, "{told}");
    let left = stage.node.path("state/runtime/default/st-web");
    assert!(!left.exists(), "{} is there", left.display());

    let nothing = stage.node.berth("trace st-nobody").output()?.fails(1)?;
    assert!(nothing.contains("nothing that was done to \"st-nobody\" is kept"), "{nothing}");
    Ok(())
}

#[test]
fn what_failed_says_why_and_what_hangs_where() -> Result<()> {
    let stage = Stage::new()?;
    let missing = format!("{}/missing:1", stage.registry.host());
    stage.node.berth(&format!("pull -q {missing}")).output()?.fails(1)?;
    let told = stage.json(&format!("trace {missing}"))?;
    let pull = latest(&told, "pull")?;
    assert_eq!(pull["outcome"], "failed", "{pull}");
    let error = pull["error"].as_str().unwrap_or_default();
    assert!(error.contains("not found"), "{pull}");
    assert_eq!(stages(pull, "resolve")[0]["outcome"], "failed");

    // A registry that takes a question and never answers it.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let hangs = format!("{}/hangs:1", silent.local_addr()?);
    std::thread::scope(|scope| {
        let pulling = scope.spawn(|| stage.node.berth(&format!("pull -q {hangs}")).output());
        let (mut asked, _) = silent.accept()?;
        asked.read_exact(&mut [0; 1])?;
        let told = stage.json(&format!("trace {hangs}"))?;
        let hanging = latest(&told, "pull")?;
        assert_eq!(hanging["outcome"], "under-way", "{hanging}");
        assert_eq!(stages(hanging, "resolve")[0]["outcome"], "under-way");
        let text = stage.berth(&format!("trace {hangs}"))?;
        assert!(text.contains(": under way for "), "{text}");
        // Nobody answers, here or again.
        drop((asked, silent));
        pulling.join().expect("no panic")?.fails(1)
    })?;
    let told = stage.json(&format!("trace {hangs}"))?;
    assert_eq!(latest(&told, "pull")?["outcome"], "failed");
    Ok(())
}
