//! Samples as they are told: families by name, each with its help once. There is so much room: what
//! finds none is left out and counted.

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

/// The most bytes of samples, less than whoever collects them takes.
const ROOM: usize = 12 << 20;

/// What a source tells.
#[derive(Debug)]
pub struct Samples {
    families: BTreeMap<&'static str, Family>,
    /// Bytes that may still be added.
    room: usize,
    left_out: u64,
}

impl Default for Samples {
    fn default() -> Self {
        Self { families: BTreeMap::new(), room: ROOM, left_out: 0 }
    }
}

/// Where the samples of one family are put.
#[derive(Debug)]
pub struct Told<'s> {
    name: &'static str,
    lines: &'s mut String,
    room: &'s mut usize,
    left_out: &'s mut u64,
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
        let family = Family { help, kind, lines: String::new() };
        let family = self.families.entry(name).or_insert(family);
        let (room, left_out) = (&mut self.room, &mut self.left_out);
        Told { name, lines: &mut family.lines, room, left_out }
    }

    /// Adds what another source tells; a family for which there is no room is left out whole.
    pub fn append(&mut self, other: Self) {
        self.left_out += other.left_out;
        for (name, family) in other.families {
            let Some(room) = self.room.checked_sub(family.lines.len()) else {
                self.left_out += family.lines.lines().map(|_| 1).sum::<u64>();
                continue;
            };
            self.room = room;
            match self.families.get_mut(name) {
                Some(there) => there.lines.push_str(&family.lines),
                None => _ = self.families.insert(name, family),
            }
        }
    }

    /// Counts samples that somebody has left out.
    pub fn leave_out(&mut self, samples: u64) {
        self.left_out += samples;
    }

    /// Has it told how many samples were left out, for which there always is room.
    pub(crate) fn tell_left_out(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        self.room = self.room.max(128);
        let help = "Samples for which there was no room";
        self.gauge("berth_scrape_samples_left_out", help).sample(&[], left_out);
    }

    /// In Prometheus' text format. Families without samples are left out.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, Family { help, kind, lines }) in &self.families {
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
        let before = self.lines.len();
        self.line("", labels, None, value);
        self.fit(before, 1);
    }

    /// Times under labels.
    pub fn histogram(&mut self, labels: &[(&str, &str)], times: &Times) {
        let (before, mut count, mut samples) = (self.lines.len(), 0, 2);
        for (bound, more) in times.buckets() {
            count += more;
            samples += 1;
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, times.sum().as_secs_f64());
        self.line("_count", labels, None, count);
        self.fit(before, samples);
    }

    /// Takes back the samples that were put behind `before` if there is no room for all of them.
    fn fit(&mut self, before: usize, samples: u64) {
        match self.room.checked_sub(self.lines.len() - before) {
            Some(room) => *self.room = room,
            None => {
                self.lines.truncate(before);
                *self.left_out += samples;
            }
        }
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
    fn what_finds_no_room_is_left_out_whole_and_counted() {
        let mut samples = Samples { room: 64, ..Samples::default() };
        samples.gauge("a", "A").sample(&[("x", &"y".repeat(40))], 1);
        samples.gauge("a", "A").sample(&[("x", &"z".repeat(40))], 2);
        samples.times("t_seconds", "T").histogram(&[], &Times::new());
        samples.gauge("a", "A").sample(&[], 3);
        let mut other = Samples::default();
        other.gauge("b", "B").sample(&[("x", &"y".repeat(40))], 1);
        other.leave_out(5);
        samples.append(other);
        samples.tell_left_out();
        let text = samples.text();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let first = format!("a{{x=\"{}\"}} 1", "y".repeat(40));
        let left_out = 1 + (crate::SECONDS.len() as u64 + 1 + 2) + 1 + 5;
        let counted = format!("berth_scrape_samples_left_out {left_out}");
        assert_eq!(lines, [&*first, "a 3", &*counted]);
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
