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
