//! The other images of deploy/docker.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use berth_testkit::{Layer, Run};

use crate::stage::{Stage, repository};

const SERVICES: [&str; 4] = ["distribution", "bundle", "runtime", "gateway"];
/// What the services share.
const SHARED: &str = "-v root:/var/lib/berth -v state:/run/berth";

pub fn images_are_built(stage: &Stage) -> Result<()> {
    let repository = repository()?;
    let arguments = "--build-arg BASE=berth-test/debian --build-arg PROGRAMS=berth-test/programs";
    for target in SERVICES.into_iter().chain(["install", "node"]) {
        let line = format!("build -q {arguments} --target {target} -t berth-{target} -f");
        let build = stage.docker(&line).args([repository.join("deploy/docker/Dockerfile")]);
        build.args([&repository]).output()?.ok()?;
    }
    Ok(())
}

/// `berth` in a container of its own.
fn berth(stage: &Stage, line: &str) -> Run {
    let options = "--rm -i --network none --entrypoint berth";
    stage.docker(&format!("run {options} {SHARED} berth-node {line}"))
}

pub fn services_are_a_node(stage: &Stage) -> Result<()> {
    for service in SERVICES {
        let line = format!("run -d --privileged --network none --name {service} {SHARED}");
        stage.docker(&format!("{line} berth-{service}")).output()?.ok()?;
    }
    stage.soon("the four are a node", || Ok(berth(stage, "info").output()?.code == 0))?;
    stage.dockerd.import(Layer::busybox()?, "busybox")?;
    let archive = stage.node.path("busybox.tar");
    stage.docker("save busybox -o").args([&archive]).output()?.ok()?;
    berth(stage, "import -").output_with(&fs_err::read(&archive)?)?.ok()?;
    let image = berth(stage, "images -q").output()?.ok()?;
    let said = berth(stage, &format!("run --rm {} echo apart", image.trim())).output()?.ok()?;
    ensure!(said == "apart\n", "{said}");
    let run = format!("run -d --name long {} sleep 3600", image.trim());
    berth(stage, &run).output()?.ok()?;
    // Each may be started again by itself but runtime, in whose container the shims are.
    for service in ["gateway", "distribution", "bundle"] {
        stage.docker(&format!("restart {service}")).output()?.ok()?;
        stage
            .soon(&format!("{service} is back"), || Ok(berth(stage, "info").output()?.code == 0))?;
        let said = berth(stage, "exec long echo inside").output()?.ok()?;
        ensure!(said == "inside\n", "{said}");
    }
    berth(stage, "rm -f long").output()?.ok()?;
    for service in SERVICES.into_iter().rev() {
        stage.docker(&format!("stop -t 60 {service}")).output()?.ok()?;
        let code = stage.docker(&format!("inspect -f {{{{.State.ExitCode}}}} {service}"));
        let code = code.output()?.ok()?;
        ensure!(code.trim() == "0", "{service} ends with {code}");
        stage.docker(&format!("rm {service}")).output()?.ok()?;
    }
    Ok(())
}

pub fn programs_are_put_onto_a_machine(stage: &Stage) -> Result<()> {
    let machine = tempfile::tempdir()?;
    let root = machine.path().display();
    let install = format!("run --rm --network none -v {root}:/host berth-install --files-only");
    stage.docker(&install).output()?.ok()?;
    let program = machine.path().join("usr/local/bin/berthd");
    ensure!(fs_err::metadata(program)?.permissions().mode() & 0o777 == 0o755, "its mode");
    for file in ["etc/berth/berth.toml", "etc/systemd/system/berth.target"] {
        ensure!(machine.path().join(file).is_file(), "{file}");
    }
    Ok(())
}
