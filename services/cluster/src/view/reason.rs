//! Why a view is listed as a whole that was there already.

/// Why all is listed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Etcd has forgotten the changes that came next.
    Compacted,
    /// It is another cluster, or another history of this one: its data was lost.
    Other,
    /// There is room for what was left out.
    Room,
}

impl Reason {
    pub const ALL: [Self; 3] = [Reason::Compacted, Reason::Other, Reason::Room];

    pub fn name(self) -> &'static str {
        match self {
            Reason::Compacted => "compacted",
            Reason::Other => "other",
            Reason::Room => "room",
        }
    }
}
