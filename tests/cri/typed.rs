//! `berth cri`, as it is typed: what each part of it prints, beside what a kubelet is told.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use berth_testkit::until;
use serde_json::{Value, json};

use crate::stage::{SOON, Stage, on_a_node};

/// A program that says how it was asked to end.
const SCRIPT: &str = "trap 'echo asked; exit 3' TERM; echo begun; while true; do sleep 0.05; done";

impl Stage {
    /// What it prints, without the line's end.
    fn typed(&self, line: &str) -> Result<String> {
        Ok(self.node.berth(&format!("cri {line}")).output()?.ok()?.trim_end().to_owned())
    }

    fn typed_json(&self, line: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.typed(line)?)?)
    }
}

/// The files that it is given: of a container and of its pod.
fn files(stage: &Stage) -> Result<[PathBuf; 2]> {
    let logs = stage.node.path("logs");
    let container = json!({
        "metadata": {"name": "one"}, "image": {"image": stage.image},
        "command": ["sh", "-c", SCRIPT], "log_path": "one.log", "linux": {},
    });
    let pod = json!({
        "metadata": {"name": "typed", "namespace": "tests", "uid": "of-the-test", "attempt": 2},
        "hostname": "typed", "log_directory": logs, "labels": {"app": "typed"},
        "linux": {"cgroup_parent": "/berth-tests-cri"},
    });
    let paths = [stage.node.path("container.json"), stage.node.path("pod.json")];
    for (path, text) in paths.iter().zip([container, pod]) {
        fs_err::write(path, text.to_string())?;
    }
    Ok(paths)
}

/// The row of a table that begins so, in words.
fn row<'a>(table: &'a str, begins: &str) -> Result<Vec<&'a str>> {
    let found = table.lines().find(|line| line.starts_with(begins));
    Ok(found.with_context(|| format!("no {begins} in {table}"))?.split_whitespace().collect())
}

#[test]
fn images_come_are_shown_and_go() -> Result<()> {
    on_a_node(|stage| {
        let (name, tag) = stage.image.rsplit_once(':').context("a tag")?;
        assert_eq!(stage.typed("images -q")?, "");
        let id = stage.typed(&format!("pull {}", stage.image))?;
        ensure!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(stage.typed("images -q")?, id);
        let table = stage.typed("images")?;
        assert_eq!(row(&table, name)?[..3], [name, tag, &id[7..20]]);
        let of_one = stage.typed_json(&format!("images --json {}", stage.image))?;
        assert_eq!(
            (&of_one[0]["id"], &of_one[0]["repo_tags"]),
            (&json!(id), &json!([stage.image]))
        );
        let told = stage.typed_json(&format!("inspecti {}", stage.image))?;
        assert_eq!(told["status"]["id"], id);
        ensure!(told["info"]["info"]["imageSpec"].is_object(), "{told}");

        let info = stage.typed("imagefsinfo")?;
        let of_images = row(&info, "images")?;
        ensure!(of_images[1].ends_with("overlayfs"), "{info}");
        let info = stage.typed_json("imagefsinfo --json")?;
        let used = info["image_filesystems"][0]["used_bytes"]["value"].as_u64();
        ensure!(used.context("bytes")? > 1 << 20, "{info}");

        assert_eq!(stage.typed(&format!("rmi {}", stage.image))?, stage.image);
        assert_eq!(stage.typed("images -q")?, "");
        let gone = stage.node.berth(&format!("cri rmi {}", stage.image)).output()?.fails(1)?;
        ensure!(gone.contains("not found"), "{gone}");
        let gone = stage.node.berth(&format!("cri inspecti {}", stage.image)).output()?;
        ensure!(gone.fails(1)?.contains("not found"));
        Ok(())
    })
}

