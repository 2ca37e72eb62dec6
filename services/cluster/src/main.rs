//! The process: configuration, telemetry, serving, draining.

fn main() {}
