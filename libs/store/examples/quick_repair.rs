//! What quick repair costs a commit and saves a restart, at a number of records of 8 KiB (a
//! container with its spec). Prints one line per setting; docs/adr/0004-local-store.md keeps the
//! numbers.
//!
//! `cargo run --release -p berth-store --example quick_repair -- 10000`

use std::error::Error;
use std::time::{Duration, Instant};

use redb::{Database, TableDefinition};

const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
const COMMITS: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let records: u64 = args.get(1).map_or(Ok(10_000), |n| n.parse())?;
    for quick in [false, true] {
        let folder = tempfile::tempdir_in(std::env::current_dir()?)?;
        let path = folder.path().join("a.redb");
        let copy = folder.path().join("b.redb");
        let database = builder().create(&path)?;
        put(&database, quick, 0..records)?;
        let began = Instant::now();
        for n in 0..COMMITS {
            put(&database, quick, records + n..records + n + 1)?;
        }
        let commit = began.elapsed() / u32::try_from(COMMITS)?;
        // What a kill leaves: the file as it is now, not closed.
        fs_err::copy(&path, &copy)?;
        let size = fs_err::metadata(&copy)?.len() >> 20;
        let restart = restart(&copy)?;
        println!(
            "quick_repair={quick} records={records} MiB={size} commit={commit:?} restart={restart:?}"
        );
    }
    Ok(())
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(2 << 20);
    builder
}

fn put(database: &Database, quick: bool, ids: std::ops::Range<u64>) -> Result<(), Box<dyn Error>> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(quick);
    {
        let mut table = txn.open_table(RECORDS)?;
        for id in ids {
            table.insert(id, [7_u8; 8192].as_slice())?;
        }
    }
    Ok(txn.commit()?)
}

fn restart(copy: &std::path::Path) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let database = builder().open(copy)?;
    let took = began.elapsed();
    drop(database);
    Ok(took)
}
