//! Points in time, ours and protobuf's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// What Go's zero time becomes on the wire: containerd's way of saying "never".
const GO_ZERO_SECONDS: i64 = -62_135_596_800;
/// The end of the year 9999, protobuf's last second.
const LAST_SECOND: i64 = 253_402_300_799;

/// A point in time for the wire.
#[must_use]
pub fn to_wire(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// A point in time from the wire. None when it is absent, Go's zero time, or no time at all.
#[must_use]
pub fn from_wire(timestamp: Option<&Timestamp>) -> Option<SystemTime> {
    let timestamp = timestamp?;
    let nanos = u32::try_from(timestamp.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    if timestamp.seconds <= GO_ZERO_SECONDS || timestamp.seconds > LAST_SECOND {
        return None;
    }
    let seconds = Duration::from_secs(timestamp.seconds.unsigned_abs());
    let whole = if timestamp.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)?
    } else {
        UNIX_EPOCH.checked_add(seconds)?
    };
    whole.checked_add(Duration::from_nanos(u64::from(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_there_and_back() {
        for time in [
            UNIX_EPOCH,
            UNIX_EPOCH + Duration::new(1_800_000_000, 999_999_999),
            UNIX_EPOCH - Duration::new(3, 1),
        ] {
            assert_eq!(from_wire(Some(&to_wire(time))), Some(time));
        }
    }

    #[test]
    fn no_time_is_none() {
        let zero = Timestamp { seconds: GO_ZERO_SECONDS, nanos: 0 };
        let wrong = Timestamp { seconds: 0, nanos: -1 };
        assert_eq!((from_wire(None), from_wire(Some(&zero))), (None, None));
        assert_eq!(from_wire(Some(&wrong)), None);
        assert_eq!(from_wire(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), None);
    }
}
