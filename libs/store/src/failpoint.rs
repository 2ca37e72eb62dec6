//! Points where a crash test may end the process.
//!
//! Every commit passes two, by its name: `NAME.before-commit`, where nothing of the group is in
//! the file, and `NAME.after-commit`, where all of it is and no caller knows. What a service does to
//! files beside its commits passes one per step, after it: `file("blob", "named")` is the point
//! `blob.named`. Both texts are literals there: tests look for them in the sources.
//!
//! With the feature `failpoints`, `BERTH_FAILPOINT=POINT:abort` ends the process there,
//! `POINT:abort:N` when it is passed for the Nth time, and `BERTH_FAILPOINT_TRACE=FILE` appends the
//! name of each point that is passed, so that a test can tell which points no test reached.
//! Without the feature both functions are empty and always inlined: neither a call nor a name is
//! left in an optimized program (`make build` looks).

/// Passes a point after a step of a file operation.
#[inline(always)]
pub fn file(what: &str, step: &str) {
    hit(what, step);
}

/// Passes a point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str, _step: &str) {}

#[cfg(feature = "failpoints")]
pub use enabled::hit;

#[cfg(feature = "failpoints")]
mod enabled {
    use std::collections::HashMap;
    use std::io::Write;
    use std::sync::{LazyLock, Mutex};

    struct Wanted {
        point: String,
        at: u64,
    }

    static WANTED: LazyLock<Option<Wanted>> = LazyLock::new(|| {
        let text = std::env::var("BERTH_FAILPOINT").ok()?;
        let (point, action) = text.split_once(":abort")?;
        let at = action.strip_prefix(':').and_then(|n| n.parse().ok()).unwrap_or(1);
        Some(Wanted { point: point.to_owned(), at })
    });

    static PASSED: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

    /// Passes a point.
    pub fn hit(name: &str, step: &str) {
        let point = format!("{name}.{step}");
        let times = {
            let mut passed = PASSED.lock().unwrap_or_else(|e| e.into_inner());
            let times = passed.entry(point.clone()).or_default();
            *times += 1;
            *times
        };
        trace(&point);
        if WANTED.as_ref().is_some_and(|w| w.point == point && w.at == times) {
            std::process::abort();
        }
    }

    fn trace(point: &str) {
        let Some(path) = std::env::var_os("BERTH_FAILPOINT_TRACE") else { return };
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path);
        if let Ok(mut file) = file {
            // A trace that cannot be written shows as a point that was not passed.
            let _ = file.write_all(format!("{point}\n").as_bytes());
        }
    }
}
