//! How a store misbehaves: on demand, and at random from a seed.

use fastrand::Rng;

/// What is asked of a store, as far as it can fail.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Making durable what was done.
    Sync,
    /// Storing messages.
    Append,
    /// Opening the store anew.
    Reopen,
    /// Everything else.
    Other,
}

/// How often a store misbehaves, each as a chance in a thousand calls.
#[derive(Copy, Clone, Debug)]
pub struct StoreFaults {
    /// A sync fails; what was not synced is then durable up to some point.
    pub sync: u16,
    /// An append fails; some of it may have been done.
    pub append: u16,
    /// The store cannot be opened again.
    pub reopen: u16,
    /// Anything else fails.
    pub other: u16,
    /// An append finds the storage full.
    pub full: u16,
    /// What has begun goes on for up to so many further calls: any call fails, or appends are refused.
    pub spell_calls_max: u32,
}

impl StoreFaults {
    /// A disk that does what one hopes for.
    pub const NONE: StoreFaults =
        StoreFaults { sync: 0, append: 0, reopen: 0, other: 0, full: 0, spell_calls_max: 0 };

    /// A disk that does everything it may, often.
    pub const HOSTILE: StoreFaults =
        StoreFaults { sync: 20, append: 10, reopen: 300, other: 2, full: 10, spell_calls_max: 5 };

    fn of(&self, call: Call) -> u16 {
        match call {
            Call::Sync => self.sync,
            Call::Append => self.append,
            Call::Reopen => self.reopen,
            Call::Other => self.other,
        }
    }
}

/// What is going to fail.
pub(super) struct Fate {
    pub(super) rng: Rng,
    pub(super) faults: StoreFaults,
    /// Calls of one kind that are to fail, whatever the rates say.
    demanded: Vec<Call>,
    /// Calls of any kind that fail from now on.
    spell: u32,
    /// Calls of [`Fate::is_full`] that find the storage full from now on.
    full: u32,
}

impl Fate {
    pub(super) fn new(seed: u64) -> Fate {
        let rng = Rng::with_seed(seed);
        Fate { rng, faults: StoreFaults::NONE, demanded: Vec::new(), spell: 0, full: 0 }
    }

    /// The next call of this kind fails, beside those that are demanded already.
    pub(super) fn demand(&mut self, call: Call) {
        self.demanded.push(call);
    }

    /// The next so many calls fail.
    pub(super) fn begin_spell(&mut self, calls: u32) {
        self.spell = calls;
    }

    /// The next so many appends find the storage full.
    pub(super) fn fill(&mut self, appends: u32) {
        self.full = appends;
    }

    /// Whether a call fails.
    pub(super) fn fails(&mut self, call: Call) -> bool {
        if self.spell > 0 {
            self.spell -= 1;
            return true;
        }
        if let Some(at) = self.demanded.iter().position(|&demanded| demanded == call) {
            self.demanded.swap_remove(at);
            return true;
        }
        let fails = self.happens(self.faults.of(call));
        if fails {
            self.spell = self.rng.u32(0..=self.faults.spell_calls_max);
        }
        fails
    }

    /// Whether an append finds the storage full.
    pub(super) fn finds_full(&mut self) -> bool {
        if self.full == 0 && self.happens(self.faults.full) {
            self.full = 1 + self.rng.u32(0..=self.faults.spell_calls_max);
        }
        let full = self.is_full();
        self.full = self.full.saturating_sub(1);
        full
    }

    /// Whether the next append is going to find the storage full.
    pub(super) fn is_full(&self) -> bool {
        self.full > 0
    }

    /// No draw where nothing can happen, so that a seed does the same with one fault more or less.
    fn happens(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.rng.u16(0..1000) < per_mille
    }
}
