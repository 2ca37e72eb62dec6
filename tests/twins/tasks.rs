//! `ctr tasks`.

use std::time::Duration;

use anyhow::Result;
use berth_testkit::until;

use crate::twins::Twins;

/// Waits until both list the task with this state.
fn becomes(twins: &Twins, state: &str) -> Result<()> {
    until(state, Duration::from_secs(20), || {
        [twins.ours.ctr("tasks ls"), twins.stock.ctr("tasks ls")]
            .into_iter()
            .all(|run| run.output().is_ok_and(|out| out.stdout.contains(state)))
    })
}

#[test]
fn a_life() -> Result<()> {
    let twins = Twins::pulled()?;
    twins.same(&format!("run -d --pid-file %pid {} @box sleep 600", twins.image))?;
    assert!(twins.same("tasks ls")?.contains("RUNNING"));
    assert_eq!(twins.same("tasks ls -q")?, "ours-box");
    assert_eq!(twins.same("tasks exec --exec-id e1 @box echo inside")?, "inside");
    twins.ends("tasks exec --exec-id e2 @box sh -c", &["pwd; exit 4"], 4)?;
    twins.same_with("tasks exec --exec-id e3 --cwd /tmp --user 1 @box sh -c", &["pwd; id"])?;
    twins.refused("tasks exec --exec-id e4 @box /no/such")?;
    twins.same("tasks exec -d --exec-id e5 @box sleep 500")?;
    twins.refused("tasks exec -d --exec-id e5 @box sleep 500")?;
    twins.refused("tasks rm --exec-id e5 @box")?;
    twins.same("tasks kill --exec-id e5 -s SIGKILL @box")?;
    until("the program ends", Duration::from_secs(20), || {
        let listed = twins.each("tasks ps @box");
        listed.is_ok_and(|(ours, stock)| [ours, stock].iter().all(|all| all.lines().count() == 2))
    })?;
    twins.ends("tasks rm --exec-id e5 @box", &[], 137)?;
    twins.refused("tasks rm --exec-id e5 @box")?;
    twins.same("tasks exec --exec-id e6 --fifo-dir %pipes @box echo piped")?;
    twins.same_with(
        "tasks exec -d --exec-id e7 --log-uri file://%e7.log @box sh -c",
        &["echo logged"],
    )?;
    for log in [twins.ours.path("e7.log"), twins.stock.path("e7.log")] {
        until("it is logged", Duration::from_secs(20), || {
            fs_err::read_to_string(&log).is_ok_and(|text| text == "logged\n")
        })?;
    }
    twins.refused("tasks rm @box")?;
    twins.refused("containers rm @box")?;
    twins.refused("tasks start @box")?;

    twins.refused("tasks resume @box")?;
    twins.same("tasks pause @box")?;
    assert!(twins.same("tasks ls")?.contains("PAUSED"));
    twins.refused("tasks pause @box")?;
    twins.refused("tasks exec --exec-id e6 @box true")?;
    twins.same("tasks resume @box")?;
    twins.same("tasks kill -s SIGKILL --all @box")?;
    becomes(&twins, "STOPPED")?;
    twins.refused("tasks kill @box")?;
    for verb in ["pause", "resume"] {
        twins.refused(&format!("tasks {verb} @box"))?;
    }
    twins.refused("tasks exec --exec-id e7 @box true")?;
    // What it used is told until it is deleted.
    let (ours, stock) = twins.each("tasks metrics --format json @box")?;
    let both = [fields(&ours), fields(&stock)];
    assert!(both.iter().all(|fields| fields.contains(&"memory")), "{both:?}");
    twins.same("tasks rm @box")?;
    twins.refused("tasks rm @box")?;

    twins.same("tasks start -d --fifo-dir %pipes --pid-file %pid2 @box")?;
    for pid in [twins.ours.path("pid2"), twins.stock.path("pid2")] {
        assert!(fs_err::read_to_string(pid)?.parse::<u32>().is_ok());
    }
    twins.same("tasks rm -f @box")?;
    twins.same("tasks start -d --null-io @box")?;
    twins.same("tasks rm -f @box")?;
    twins.same("tasks start -d --log-uri file://%log @box")?;
    twins.same("tasks rm --force @box")?;
    twins.same("containers rm @box")?;
    assert_eq!(twins.same("tasks ls -q")?, "");
    Ok(())
}

#[test]
fn tasks_that_are_not_there() -> Result<()> {
    let twins = Twins::pulled()?;
    let without = format!("containers create {} idle true", twins.image);
    twins.same(&without)?;
    for id in ["none", "idle"] {
        for verb in ["rm", "kill", "pause", "resume", "metrics", "ps", "attach"] {
            twins.refused(&format!("tasks {verb} {id}"))?;
        }
        twins.refused(&format!("tasks exec --exec-id e {id} true"))?;
    }
    twins.refused("tasks start none").map(drop)
}

/// The names of a JSON document's fields, with their depth.
fn fields(text: &str) -> Vec<&str> {
    let names = text.lines().filter(|line| line.contains("\":"));
    names.filter_map(|line| line.split('"').nth(1)).collect()
}

#[test]
fn metrics_have_the_same_fields() -> Result<()> {
    let twins = Twins::pulled()?;
    twins.same(&format!("run -d {} @metrics sleep 600", twins.image))?;
    let (ours, stock) = twins.each("tasks metrics --format json @metrics")?;
    let (ours, stock) = (fields(&ours), fields(&stock));
    // A value that is zero is left out of the JSON, and some are by chance.
    for name in ["pids", "cpu", "usage", "total", "per_cpu", "memory", "limit"] {
        assert!(ours.contains(&name) && stock.contains(&name), "{name}: {ours:?} {stock:?}");
    }
    twins.same("tasks rm -f @metrics")?;
    twins.same("containers rm @metrics").map(drop)
}
