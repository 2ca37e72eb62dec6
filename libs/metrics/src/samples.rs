//! Samples as they are told: families by name, each with its help once.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use crate::times::Times;

/// What is told of one thing that is counted.
#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: &'static str,
    lines: String,
}

/// What a source tells.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Family>);

/// Where the samples of one family are put.
#[derive(Debug)]
pub struct Told<'s> {
    name: &'static str,
    lines: &'s mut String,
}

impl Samples {
    /// What goes up and down. The name is whole, as Prometheus has it.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Told<'_> {
        self.family(name, help, "gauge")
    }

    /// What only grows, while the process lives. The name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Told<'_> {
        self.family(name, help, "counter")
    }

    /// How long things took. The name ends in `_seconds`.
    pub fn times(&mut self, name: &'static str, help: &'static str) -> Told<'_> {
        self.family(name, help, "histogram")
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: &'static str) -> Told<'_> {
        let family = self.0.entry(name).or_insert(Family { help, kind, lines: String::new() });
        Told { name, lines: &mut family.lines }
    }

    /// Adds what another source tells.
    pub fn append(&mut self, other: Self) {
        for (name, family) in other.0 {
            match self.0.get_mut(name) {
                Some(there) => there.lines.push_str(&family.lines),
                None => _ = self.0.insert(name, family),
            }
        }
    }

    /// In Prometheus' text format. Families without samples are left out.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, Family { help, kind, lines }) in &self.0 {
            if !lines.is_empty() {
                let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
                text.push_str(lines);
            }
        }
        text
    }
}

impl Told<'_> {
    /// A value under labels, which are names and what they stand for.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Times under labels.
    pub fn histogram(&mut self, labels: &[(&str, &str)], times: &Times) {
        let mut count = 0;
        for (bound, more) in times.buckets() {
            count += more;
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, times.sum().as_secs_f64());
        self.line("_count", labels, None, count);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&dyn Display>,
        value: impl Display,
    ) {
        let lines = &mut *self.lines;
        lines.push_str(self.name);
        lines.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels {
            let _ = write!(lines, "{before}{name}=\"");
            escape(value, lines);
            lines.push('"');
            before = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(lines, "{before}le=\"{bound}\"");
            before = ',';
        }
        if before == ',' {
            lines.push('}');
        }
        let _ = writeln!(lines, " {value}");
    }
}

/// The value of a label, which may have been chosen by anybody.
fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_family_stands_once_and_labels_stay_labels() {
        let mut samples = Samples::default();
        samples.gauge("a", "A").sample(&[("x", "q\"\\\n}")], 1);
        samples.gauge("a", "A").sample(&[], 0.5);
        samples.counter("none_total", "Nothing");
        let mut other = Samples::default();
        other.gauge("a", "A").sample(&[("x", "o"), ("y", "")], u64::MAX);
        samples.append(other);
        let expected = "# HELP a A.\n# TYPE a gauge\na{x=\"q\\\"\\\\\\n}\"} 1\na 0.5\n\
            a{x=\"o\",y=\"\"} 18446744073709551615\n";
        assert_eq!(samples.text(), expected);
    }

    #[test]
    fn times_are_told_from_the_shortest_bound_on() {
        let times = Times::new();
        for millis in [1, 3, 70_000] {
            times.count(Duration::from_millis(millis));
        }
        let mut samples = Samples::default();
        samples.times("t_seconds", "T").histogram(&[("k", "v")], &times);
        let text = samples.text();
        for line in [
            "t_seconds_bucket{k=\"v\",le=\"0.001\"} 1",
            "t_seconds_bucket{k=\"v\",le=\"0.005\"} 2",
            "t_seconds_bucket{k=\"v\",le=\"60\"} 2",
            "t_seconds_bucket{k=\"v\",le=\"+Inf\"} 3",
            "t_seconds_sum{k=\"v\"} 70.004",
            "t_seconds_count{k=\"v\"} 3",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in {text}");
        }
    }
}
