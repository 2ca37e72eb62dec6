//! A shell on a terminal, that is typed to.

use std::time::Duration;

use anyhow::Result;
use berth_testkit::{Session, until};

const SOON: Duration = Duration::from_secs(30);

/// Types until the shell has printed `text`: what is typed too early may be lost.
fn types_until(shell: &mut Session, keys: &[&str], text: &str) -> Result<()> {
    until(&format!("the shell prints {text:?}"), SOON, || {
        let typed = keys.iter().all(|key| shell.write(key).is_ok());
        std::thread::sleep(Duration::from_millis(50));
        typed && shell.printed().contains(text)
    })
}

/// Waits until the shell sees its terminal in this size, which may come after its start.
pub fn sees_size(shell: &mut Session, size: &str) -> Result<()> {
    types_until(shell, &["stty size\n"], size)
}

/// Runs a program that does not end, and ends it with a key: the terminal in the container makes a
/// signal of that.
pub fn interrupts(shell: &mut Session) -> Result<()> {
    shell.write("cat\n")?;
    types_until(shell, &["\x03", "echo back$((1+1))\n"], "back2")
}
