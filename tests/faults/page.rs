//! The table of docs/operations.md.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::calls::{ALL, End};
use crate::case::{Case, Ends, Observed};

const BEGIN: &str = "<!-- written by tests/faults -->\n";
const END: &str = "<!-- until here -->\n";

/// A line of the table.
pub struct Row {
    /// What may come, which is compared, with what came in between [`CAME`].
    cells: Vec<String>,
    longest: Duration,
    back: Duration,
}

/// Around what came.
const CAME: &str = "**";

/// The ways in which a call may end, of which these came.
fn cell(expected: &Ends, came: &Ends) -> String {
    let words = |end: &End| match came.contains(end) && expected.len() > 1 {
        true => format!("{CAME}{}{CAME}", end.words()),
        false => end.words().to_owned(),
    };
    expected.iter().map(words).collect::<Vec<_>>().join(" or ")
}

impl Row {
    /// Of a case that has gone as expected.
    pub fn of(case: &Case, observed: &Observed) -> Self {
        let came = |kind| observed.begun.iter().filter(move |(of, _)| *of == kind);
        let mut cells = vec![case.to_string()];
        cells.extend(
            ALL.map(|kind| cell(&case.expected(kind), &came(kind).map(|(_, end)| *end).collect())),
        );
        let held = ALL.into_iter().flat_map(|kind| case.expected_held(kind)).collect();
        cells.push(cell(&held, &observed.held));
        Self { cells, longest: observed.longest, back: observed.back }
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
    let plain = |cell: &str| cell.replace(CAME, "");
    let cells = |line: &str| line.split(" | ").map(plain).collect::<Vec<_>>();
    let shown = table.lines().skip(2).map(|line| cells(line.trim_start_matches("| ")));
    let shown: Vec<_> =
        shown.map(|cells| cells[..cells.len().saturating_sub(2)].to_vec()).collect();
    let is: Vec<_> = rows
        .iter()
        .map(|row| row.cells.iter().map(|cell| plain(cell)).collect::<Vec<_>>())
        .collect();
    ensure!(shown == is, "{} shows {shown:#?}, it is {is:#?}; BERTH_WRITE=1", path.display());
    Ok(())
}

fn head() -> String {
    let kinds: Vec<_> = ALL.iter().map(|kind| kind.words()).collect();
    let columns = kinds.len() + 4;
    format!(
        "| | {} | any, under way | longest wait | all back after |\n|{}\n",
        kinds.join(" | "),
        "---|".repeat(columns)
    )
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")
}
