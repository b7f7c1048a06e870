//! A table that grows in chunks: nothing is ever moved or held twice, and what is not used is not resident.

const CHUNK: usize = 256;

/// Values by number.
pub(super) struct Table<T> {
    chunks: Vec<Option<Box<[T]>>>,
    end: u32,
}

impl<T: Default> Table<T> {
    pub(super) const fn new() -> Table<T> {
        Table { chunks: Vec::new(), end: 0 }
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.as_ref()?;
        chunk.get(index as usize % CHUNK)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(index as usize / CHUNK)?.as_mut()?;
        chunk.get_mut(index as usize % CHUNK)
    }

    /// The value at `index`, made if it is not there.
    pub(super) fn entry(&mut self, index: u32) -> &mut T {
        let (chunk, at) = (index as usize / CHUNK, index as usize % CHUNK);
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, || None);
        }
        self.end = self.end.max(index + 1);
        let chunk = self.chunks[chunk].get_or_insert_with(|| (0..CHUNK).map(|_| T::default()).collect());
        &mut chunk[at]
    }

    /// One more than the highest index that was made.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    /// Every value below the end whose chunk is there, with its index.
    pub(super) fn iter(&self) -> Iter<'_, T> {
        Iter { chunks: &self.chunks, next: 0, end: self.end as usize }
    }
}

/// The values of a table. The checkers walk them at every step of the simulator, where a loop without calls is several
/// times as fast as a chain of the iterators of chunks.
pub(super) struct Iter<'a, T> {
    chunks: &'a [Option<Box<[T]>>],
    next: usize,
    end: usize,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (u32, &'a T);

    fn next(&mut self) -> Option<(u32, &'a T)> {
        while self.next < self.end {
            let index = self.next;
            if let Some(chunk) = &self.chunks[index / CHUNK] {
                self.next += 1;
                return Some((index as u32, &chunk[index % CHUNK]));
            }
            self.next = (index / CHUNK + 1) * CHUNK;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_passes_over_what_was_never_made() {
        let mut table = Table::new();
        assert_eq!((table.end(), table.iter().count()), (0, 0));
        let indices = [3 * CHUNK as u32 + 1, 2, CHUNK as u32 - 1];
        for index in indices {
            *table.entry(index) = index;
        }
        assert_eq!(table.end(), indices[0] + 1);
        let made: Vec<u32> = table.iter().filter(|(_, value)| **value != 0).map(|(index, _)| index).collect();
        assert_eq!(made, [2, CHUNK as u32 - 1, 3 * CHUNK as u32 + 1]);
        assert!(table.iter().all(|(index, &value)| value == 0 || value == index));
        assert_eq!(table.iter().count(), CHUNK + 2);
    }
}
