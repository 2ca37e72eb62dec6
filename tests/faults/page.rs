//! The table of docs/operations.md.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::calls::{ALL, End};
use crate::case::Case;

const BEGIN: &str = "<!-- written by tests/faults -->\n";
const END: &str = "<!-- until here -->\n";

/// A line of the table.
pub struct Row {
    /// What is compared.
    cells: Vec<String>,
    longest: Duration,
    back: Duration,
}

impl Row {
    /// Of a case that has gone as expected.
    pub fn of(case: &Case, longest: Duration, back: Duration) -> Self {
        let words = |ends: &[End]| ends.iter().map(|e| e.words()).collect::<Vec<_>>().join(" or ");
        let mut cells = vec![case.to_string()];
        cells.extend(ALL.map(|kind| words(case.expected(kind))));
        Self { cells, longest, back }
    }

    fn line(&self) -> String {
        let seconds = |of: Duration| format!("{:.1} s", of.as_secs_f64());
        let (longest, back) = (seconds(self.longest), seconds(self.back));
        format!("| {} | {longest} | {back} |\n", self.cells.join(" | "))
    }
}

/// Compares the page with the rows, or writes it.
pub fn compare(rows: &[Row]) -> Result<()> {
    let path = path();
    let page = fs_err::read_to_string(&path)?;
    let (before, rest) = page.split_once(BEGIN).context("no table")?;
    let (table, after) = rest.split_once(END).context("no end of the table")?;
    if std::env::var_os("BERTH_WRITE").is_some() {
        let table: String = rows.iter().map(Row::line).collect();
        return Ok(fs_err::write(&path, format!("{before}{BEGIN}{}{table}{END}{after}", head()))?);
    }
    let cells = |line: &str| line.split(" | ").map(str::to_owned).collect::<Vec<_>>();
    let shown = table.lines().skip(2).map(|line| cells(line.trim_start_matches("| ")));
    let shown: Vec<_> =
        shown.map(|cells| cells[..cells.len().saturating_sub(2)].to_vec()).collect();
    let is: Vec<_> = rows.iter().map(|row| row.cells.clone()).collect();
    ensure!(shown == is, "{} shows {shown:#?}, it is {is:#?}; BERTH_WRITE=1", path.display());
    Ok(())
}

fn head() -> String {
    let kinds: Vec<_> = ALL.iter().map(|kind| kind.words()).collect();
    let columns = kinds.len() + 3;
    format!(
        "| | {} | longest wait | all back after |\n|{}\n",
        kinds.join(" | "),
        "---|".repeat(columns)
    )
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")
}
