//! Parts of a store that fail and recover on their own.

/// A part of a store: it has some of the users, and a life of its own. Today there is one for all users.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition(u8);

impl Partition {
    /// How many there are.
    pub const COUNT: usize = 1;
    /// The one that has all users.
    pub const WHOLE: Partition = Partition(0);

    /// All partitions.
    pub fn all() -> impl Iterator<Item = Partition> {
        (0..Partition::COUNT as u8).map(Partition)
    }
}

/// How often each partition of a store was begun anew, as far as somebody has heard: what was read in an earlier life
/// may have been lost since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lives([u32; Partition::COUNT]);

impl Lives {
    /// All partitions are in their first life.
    #[must_use]
    pub const fn new() -> Lives {
        Lives([1; Partition::COUNT])
    }

    /// The life that a partition is in: at least 1.
    #[must_use]
    pub fn of(&self, partition: Partition) -> u32 {
        self.0[usize::from(partition.0)]
    }

    /// A partition was begun anew.
    pub fn begin(&mut self, partition: Partition) {
        self.0[usize::from(partition.0)] += 1;
    }
}

impl Default for Lives {
    fn default() -> Lives {
        Lives::new()
    }
}
