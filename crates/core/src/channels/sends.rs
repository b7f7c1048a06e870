//! What a turn's sends to subscribers consist of: the bytes that were made for them, and from where each cursor came.

use bytes::Bytes;

use super::entry::Variant;
use super::log::Log;
use crate::compression::Deflating;

/// Bytes of one send, beyond its first frame: about what a socket takes at once.
pub(super) const SEND_BYTES_MAX: usize = 16 * 1024;
/// Sets of bytes that are remembered in one slice.
const MADE_MAX: usize = 8;

/// A send of this turn that carries nothing but frames of one channel, unless its slot's send was joined with others.
pub(super) struct Fanned {
    pub(super) slot: u32,
    pub(super) subscription: u32,
    /// Where the subscription's cursor was before.
    pub(super) cursor: u32,
    pub(super) bytes: u32,
}

/// What was made for the subscribers of one slice: most of them lack the same.
#[derive(Default)]
pub(super) struct Memo {
    made: Vec<Made>,
    room: Vec<u8>,
}

struct Made {
    cursor: u32,
    variant: Variant,
    bytes: Bytes,
    end: u32,
}

impl Memo {
    /// Another slice begins.
    pub(super) fn forget(&mut self) {
        self.made.clear();
    }

    /// What somebody with this cursor lacks, and the cursor behind it.
    pub(super) fn get(
        &mut self,
        log: &Log,
        (cursor, index): (u32, usize),
        variant: Variant,
        now_ms: u64,
        deflating: &mut Deflating,
    ) -> (Bytes, u32) {
        let known = self.made.iter().find(|made| made.cursor == cursor && made.variant == variant);
        if let Some(made) = known {
            return (made.bytes.clone(), made.end);
        }
        self.room.clear();
        let end = log.gather(index, variant, SEND_BYTES_MAX, now_ms, deflating, &mut self.room);
        // A copy even of a single frame: cores that count its users together would slow each other down.
        let bytes = Bytes::copy_from_slice(&self.room);
        if self.made.len() == MADE_MAX {
            self.made.remove(0);
        }
        self.made.push(Made { cursor, variant, bytes: bytes.clone(), end });
        (bytes, end)
    }
}
