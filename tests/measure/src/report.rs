//! Figures as lines of a table.

use std::time::Duration;

/// Starts a section.
pub fn heading(section: &impl std::fmt::Debug) {
    println!("\n{section:?}\n{:<44}{:>12}{:>12}{:>8}", "", "containerd", "berth", "ratio");
}

/// A line of two durations, each a median, and the ratio of berth's to containerd's.
pub fn durations(what: &str, containerd: Duration, berth: Duration, ratio: f64) {
    let (containerd, berth) = (short(containerd), short(berth));
    println!("{what:<44}{containerd:>12}{berth:>12}{ratio:>8.2}");
}

/// A line of two plain figures.
pub fn figures(what: &str, unit: &str, containerd: f64, berth: f64) {
    let show = |figure: f64| format!("{figure:.1} {unit}");
    let ratio = berth / containerd;
    println!("{what:<44}{:>12}{:>12}{ratio:>8.2}", show(containerd), show(berth));
}

/// A line of one figure.
pub fn one(what: &str, figure: &str) {
    println!("{what:<44}{figure:>24}");
}

/// Three digits that count.
pub fn short(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        0.0..1e3 => format!("{micros:.0} us"),
        1e3..1e5 => format!("{:.2} ms", micros / 1e3),
        1e5..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}
