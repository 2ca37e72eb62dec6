//! The stages of one operation, as a table with a line of time.

use std::time::Duration;

use anyhow::Result;

use super::operation::{Operation, Outcome, Stage};
use crate::{output, reference};

/// How many characters stand for the whole of the time.
const WIDTH: usize = 40;

/// Prints one operation, and an empty line.
pub fn print(operation: &Operation) -> Result<()> {
    output::line(heading(operation))?;
    let rows: Vec<_> = operation.stages.iter().flat_map(|stage| rows(operation, stage)).collect();
    output::table(["STAGE", "SIZE", "FROM", "TOOK", "OF THE WHOLE"], &rows)?;
    if operation.left_out > 0 {
        output::line(format!("{} more stages are not kept", operation.left_out))?;
    }
    output::line("")
}

fn heading(operation: &Operation) -> String {
    let Operation { kind, namespace, outcome, took, error, trace_id, .. } = operation;
    let name = reference::familiar(&operation.name);
    let ago = output::age(Some(&operation.began.into()));
    let took = time(*took);
    let mut line = match outcome {
        Outcome::UnderWay => format!("{kind} {name} in {namespace}: under way for {took}"),
        _ => format!("{kind} {name} in {namespace}, {ago}: {outcome} after {took}"),
    };
    if !error.is_empty() {
        line = format!("{line}: {error}");
    }
    if !trace_id.is_empty() {
        line = format!("{line} (trace {trace_id})");
    }
    line
}

fn rows(operation: &Operation, stage: &Stage) -> Vec<[String; 5]> {
    let name = match stage.outcome {
        Outcome::Done => named(stage),
        other => format!("{} ({other})", named(stage)),
    };
    let size = if stage.bytes > 0 { output::size(stage.bytes) } else { String::new() };
    let bar = bar(operation.took, stage.from, stage.took);
    let mut rows = vec![[name, size, time(stage.from), time(stage.took), bar]];
    for part in &stage.parts {
        let (name, took) = (format!("  {}", part.name), time(part.took));
        rows.push([name, String::new(), String::new(), took, String::new()]);
    }
    rows
}

/// The stage with what it is about, short.
pub fn named(stage: &Stage) -> String {
    let about = match stage.about.split_once(':') {
        Some((_, hex)) if hex.len() == 64 => output::short(&stage.about),
        _ => reference::familiar(&stage.about).to_owned(),
    };
    format!("{} {about}", stage.name).trim_end().to_owned()
}

/// Where in the whole a stage lies: at least one mark.
fn bar(whole: Duration, from: Duration, took: Duration) -> String {
    let at = |time: Duration| {
        let share = time.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
        // In 0..=WIDTH by min; a share is never negative.
        ((share * WIDTH as f64) as usize).min(WIDTH)
    };
    let begin = at(from).min(WIDTH - 1);
    let end = at(from + took).max(begin + 1);
    format!("{}{}", " ".repeat(begin), "#".repeat(end - begin))
}

/// A length of time in the unit that gives it up to three digits before the point.
pub fn time(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_their_unit() {
        let told = [12, 12_345, 1_234_567].map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(told, ["12 us", "12.3 ms", "1.23 s"]);
    }

    #[test]
    fn a_stage_is_marked_where_it_was() {
        let ms = Duration::from_millis;
        assert_eq!(bar(ms(40), ms(0), ms(40)), "#".repeat(40));
        assert_eq!(bar(ms(40), ms(10), ms(2)), format!("{}##", " ".repeat(10)));
        assert_eq!(bar(ms(40), ms(40), ms(0)), format!("{}#", " ".repeat(39)), "the end is seen");
        assert_eq!(bar(ms(0), ms(0), ms(0)), "#", "no time at all");
    }

    #[test]
    fn digests_are_short_and_names_as_typed() {
        let stage = |about: &str| Stage {
            name: "fetch".to_owned(),
            about: about.to_owned(),
            bytes: 0,
            from: Duration::ZERO,
            took: Duration::ZERO,
            outcome: Outcome::Done,
            parts: Vec::new(),
        };
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(named(&stage(&digest)), "fetch abababababab");
        assert_eq!(named(&stage("docker.io/library/busybox:1")), "fetch busybox:1");
        assert_eq!(named(&stage("")), "fetch");
    }
}
