//! Further programs in a running container, and signals to all of them.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::until;

use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_exec_has_its_own_variables_user_folder_and_rights() -> Result<()> {
    let stage = Stage::pulled()?;
    let options = "-d --name exec-own -e FROM=container -e KEPT=yes -w /root";
    stage.run(options, "sleep 600").output()?.ok()?;
    let exec = |options: &str, script: &str| -> Result<String> {
        let exec = stage.node.berth(&format!("exec {options} exec-own sh -c")).args([script]);
        Ok(exec.output()?.ok()?.trim().to_owned())
    };
    assert_eq!(exec("", "echo $FROM $KEPT; pwd; id -u")?, "container yes\n/root\n0");
    assert_eq!(exec("-e FROM=exec -e NEW=1", "echo $FROM $KEPT $NEW")?, "exec yes 1");
    assert_eq!(exec("-u guest", "id -u; id -g; id -un")?, "1000\n1000\nguest");
    assert_eq!(exec("-u 77:88", "id -u; id -g")?, "77\n88");
    assert_eq!(exec("-w /tmp", "pwd")?, "/tmp");
    let effective = "grep CapEff /proc/self/status";
    let own = fs_err::read_to_string("/proc/self/status")?;
    let all = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
    assert_eq!(exec("--privileged", effective)?, format!("CapEff:{all}"));
    assert_ne!(exec("", effective)?, format!("CapEff:{all}"));
    let inspected = stage.json("inspect exec-own")?;
    let of_container = inspected[0]["pid"].as_u64().context("no pid")?;
    let status = fs_err::read_to_string(format!("/proc/{of_container}/status"))?;
    assert!(status.contains(&exec("", effective)?), "as the container's program: {status}");
    stage.berth("rm -f exec-own")?;
    Ok(())
}

#[test]
fn an_exec_in_the_background_goes_on() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name exec-back", "sleep 600").output()?.ok()?;
    let script = "while [ ! -e /go ]; do sleep 0.05; done; echo done > /went";
    stage.node.berth("exec -d exec-back sh -c").args([script]).output()?.ok()?;
    // It was not waited for.
    stage.node.berth("exec exec-back cat /went").output()?.fails(1)?;
    stage.berth("exec exec-back touch /go")?;
    until("the program has gone on", SOON, || {
        let went = stage.node.berth("exec exec-back cat /went").output();
        went.is_ok_and(|out| out.stdout == "done\n")
    })?;
    stage.berth("rm -f exec-back")?;
    Ok(())
}

#[test]
fn a_signal_goes_to_one_program_or_to_all() -> Result<()> {
    let stage = Stage::pulled()?;
    let waits = |name: &str| {
        format!("trap 'echo {name} >> /had' USR1; echo {name} >> /up; while :; do sleep 0.05; done")
    };
    let script = format!("sh -c \"{}\" & {}", waits("child"), waits("parent"));
    stage.run("-d --name exec-all", &script).output()?.ok()?;
    let sorted = |file: &str| {
        let cat = stage.node.berth(&format!("exec exec-all sort {file}")).output();
        cat.map(|out| out.stdout).unwrap_or_default()
    };
    until("both programs run", SOON, || sorted("/up") == "child\nparent\n")?;
    stage.berth("kill -s USR1 exec-all")?;
    until("the program has the signal", SOON, || sorted("/had") == "parent\n")?;
    stage.berth("kill --all -s USR1 exec-all")?;
    until("all have the signal", SOON, || sorted("/had") == "child\nparent\nparent\n")?;
    stage.berth("kill -a exec-all")?;
    assert_eq!(stage.berth("wait exec-all")?, "137\n");
    stage.berth("rm exec-all")?;
    Ok(())
}
