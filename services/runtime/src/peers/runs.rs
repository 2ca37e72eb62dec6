//! What a shim is told of the trace that a call to it is part of, and the runs of runc that our own
//! shims write down for it: each is told of the operation that the call is for, and becomes a span below
//! the call, with its own times.
//!
//! A shim of ours finds a number under [`RUNS`] if somebody wants to know, and leaves the file
//! `berth-runs-NUMBER` in the bundle, a line `VERB BEGAN ENDED` for each run. Others leave none.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_trace::{Context, TRACEPARENT, TRACESTATE};
use berth_ttrpc::KeyValue;
use tracing::Span;

use crate::work::in_folder;

/// The header for our own shims.
const RUNS: &str = "berth-runs";
/// The most that is read of a file, and of its lines.
const MOST_BYTES: u64 = 4 << 10;
const MOST_RUNS: usize = 32;
const LONGEST_VERB: usize = 32;

/// What is wanted of one call.
pub(super) struct Wanted {
    /// The call's span, if spans are kept.
    context: Option<Context>,
    /// Under which the shim writes down its runs.
    number: Option<u64>,
}

impl Wanted {
    /// Of a call whose span this is. Runs are written down for a span that is kept, and for a stage
    /// of an operation, where it is known where to.
    pub(super) fn of(span: &Span, bundle: Option<&Path>) -> Self {
        let context = berth_trace::context(span);
        let sampled = context.as_ref().is_some_and(|context| context.sampled);
        let wanted = bundle.is_some() && (sampled || berth_recent::is_kept());
        Self { context, number: wanted.then(number) }
    }

    /// What is said with the call; nothing if nobody wants to know.
    pub(super) fn headers(&self) -> Vec<KeyValue> {
        let header = |key: &str, value| KeyValue { key: key.to_owned(), value };
        let number = self.number.map(|number| header(RUNS, format!("{number:016x}")));
        let mut headers: Vec<_> = number.into_iter().collect();
        if let Some(context) = &self.context {
            headers.push(header(TRACEPARENT, context.traceparent()));
            if !context.state.is_empty() {
                headers.push(header(TRACESTATE, context.state.clone()));
            }
        }
        headers
    }

    /// Tells what the shim has written down for the call.
    pub(super) async fn collect(self, bundle: &Path) {
        let Some(number) = self.number else { return };
        let path = bundle.join(format!("berth-runs-{number:016x}"));
        let taken = in_folder("shim-runs", move || Ok(take(path))).await;
        for (verb, began, ended) in taken.iter().flat_map(|text| parse(text)) {
            let took = ended.duration_since(began).unwrap_or_default();
            berth_recent::part(&format!("runc {verb}"), took);
            if let Some(call) = &self.context {
                berth_trace::record(call, format!("runc {verb}"), began, ended);
            }
        }
    }
}

/// One that no other call has, of an earlier run of this process neither.
fn number() -> u64 {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        AtomicU64::new(u64::try_from(now.as_nanos()).unwrap_or_default())
    });
    NEXT.fetch_add(1, Ordering::Relaxed)
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
