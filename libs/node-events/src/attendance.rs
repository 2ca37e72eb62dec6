//! Whether a gateway is there, and where in the ring the last one was gone.

use std::sync::{Arc, Mutex, PoisonError};

use berth_events::{Position, Ring, Start};

/// What is known of gateways. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Attendance {
    ring: Ring,
    left: Arc<Mutex<Option<Position>>>,
}

/// A gateway that is there until this is dropped.
pub(crate) struct Present(Attendance);

impl Attendance {
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring, left: Arc::default() }
    }

    /// A gateway has come.
    pub(crate) fn present(&self) -> Present {
        Present(self.clone())
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
        let next = self.0.ring.subscribe(Start::Now).position();
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
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
        drop(attendance.present());
        assert_eq!(attendance.left(), Start::Kept(ring.subscribe(Start::Now).position()));
    }
}
