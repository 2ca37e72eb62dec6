//! Each service killed, stopped, slowed, out of memory, of file descriptors or of disk, alone and
//! in pairs, while clients call: what needs none of them works, what does ends in time with a code that
//! says so, containers run on, all works again afterwards, and `berth fsck` finds nothing. Needs root.
//!
//! The table of docs/operations.md is what is expected here; `BERTH_WRITE=1` writes it, with the times
//! of that run. Times are not compared.

mod calls;
mod case;
mod codes;
mod fault;
mod group;
mod page;
mod stage;

use std::sync::Mutex;

use anyhow::{Result, ensure};
use berth_testkit::{Registry, is_root};

use crate::case::Case;
use crate::page::Row;
use crate::stage::Stage;

/// So many nodes go through the cases beside each other: most of a case is waiting.
const NODES: usize = 5;

#[test]
fn what_needs_no_failing_service_works_and_the_rest_ends_in_time() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let cases = Mutex::new(case::all().into_iter().enumerate().rev().collect::<Vec<_>>());
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
    ensure!(rows.len() == case::all().len(), "{} cases were gone through", rows.len());
    page::compare(&rows)
}

type Numbered<T> = Mutex<Vec<(usize, T)>>;

/// Goes through cases while there are any, on one node as long as nothing fails there.
fn work(node: usize, registry: &Registry, cases: &Numbered<Case>, told: &Numbered<Result<Row>>) {
    let mut stage = None;
    loop {
        let next = cases.lock().expect("no panic").pop();
        let Some((number, case)) = next else { return };
        let row = Stage::ready(&mut stage, node, registry)
            .and_then(|stage| case.go_through(stage, number).map_err(|e| stage.explain(e)));
        if row.is_err() {
            stage = None;
        }
        told.lock().expect("no panic").push((number, row.map_err(|e| e.context(case.to_string()))));
    }
}
