//! Many at once.

use anyhow::Result;

use super::stage::Stage;

#[test]
fn eight_run_at_once_and_what_ended_is_pruned() -> Result<()> {
    let stage = Stage::new()?;
    std::thread::scope(|threads| {
        let run = |number: i32| {
            let script = format!("echo {number}; exit {number}");
            let stage = &stage;
            threads.spawn(move || stage.run(&format!("--name n-{number}"), &script).output())
        };
        let running: Vec<_> = (0..8).map(run).collect();
        for (number, thread) in (0..8).zip(running) {
            let ran = thread.join().expect("a thread that runs docker")?;
            assert_eq!(ran.fails(number)?, format!("{number}\n"));
        }
        anyhow::Ok(())
    })?;
    assert_eq!(stage.docker("ps -a -q")?.lines().count(), 8);
    let pruned = stage.docker("container prune -f")?;
    assert!(pruned.contains("Deleted Containers"), "{pruned}");
    assert_eq!(stage.docker("ps -a -q")?, "");
    stage.clear()
}

#[test]
fn what_nobody_uses_is_pruned_and_what_is_used_stays() -> Result<()> {
    let stage = Stage::new()?;
    stage.docker("volume create kept")?;
    stage.docker("volume create loose")?;
    stage.run("-d --name box -v kept:/v", "echo in >/v/file; exec sleep 600").output()?.ok()?;
    stage.run("--name over", "true").output()?.ok()?;
    stage.docker("commit over old")?;
    let pruned = stage.docker("volume prune -f")?;
    assert!(pruned.contains("loose") && !pruned.contains("kept"), "{pruned}");
    assert_eq!(stage.docker("exec box cat /v/file")?, "in\n");
    let pruned = stage.docker("image prune -a -f")?;
    assert!(pruned.contains("untagged: old:latest"), "{pruned}");
    assert_eq!(stage.docker("images -q busybox")?.lines().count(), 1, "it is used");
    let pruned = stage.docker("container prune -f")?;
    assert_eq!(pruned.lines().filter(|line| line.len() == 64).count(), 1, "{pruned}");
    assert_eq!(stage.docker("ps -a --format {{.Names}}")?, "box\n");
    stage.clear()
}
