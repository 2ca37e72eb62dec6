//! What ctr prints, without what differs from run to run.

use regex_lite::Regex;

/// Patterns of what differs by nature, and what is put in their place.
const VARYING: [(&str, &str); 10] = [
    (r"\x1b\[[0-9;]*[A-Za-z]", ""),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC)?", "TIME"),
    (r"Less than a second|About a minute|\b\d+ (second|minute)s?\b", "AGE"),
    (r"\b\d+(\.\d+)?(ns|µs|ms|s)\b", "DURATION"),
    // Nanoseconds without leading zeros, and 3 bytes of chance that may end with a hyphen.
    (r"\b\d{1,9}-[A-Za-z0-9_-]{4}([^A-Za-z0-9_-]|$)", "RANDOM$1"),
    (r#""(pid|Pid)": \d+"#, "PID"),
    (r"default/\d+/", "SEQUENCE/"),
    (r"\b\d+ +(RUNNING|PAUSED|STOPPED|CREATED)", "PID $1"),
    (r" +", " "),
    (r"\t+", "\t"),
];

/// Words without times, process numbers, progress and the order of labels.
pub fn plain(said: &str) -> String {
    let mut said = said.replace('\r', "\n");
    for (pattern, place) in VARYING {
        let pattern = Regex::new(pattern).expect("a pattern of ours");
        said = pattern.replace_all(&said, place).into_owned();
    }
    let kept = said.lines().filter(|line| !is_progress(line));
    kept.map(|line| sorted_labels(line.trim_end())).collect::<Vec<_>>().join("\n")
}

/// A line that a progress display draws anew, or leaves empty.
fn is_progress(line: &str) -> bool {
    line.trim().is_empty()
        // The display asks once more while it is being put away.
        || line.contains("level=error") && line.contains("error=\"context canceled\"")
        || line.contains('|') && (line.contains("++") || line.contains("--"))
        || line.starts_with("elapsed:")
        || is_frame(line)
}

/// A line of a transfer's display, as ctr 2 draws it: what it is about, its target, what there is below
/// it, and how far it has come.
fn is_frame(line: &str) -> bool {
    const FRAMES: [&str; 3] = [
        r"^application/\S+ sha256:[0-9a-f]{64}\s*$",
        r"^[ │├└─]*(index|manifest|config|layer|attestation)\b.*\t",
        r"\s(fetching|pushing|importing|exporting|resolving|unpacking|saving|saved|pushed)[^\t]*\t?$",
    ];
    let is = |pattern: &&str| Regex::new(pattern).expect("a pattern of ours").is_match(line);
    line.contains("\telapsed: ") || FRAMES.iter().any(is)
}

/// Lists of labels, `a=b,c=d`, in order: they come out of a map.
fn sorted_labels(line: &str) -> String {
    let sorted = |word: &str| {
        let mut labels: Vec<_> = word.split(',').collect();
        if labels.iter().all(|label| label.contains('=')) {
            labels.sort_unstable();
        }
        labels.join(",")
    };
    line.split(' ')
        .map(|word| word.split('\t').map(sorted).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn what_varies_is_taken_out() {
    let said = "REF  SIZE\nx\t13 seconds\tb=2,a=1 2026-11-28T18:03:41Z done: 106.45ms\n\x1b[32m|++\x1b[0m|\n";
    assert_eq!(plain(said), "REF SIZE\nx\tAGE\ta=1,b=2 TIME done: DURATION");
}