#[test]
fn a_pod_is_run_looked_at_and_taken_away_by_hand() -> Result<()> {
    on_a_node(|stage| {
        let [container, pod] = files(stage)?.map(|path| path.display().to_string());
        let id = stage.typed(&format!("run --with-pull {container} {pod}"))?;
        let whole = stage.typed("pods -q")?;
        let table = stage.typed("pods")?;
        let words = row(&table, &whole[..13])?.join(" ");
        ensure!(words.ends_with("Ready typed tests 2 (default)"), "{table}");
        assert_eq!(stage.typed("pods -q --label app=typed --state ready")?, whole);
        assert_eq!(stage.typed("pods -q --state notready")?, "");
        let told = stage.typed_json(&format!("inspectp {}", &whole[..12]))?;
        let status = stage.pod(&whole)?;
        assert_eq!(told["status"]["id"], whole);
        assert_eq!(told["status"]["state"], "SANDBOX_READY");
        assert_eq!(told["status"]["network"]["ip"], status.network.unwrap_or_default().ip);
        ensure!(told["info"]["info"]["pid"].as_u64() > Some(1), "{told}");

        assert_eq!(stage.typed("ps -q")?, id);
        let log = stage.node.path("logs/one.log");
        until("it has begun", SOON, || {
            fs_err::read_to_string(&log).is_ok_and(|text| text.contains("begun"))
        })?;
        fs_err::rename(&log, stage.node.path("logs/earlier.log"))?;
        assert_eq!(stage.typed(&format!("reopen {id}"))?, id);
        let running = stage.node.berth(&format!("cri rm {id}")).output()?.fails(1)?;
        ensure!(running.contains("is running"), "{running}");
        assert_eq!(stage.typed(&format!("stop --timeout 60 {}", &id[..12]))?, id);
        let text = fs_err::read_to_string(&log)?;
        ensure!(text.ends_with("stdout F asked\n") && !text.contains("begun"), "{text}");
        assert_eq!(stage.container(&id)?.exit_code, 3);
        assert_eq!((stage.typed("ps -q")?, stage.typed("ps -q -a")?), (String::new(), id.clone()));
        assert_eq!(stage.typed(&format!("rm {id}"))?, id);
        assert_eq!(stage.typed("ps -q -a")?, "");

        let ready = stage.node.berth(&format!("cri rmp {whole}")).output()?.fails(1)?;
        ensure!(ready.contains("is ready"), "{ready}");
        assert_eq!(stage.typed(&format!("stopp {whole}"))?, whole);
        assert_eq!(stage.typed("pods -q --state notready")?, whole);
        assert_eq!(stage.typed(&format!("rmp {whole}"))?, whole);
        for verb in ["stopp", "rmp", "inspectp", "stop", "rm"] {
            let gone = stage.node.berth(&format!("cri {verb} {whole}")).output()?.fails(1)?;
            ensure!(gone.contains("not found") || gone.contains("no such"), "{verb}: {gone}");
        }
        assert_eq!(stage.typed("pods -q")?, "");
        stage.node.shims_end()
    })
}

#[test]
fn the_runtime_tells_how_it_is() -> Result<()> {
    on_a_node(|stage| {
        let told = stage.typed_json("info")?;
        let conditions = told["status"]["conditions"].as_array().context("conditions")?;
        for name in ["RuntimeReady", "NetworkReady"] {
            let one = conditions.iter().find(|one| one["type"] == name).context(name)?;
            assert_eq!(one["status"], true, "{name}");
        }
        ensure!(told["info"]["config"].is_object(), "{told}");
        Ok(())
    })
}

#[test]
fn events_are_printed_as_they_come_and_no_more_than_asked_for() -> Result<()> {
    on_a_node(|stage| {
        let mut command = stage.node.berth("cri events --count 2").into_command();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // Nothing tells when it listens: pods come until it has heard of one, or of two.
        let mut pods = Vec::new();
        let heard = until("it ends", SOON, || {
            let made = stage.run_pod(&crate::stage::pod(&format!("pod-{}", pods.len())));
            let Ok(id) = made else { return true };
            pods.push(id);
            !matches!(child.try_wait(), Ok(None))
        });
        if heard.is_err() {
            child.kill()?;
        }
        let ended = child.wait_with_output()?;
        heard?;
        ensure!(ended.status.success(), "{ended:?}");
        let text = String::from_utf8(ended.stdout)?;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for line in lines {
            let [_, what, "pod", id, name] = line.split(' ').collect::<Vec<_>>()[..] else {
                anyhow::bail!("{line}")
            };
            let number = pods.iter().position(|pod| pod == id).context("one of these pods")?;
            ensure!(["created", "started"].contains(&what), "{line}");
            assert_eq!(name, format!("tests/pod-{number}"));
        }
        Ok(())
    })
}
