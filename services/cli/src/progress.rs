//! How far a transfer has come: a bar per layer on a terminal, a line per step otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use berth_proto::containerd::types::transfer::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output;

/// What is shown of a transfer, on standard error.
pub struct Show {
    way: Way,
}

enum Way {
    Quiet,
    Lines(BTreeMap<String, String>),
    Bars { all: MultiProgress, bars: BTreeMap<String, ProgressBar> },
}

impl Show {
    /// Bars when standard error is a terminal, otherwise lines; nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        let way = if quiet {
            Way::Quiet
        } else if std::io::stderr().is_terminal() {
            Way::Bars { all: MultiProgress::new(), bars: BTreeMap::new() }
        } else {
            Way::Lines(BTreeMap::new())
        };
        Self { way }
    }

    /// Takes in one report.
    pub fn update(&mut self, report: &Progress) {
        match &mut self.way {
            Way::Quiet => {}
            Way::Lines(states) => {
                let key = key(report);
                let known = states.insert(key, report.event.clone());
                // Only a change of state is worth a line.
                if known.as_deref() != Some(&report.event) {
                    eprintln!("{}", describe(report));
                }
            }
            Way::Bars { all, bars } if report.total > 0 => {
                let bar = bars.entry(key(report)).or_insert_with(|| all.add(bar(report)));
                advance(bar, report);
            }
            Way::Bars { all, .. } => {
                // Nobody is told of a terminal that went away.
                let _ = all.println(describe(report));
            }
        }
    }

    /// Leaves the bars as they are.
    pub fn finish(self) {
        if let Way::Bars { bars, .. } = self.way {
            for bar in bars.values() {
                bar.abandon();
            }
        }
    }
}

fn bar(report: &Progress) -> ProgressBar {
    let style = "{prefix:20} {msg:15} [{wide_bar:.cyan/blue}] {bytes:>10}/{total_bytes:10}";
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    // Before it is shown for the first time.
    advance(&bar, report);
    bar
}

fn advance(bar: &ProgressBar, report: &Progress) {
    let total = u64::try_from(report.total).unwrap_or_default();
    let done = u64::try_from(report.progress).unwrap_or_default().min(total);
    bar.set_length(total);
    bar.set_position(if is_final(&report.event) { total } else { done });
    bar.set_prefix(short_name(&report.name));
    bar.set_message(report.event.clone());
}

fn is_final(event: &str) -> bool {
    matches!(event, "complete" | "extracted" | "already exists" | "saved" | "pushed")
}

fn key(report: &Progress) -> String {
    match &report.desc {
        Some(target) if !target.digest.is_empty() => target.digest.clone(),
        _ => report.name.clone(),
    }
}

fn describe(report: &Progress) -> String {
    let name = short_name(&report.name);
    match u64::try_from(report.total) {
        Ok(total) if total > 0 => format!("{name}: {} ({})", report.event, output::size(total)),
        _ if name.is_empty() => report.event.clone(),
        _ => format!("{name}: {}", report.event),
    }
}

/// `layer-sha256:0123…` with twelve digits; other names as they are.
fn short_name(name: &str) -> String {
    match name.split_once("sha256:") {
        Some((kind, hex)) => format!("{}{}", kind.replace('-', " "), output::short(hex)),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_becomes_a_line() {
        let mut report = Progress {
            event: "downloading".into(),
            name: format!("layer-sha256:{}", "0123456789abcdef".repeat(4)),
            progress: 10,
            total: 2048,
            ..Default::default()
        };
        assert_eq!(describe(&report), "layer 0123456789ab: downloading (2.0 KiB)");
        report.total = 0;
        assert_eq!(describe(&report), "layer 0123456789ab: downloading");
        let bare = Progress { event: "Resolving".into(), ..Default::default() };
        assert_eq!(describe(&bare), "Resolving");
    }

    #[test]
    fn bars_end_full() {
        let report = Progress {
            event: "already exists".into(),
            name: "layer".into(),
            total: 7,
            ..Default::default()
        };
        let bar = bar(&report);
        assert_eq!((bar.position(), bar.length()), (7, Some(7)));
    }
}
