//! Times as the CRI has them: nanoseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// Now.
#[must_use]
pub fn now() -> i64 {
    nanoseconds(SystemTime::now())
}

/// A moment; 0 for one before 1970.
#[must_use]
pub fn nanoseconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A moment of the wire's, if it is one.
#[must_use]
pub fn from_wire(at: Option<&Timestamp>) -> Option<i64> {
    berth_grpc::time::from_wire(at).map(nanoseconds)
}

/// As text, for those who do not read numbers.
#[must_use]
pub fn text(at: i64) -> String {
    let nanos = i32::try_from(at.rem_euclid(1_000_000_000)).unwrap_or_default();
    Timestamp { seconds: at.div_euclid(1_000_000_000), nanos }.to_string()
}

/// When a record was made; 1 if it does not say, as kubelets take 0 for a fault.
#[must_use]
pub fn of_record(created: Option<&Timestamp>) -> i64 {
    from_wire(created).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_none() {
        let wire = |seconds, nanos| Timestamp { seconds, nanos };
        assert_eq!(from_wire(Some(&wire(2, 5))), Some(2_000_000_005));
        // A shim may say anything.
        assert_eq!(from_wire(Some(&wire(i64::MAX, 0))), None);
        assert_eq!((from_wire(None), of_record(None)), (None, 1));
    }
}
