//! Figures as a table in Markdown: a column for each number of nodes.

use std::time::Duration;

use crate::run::Row;

/// One line: what it says, and how.
type Line = (&'static str, fn(&Row) -> String);

const LINES: [Line; 27] = [
    ("keys in etcd", |row| whole(row.keys)),
    ("until all nodes had published everything", |row| short(row.published)),
    ("until a reader had everything: alone", |row| short(row.listed_alone)),
    ("… the slowest of the others, one after the other", |row| short(row.listed_among)),
    ("transactions per second", |row| whole(row.transactions)),
    ("keys written or deleted per second", |row| whole(row.written)),
    ("renewals of leases per second", |row| tenths(row.renewals)),
    ("ranges read per second", |row| tenths(row.ranges)),
    ("watch fan-out: changes told to readers per second", |row| whole(row.fan_out)),
    ("from a change on a node to a reader's watch: p50", |row| short(row.p50)),
    ("… p99", |row| short(row.p99)),
    ("… the worst", |row| short(row.worst)),
    ("… changes measured", |row| whole(row.samples as f64)),
    ("changes that waited to be written at the end", |row| row.waiting.to_string()),
    ("until all views were what the nodes held, once nothing happened", |row| short(row.converged)),
    ("until several readers that began at once had everything", |row| measured(row.listed_at_once)),
    ("until all was there again after etcd had lost its data", |row| measured(row.recovered)),
    ("full relistings", |row| row.relists.to_string()),
    ("failures of publishing", |row| row.failures.to_string()),
    ("memory of a reader: now / at most / without views", |row| {
        let mib = |kib: u64| format!("{} MiB", kib >> 10);
        format!("{} / {} / {}", mib(row.reader.now), mib(row.reader.peak), mib(row.reader.empty))
    }),
    ("objects in its views", |row| row.reader.objects.to_string()),
    ("processors: a reader", |row| format!("{:.2}", row.reader_processor)),
    ("… etcd", |row| format!("{:.2}", row.etcd_processor)),
    ("… all nodes and the other readers, one process", |row| format!("{:.2}", row.own_processor)),
    ("… what else ran on the machine", |row| format!("{:.2}", row.other_processor)),
    ("etcd: database / in use / history in an hour without compaction", |row| {
        let hour = row.growth * 3600.0;
        format!("{} / {} / {}", mebi(row.database), mebi(row.in_use), mebi(hour))
    }),
    ("etcd: memory / mean fsync", |row| {
        format!("{} / {}", mebi(row.etcd_memory), short(row.fsync))
    }),
];

/// The table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| |");
    for row in rows {
        text += &format!(" {} nodes |", row.nodes);
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(rows.len()));
    for (what, figure) in LINES {
        let figures: Vec<_> = rows.iter().map(figure).collect();
        text += &format!("| {what} | {} |\n", figures.join(" | "));
    }
    if let [first, .., last] = rows {
        text += &growth(first, last);
    }
    text
}

/// How much of each there is for so many times the nodes.
fn growth(first: &Row, last: &Row) -> String {
    let times = |figure: fn(&Row) -> f64| {
        format!("{:.1}", figure(last) / figure(first).max(f64::MIN_POSITIVE))
    };
    let nodes = last.nodes as f64 / first.nodes as f64;
    let memory = |row: &Row| row.reader.now.saturating_sub(row.reader.empty) as f64;
    format!(
        "\n{nodes:.0} times the nodes: {} times the keys, {} the transactions, {} the changes told, {} the \
         memory of a reader's views, {} the database, {} the processor of etcd, {} the p99.\n",
        times(|row| row.keys),
        times(|row| row.transactions),
        times(|row| row.fan_out),
        times(memory),
        times(|row| row.in_use),
        times(|row| row.etcd_processor),
        times(|row| row.p99.as_secs_f64()),
    )
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

fn tenths(figure: f64) -> String {
    format!("{figure:.1}")
}

fn mebi(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

/// A time, or nothing where it was not asked for.
fn measured(time: Duration) -> String {
    if time.is_zero() { "–".to_owned() } else { short(time) }
}

fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_a_column() {
        let row =
            |nodes, keys| Row { nodes, keys, p99: Duration::from_millis(320), ..Row::default() };
        let text = table(&[row(100, 8_100.0), row(1000, 81_000.0)]);
        assert!(text.starts_with("| | 100 nodes | 1000 nodes |\n|---|---:|---:|\n"), "{text}");
        assert!(text.contains("| keys in etcd | 8100 | 81000 |\n"), "{text}");
        assert!(text.contains("| … p99 | 320 ms | 320 ms |\n"), "{text}");
        assert!(text.contains("\n10 times the nodes: 10.0 times the keys"), "{text}");
    }
}
