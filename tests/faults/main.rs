//! Each service killed, stopped, slowed, out of memory, of file descriptors or of disk, alone and
//! in pairs, alike and not, while clients call and have calls under way: what needs none of them works, what
//! does ends in time with a code that says so, each fault is seen to have its effect, containers run on, all
//! works again afterwards, and `berth fsck` finds nothing. Needs root.
//!
//! The table of docs/operations.md has the ways in which a call may end; those that come are among them.
//! `BERTH_WRITE=1` writes it and has those stand out that came in that run, with its times; neither is
//! compared, as both are matters of the moment.

mod burden;
mod calls;
mod case;
mod effect;
mod fault;
mod group;
mod held;
mod page;
mod stage;

use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, ensure};
use berth_testkit::{Registry, is_root};

use crate::case::Case;
use crate::page::Row;
use crate::stage::Stage;

/// So many nodes go through the cases beside each other: most of a case is waiting.
const NODES: usize = 6;

#[test]
fn what_needs_no_failing_service_works_and_the_rest_ends_in_time() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut chosen: Vec<_> = case::all().into_iter().enumerate().filter(chosen).collect();
    let number_of = chosen.len();
    ensure!(number_of > 0, "no case has BERTH_CASES in its name");
    // They are taken from the end: those that take long first.
    chosen.sort_by_key(|(number, case)| (case.is_long(), std::cmp::Reverse(*number)));
    let cases = Mutex::new(chosen);
    let told = Mutex::new(Vec::new());
    let registry = Registry::start()?;
    stage::push_fresh(&registry, case::all().len())?;
    std::thread::scope(|scope| {
        for node in 0..NODES {
            let (cases, told, registry) = (&cases, &told, &registry);
            scope.spawn(move || work(node, registry, cases, told));
        }
    });
    let mut told = told.into_inner().expect("no panic");
    told.sort_by_key(|(number, _)| *number);
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (_, row) in told {
        match row {
            Ok(row) => rows.push(row),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    ensure!(rows.len() == number_of, "{} cases were gone through", rows.len());
    // Some say nothing of the table.
    if number_of == case::all().len() { page::compare(&rows) } else { Ok(()) }
}

/// `BERTH_CASES` is a part of the names of those that are gone through, when not all are.
fn chosen((_, case): &(usize, Case)) -> bool {
    std::env::var("BERTH_CASES").map_or(true, |part| case.to_string().contains(&part))
}

type Numbered<T> = Mutex<Vec<(usize, T)>>;

/// Goes through cases while there are any, on one node as long as nothing fails there.
fn work(node: usize, registry: &Registry, cases: &Numbered<Case>, told: &Numbered<Result<Row>>) {
    let mut stage = None;
    loop {
        let next = cases.lock().expect("no panic").pop();
        let Some((number, case)) = next else { return };
        let began = Instant::now();
        let row = Stage::ready(&mut stage, node, registry)
            .and_then(|stage| case.go_through(stage, number).map_err(|e| stage.explain(e)));
        let end = if row.is_ok() { "as expected" } else { "not as expected" };
        eprintln!("{number} {case}: {end}, {:.1?}", began.elapsed());
        if row.is_err() {
            stage = None;
        }
        told.lock().expect("no panic").push((number, row.map_err(|e| e.context(case.to_string()))));
    }
}
