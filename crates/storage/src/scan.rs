//! Reading a mailbox in order, although blocks of tables are damaged.
//!
//! A block that cannot be read makes the database fail every read of a range that the block may have a part in, and
//! with it the message before. The block may be the first of a later table, in which case all reads up to the mailbox's
//! end fail, wherever they begin, although the tables before it are intact:
//!
//! ```text
//! numbers   1 … 900 │ 901 … 940 │ 941 … 1300
//! tables    └ one ┘   └damaged┘            a range that ends behind 900 fails at once
//!                     └────── another ─┘
//! ```
//!
//! So after a failure the ranges are short and grow while they succeed. Where not even a range of one number can be
//! read, numbers are looked for one by one: filters tell that a message is not in the damaged block.

use std::ops::{ControlFlow, RangeInclusive};

use super::keys::{self, AddressKey};
use super::records::Message;
use super::tables::{Found, Tables, bearable};
use campanile_mailbox::executor::MailboxError;

/// Numbers of one damaged place that are looked for one by one.
const SINGLE_LOOKS_MAX: u64 = 16_384;

/// A walk through the messages of a mailbox.
pub(super) struct Scan<'a, V> {
    pub(super) tables: &'a Tables,
    pub(super) address: &'a AddressKey,
    /// The next number.
    pub(super) start: u64,
    pub(super) up_to: u64,
    /// Places that could not be read.
    pub(super) damages: u64,
    pub(super) visit: V,
}

/// How reading a range has ended.
enum End {
    /// All of it was read.
    Whole,
    /// Nothing more is wanted.
    Broken,
    /// What comes next cannot be read in such a range.
    Damaged,
}

impl<V: FnMut(Found) -> ControlFlow<()>> Scan<'_, V> {
    /// Reads all that can be read, unless the visitor breaks off.
    pub(super) fn run(&mut self) -> Result<(), MailboxError> {
        while self.start <= self.up_to {
            match self.range(self.up_to)? {
                End::Whole | End::Broken => return Ok(()),
                End::Damaged => self.damages += 1,
            }
            if self.pass_damage()?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads up to the first place that is damaged, and passes over it.
    fn pass_damage(&mut self) -> Result<ControlFlow<()>, MailboxError> {
        let mut width = 1u64;
        loop {
            let last = self.start.saturating_add(width - 1).min(self.up_to);
            match self.range(last)? {
                End::Broken => return Ok(ControlFlow::Break(())),
                End::Whole if last == self.up_to => return Ok(ControlFlow::Break(())),
                End::Whole => {
                    self.start = last + 1;
                    width = width.saturating_mul(2);
                }
                End::Damaged if width > 1 => width /= 2,
                End::Damaged => break,
            }
        }
        let beyond = self.beyond_damage();
        let singles_end = beyond.unwrap_or(self.up_to).min(self.start.saturating_add(SINGLE_LOOKS_MAX));
        for seq in self.start..singles_end {
            if let Some(Ok(message)) = self.tables.message(self.address, seq)? {
                let bytes = message.body.len() as u32;
                if (self.visit)(Found { seq, bytes, message: Ok(message) }).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        let Some(beyond) = beyond else { return Ok(ControlFlow::Break(())) };
        self.start = beyond;
        Ok(ControlFlow::Continue(()))
    }

    /// Reads what is there up to a number.
    fn range(&mut self, last: u64) -> Result<End, MailboxError> {
        for item in self.tables.messages.range(self.keys(self.start..=last)) {
            match item.into_inner() {
                Ok((key, value)) => {
                    let seq = keys::seq(&key);
                    let len = value.len();
                    let message = Message::decode(&key, value.into());
                    let bytes = message.as_ref().map_or(len, |message| message.body.len()) as u32;
                    self.damages += u64::from(message.is_err());
                    if (self.visit)(Found { seq, bytes, message }).is_break() {
                        return Ok(End::Broken);
                    }
                    self.start = seq.saturating_add(1);
                }
                Err(error) => {
                    bearable(error)?;
                    return Ok(End::Damaged);
                }
            }
        }
        Ok(End::Whole)
    }

    fn keys(&self, numbers: RangeInclusive<u64>) -> RangeInclusive<Vec<u8>> {
        self.address.message(*numbers.start())..=self.address.message(*numbers.end())
    }

    /// The first number behind the damaged one that starts at the next number, found by trying: nobody knows which
    /// numbers are in a damaged block, but reading any of them alone fails.
    fn beyond_damage(&self) -> Option<u64> {
        let readable = |seq: u64| {
            let mut items = self.tables.messages.range(self.keys(seq..=seq));
            items.next().is_none_or(|item| item.into_inner().is_ok())
        };
        let (mut low, mut step) = (self.start, 1u64);
        let mut high = loop {
            let high = self.start.checked_add(step).filter(|high| *high <= self.up_to)?;
            if readable(high) {
                break high;
            }
            low = high;
            step = step.saturating_mul(2);
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if readable(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }
}
