//! How answers are shown.

use std::io::Write;

use anyhow::Result;
use prost_types::Timestamp;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Prints one line; an error is that nobody reads any more.
pub fn line(text: impl AsRef<str>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints a value as JSON, indented.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Prints a value as JSON on one line.
pub fn json_line(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value)?)
}

/// Tells one thing of several: as a line, or as an object on a line.
pub fn told(as_json: bool, text: impl AsRef<str>, object: &impl Serialize) -> Result<()> {
    if as_json { json_line(object) } else { line(text) }
}

/// Prints names one a line, or as a list.
pub fn names(as_json: bool, names: &[impl AsRef<str> + Serialize]) -> Result<()> {
    if as_json { json(&names) } else { names.iter().try_for_each(line) }
}

/// Prints rows under headings, in columns as wide as their widest cell.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<()> {
    line(columns(&headings, rows).trim_end())
}

/// The same of a table that has not the same columns each time. A row that is short is filled up.
pub fn grid(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    line(columns(headings, rows).trim_end())
}

fn columns(headings: &[&str], rows: &[impl AsRef<[String]>]) -> String {
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| cell(row.as_ref(), at).chars().count());
        cells.chain([headings[at].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let mut push = |of: &dyn Fn(usize) -> String| {
        for (at, width) in widths.iter().enumerate() {
            let cell = of(at);
            if at + 1 == widths.len() {
                text.push_str(&cell);
            } else {
                text.push_str(&format!("{cell:<width$}", width = width + 3));
            }
        }
        text.push('\n');
    };
    push(&|at| headings[at].to_owned());
    for row in rows {
        push(&|at| cell(row.as_ref(), at));
    }
    text
}

/// A size in powers of 1024, as `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// How long ago a moment was, in its largest unit.
pub fn age(moment: Option<&Timestamp>) -> String {
    let Some(moment) = moment.and_then(to_time) else { return "-".to_owned() };
    let seconds = (OffsetDateTime::now_utc() - moment).whole_seconds();
    format!("{} ago", span(seconds))
}

fn span(seconds: i64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    for (length, unit) in units {
        let count = seconds / length;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            return format!("{count} {unit}{plural}");
        }
    }
    "0 seconds".to_owned()
}

/// A moment in RFC 3339; empty when there is none.
pub fn moment(moment: Option<&Timestamp>) -> String {
    let formatted = moment.and_then(to_time).and_then(|time| time.format(&Rfc3339).ok());
    formatted.unwrap_or_default()
}

fn to_time(moment: &Timestamp) -> Option<OffsetDateTime> {
    let nanos = i128::from(moment.seconds) * 1_000_000_000 + i128::from(moment.nanos);
    // Go's zero time stands for "never".
    (moment.seconds > 0).then(|| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()).flatten()
}

/// The first digits of a digest, enough for people.
pub fn short(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (140 << 20, "140.0 MiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn spans_are_in_their_largest_unit() {
        let cases = [(0, "0 seconds"), (1, "1 second"), (119, "1 minute"), (90_000, "1 day")];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn columns_line_up_and_trailing_space_goes() {
        let rows = [["a".to_owned(), "long cell".to_owned()], ["bbb".to_owned(), String::new()]];
        assert_eq!(columns(&["X", "Y"], &rows), "X     Y\na     long cell\nbbb   \n");
    }

    #[test]
    fn no_moment_is_shown_for_none() {
        assert_eq!(moment(None), "");
        assert_eq!(moment(Some(&Timestamp { seconds: -62_135_596_800, nanos: 0 })), "");
        assert_eq!(moment(Some(&Timestamp { seconds: 1, nanos: 0 })), "1970-01-01T00:00:01Z");
    }
}
