//! A program and all that it has started, killed as a whole.
//!
//! What ends leaves its children to the shim, where nothing says any more whose they were. So all are
//! stopped before any is killed: what is stopped starts nothing, and reaps nothing, so that no number
//! becomes another process's meanwhile.

use std::collections::BTreeMap;

use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::Left;

/// How often the processes are looked through, at most, until all are known and stopped.
const ROUNDS: usize = 20;

/// A process of the machine.
struct Seen {
    parent: i32,
    /// As its stat line has it.
    state: char,
}

/// Kills a child that has not been reaped, with its descendants; answers their control groups. Does not
/// return to the runtime in between, which might reap.
pub(super) fn kill(root: i32) -> Left {
    let mut known = vec![root];
    for _ in 0..ROUNDS {
        known.iter().for_each(|pid| signal(*pid, Signal::STOP));
        let seen = processes();
        let before = known.len();
        add_descendants(&mut known, &seen);
        // One that sleeps or runs has not come to its signal yet.
        let goes_on = |pid| seen.get(pid).is_some_and(|one| matches!(one.state, 'R' | 'S'));
        if known.len() == before && !known.iter().any(goes_on) {
            break;
        }
    }
    let groups = Left::of(&known);
    known.iter().for_each(|pid| signal(*pid, Signal::KILL));
    groups
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may be a zombie already.
        let _ = kill_process(pid, signal);
    }
}

/// Adds the children of those that are known, theirs, and so on.
fn add_descendants(known: &mut Vec<i32>, seen: &BTreeMap<i32, Seen>) {
    let mut next = 0;
    while let Some(parent) = known.get(next).copied() {
        let children = seen.iter().filter(|(_, one)| one.parent == parent);
        for (child, _) in children {
            if !known.contains(child) {
                known.push(*child);
            }
        }
        next += 1;
    }
}

/// All that are there. One that ends meanwhile is none.
fn processes() -> BTreeMap<i32, Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| Some((pid, seen(pid)?))).collect()
}

fn seen(pid: i32) -> Option<Seen> {
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(&String::from_utf8_lossy(&line))
}

/// State and parent follow the name, which may hold anything.
fn parse(line: &str) -> Option<Seen> {
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Seen { parent: fields.next()?.parse().ok()?, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_whatever_processes_call_themselves() {
        let lines = [
            (9, "9 (a) R 2 ) S 7 9 9"),
            (7, "7 (runc) S 1 7"),
            (3, "3 (x) T 9 1"),
            (4, "4 (y) S 1 1"),
        ];
        let seen = lines.into_iter().map(|(pid, line)| (pid, parse(line).unwrap())).collect();
        let mut known = vec![7];
        add_descendants(&mut known, &seen);
        assert_eq!(known, [7, 9, 3]);
    }
}
