//! A table that grows in chunks: nothing is ever moved or held twice, and what is not used is not resident.

const CHUNK: usize = 256;

/// Values by number.
pub(super) struct Table<T> {
    chunks: Vec<Option<Box<[T]>>>,
}

impl<T: Default> Table<T> {
    pub(super) const fn new() -> Table<T> {
        Table { chunks: Vec::new() }
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
        let chunk = self.chunks[chunk].get_or_insert_with(|| (0..CHUNK).map(|_| T::default()).collect());
        &mut chunk[at]
    }

    /// One more than the highest index that may be there.
    pub(super) fn end(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }
}
