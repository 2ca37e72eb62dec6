//! What a shim is told of the trace that a call to it is part of, and the runs of runc that our own
//! shims write down for it: each becomes a span below the call, with its own times.
//!
//! A shim of ours finds a number under [`RUNS`] (the call's span, if that is kept) and leaves the file
//! `berth-runs-NUMBER` in the bundle, a line `VERB BEGAN ENDED` for each run. Others leave none.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_trace::{Context, TRACEPARENT, TRACESTATE};
use berth_ttrpc::KeyValue;

use crate::work::in_folder;

/// The header for our own shims.
const RUNS: &str = "berth-runs";
/// The most that is read of a file, and of its lines.
const MOST_BYTES: u64 = 4 << 10;
const MOST_RUNS: usize = 32;
const LONGEST_VERB: usize = 32;

/// What is said with a call that is made in this span; nothing if nobody keeps it.
pub(super) fn headers() -> Vec<KeyValue> {
    let Some(context) = berth_trace::current() else { return Vec::new() };
    let header = |key: &str, value| KeyValue { key: key.to_owned(), value };
    let mut headers = vec![header(TRACEPARENT, context.traceparent())];
    if context.sampled {
        headers.push(header(RUNS, format!("{:016x}", context.span)));
    }
    if !context.state.is_empty() {
        headers.push(header(TRACESTATE, context.state));
    }
    headers
}

/// Makes spans of what the shim has written down for a call.
pub(super) async fn collect(bundle: &Path, call: Context) {
    let path = bundle.join(format!("berth-runs-{:016x}", call.span));
    let taken = in_folder("shim-runs", move || Ok(take(path))).await;
    for (verb, began, ended) in taken.iter().flat_map(|text| parse(text)) {
        berth_trace::record(&call, format!("runc {verb}"), began, ended);
    }
}

/// What is in the file, which is gone then. Nothing: none of ours was asked, or runc was not run.
fn take(path: PathBuf) -> String {
    let mut text = Vec::new();
    if let Ok(file) = fs_err::File::open(&path) {
        // What was read before an error is what there is to tell.
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
        let _ = fs_err::remove_file(&path);
    }
    String::from_utf8(text).unwrap_or_default()
}

fn parse(text: &str) -> impl Iterator<Item = (&str, SystemTime, SystemTime)> {
    let at = |nanos: &str| UNIX_EPOCH.checked_add(Duration::from_nanos(nanos.parse().ok()?));
    let run = move |line| {
        let [verb, began, ended] = str::split(line, ' ').collect::<Vec<_>>().try_into().ok()?;
        let fits = verb.len() <= LONGEST_VERB && verb.bytes().all(|b: u8| b.is_ascii_lowercase());
        let (began, ended) = (at(began)?, at(ended)?);
        (fits && began <= ended).then_some((verb, began, ended))
    };
    text.lines().take(MOST_RUNS).filter_map(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_run_is_none() {
        let of = |text: &str| parse(text).map(|(verb, ..)| verb.to_owned()).collect::<Vec<_>>();
        assert_eq!(of("create 1 2\nstart 3 3\n"), ["create", "start"]);
        for bad in ["create 2 1", "create 1", "create 1 2 3", "create -1 2", "../x 1 2", "\0 1 2"] {
            assert!(of(bad).is_empty(), "{bad}");
        }
        assert!(of(&format!("{} 1 2", "x".repeat(99))).is_empty());
        assert_eq!(of(&"x 1 2\n".repeat(99)).len(), MOST_RUNS);
    }
}
