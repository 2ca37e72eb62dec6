//! Tests that cannot do without root.

/// Says that root is not to be had here.
const WITHOUT_ROOT: &str = "BERTH_WITHOUT_ROOT";

/// Whether a test that needs root goes on. Where `BERTH_WITHOUT_ROOT` is set it ends early, and
/// says so.
///
/// # Panics
/// Without root, unless that is set: a test that was not run has not passed.
#[must_use]
pub fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let known = std::env::var_os(WITHOUT_ROOT).is_some();
    assert!(known, "this test needs root; set {WITHOUT_ROOT} to go without it");
    eprintln!("skipped: it needs root, and {WITHOUT_ROOT} is set");
    false
}
