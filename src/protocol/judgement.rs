//! Whether a place in a stream is the beginning of a message, for protocols whose messages have no mark of their own.

/// Ordered by how much it says for the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It is not.
    No,
    /// More bytes will tell.
    Wait,
    /// It is.
    Yes,
}

impl Judgement {
    /// What the best of several readings says.
    pub fn best(readings: impl Iterator<Item = Judgement>) -> Judgement {
        readings.max().unwrap_or(Judgement::No)
    }
}
