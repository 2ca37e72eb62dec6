//! Whether a gateway is there, and where in the ring the last one was gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_events::{Position, Ring, Start};

/// For so long after a gateway's start clients come back that had lost the one before.
const COMING_BACK: Duration = Duration::from_secs(10);

/// What is known of gateways. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Attendance {
    ring: Ring,
    left: Arc<Mutex<Option<Position>>>,
}

/// A gateway that is there until this is dropped.
pub(crate) struct Present {
    attendance: Attendance,
    since: Instant,
}

impl Attendance {
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring, left: Arc::default() }
    }

    /// In a run that takes over what an earlier one left: the last gateway is taken to have gone with
    /// that, before anything was told here.
    pub(crate) fn succeeding(ring: Ring) -> Self {
        let first = Position { incarnation: ring.incarnation(), seq: 1 };
        Self { ring, left: Arc::new(Mutex::new(Some(first))) }
    }

    /// A gateway has come.
    pub(crate) fn present(&self) -> Present {
        Present { attendance: self.clone(), since: Instant::now() }
    }

    /// What has happened since the last gateway was gone; if there was none, what comes.
    pub(crate) fn left(&self) -> Start {
        // Nothing that can panic stands between the changes under this lock.
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.map_or(Start::Now, Start::Kept)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let Attendance { ring, left } = &self.attendance;
        let next = ring.subscribe(Start::Now).position();
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        // Not all clients of the gateway before may have come back to one that stayed shorter.
        if left.is_none() || self.since.elapsed() >= COMING_BACK {
            *left = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(ring: &Ring) {
        ring.publish("default".parse().expect("a name"), "/t", "x.Y", &b"v"[..]);
    }

    #[test]
    fn a_place_is_kept_when_a_gateway_goes() {
        let ring = Ring::new(8);
        let attendance = Attendance::new(ring.clone());
        assert_eq!(attendance.left(), Start::Now, "there was none");
        let present = attendance.present();
        publish(&ring);
        assert_eq!(attendance.left(), Start::Now, "there is one");
        drop(present);
        publish(&ring);
        let Start::Kept(position) = attendance.left() else { panic!("one has gone") };
        assert_eq!((position.incarnation, position.seq), (ring.incarnation(), 2));
        // One that stays too short for all clients to come back to it, one that does not.
        drop(attendance.present());
        assert_eq!(attendance.left(), Start::Kept(position));
        let mut present = attendance.present();
        present.since -= COMING_BACK;
        drop(present);
        assert_eq!(attendance.left(), Start::Kept(ring.subscribe(Start::Now).position()));
    }

    #[test]
    fn what_a_run_tells_of_the_one_before_is_new_to_all() {
        let ring = Ring::new(8);
        let attendance = Attendance::succeeding(ring.clone());
        publish(&ring);
        let first = Start::Kept(Position { incarnation: ring.incarnation(), seq: 1 });
        assert_eq!(attendance.left(), first);
        let present = attendance.present();
        assert_eq!(attendance.left(), first, "clients are coming back");
        drop(present);
        assert_eq!(attendance.left(), first);
    }
}
