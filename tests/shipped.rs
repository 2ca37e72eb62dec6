//! What programs that are shipped are built with, which `cargo test` builds otherwise.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use berth_testkit::program;

/// The features of the crate that somebody turns on, by these kinds of dependencies of the workspace.
fn features(of: &str, kinds: &str) -> Vec<String> {
    let cargo = program(env!("CARGO")).args(["tree", "--workspace", "--locked", "--offline"]);
    let tree = cargo.args(["--prefix", "none", "--edges", kinds, "--invert", of]).output();
    let tree = tree.and_then(berth_testkit::Output::ok).unwrap();
    let start = format!("{of} feature \"");
    let named = tree.lines().filter_map(|line| line.strip_prefix(&start)?.split('"').next());
    named.map(str::to_owned).collect()
}

#[test]
fn no_program_that_is_shipped_has_failpoints() {
    let with_tests = features("berth-store", "normal,dev,features");
    assert!(with_tests.iter().any(|name| name == "failpoints"), "looks wrongly: {with_tests:?}");
    let shipped = features("berth-store", "normal,build,features");
    assert!(shipped.iter().any(|name| name == "default"), "looks wrongly: {shipped:?}");
    assert!(!shipped.iter().any(|name| name == "failpoints"), "{shipped:?}");
}
