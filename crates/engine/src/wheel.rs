//! A timer wheel: one timer per connection, 12 bytes each, set and cleared in constant time.

use std::time::Duration;

use crate::time::Time;

const NONE: u32 = u32::MAX;
const BUCKETS: usize = 512;

#[derive(Copy, Clone)]
struct Link {
    /// The next timer of the same bucket.
    next: u32,
    /// The previous one; for the first of a bucket, `NONE`.
    prev: u32,
    /// The tick at which it is due; `NONE` when it is not set.
    due: u32,
}

const UNSET: Link = Link { next: NONE, prev: NONE, due: NONE };

/// Timers by slot number, in ticks of a fixed length. A timer fires at the first tick that is not earlier than
/// its time, hence up to one tick late and never early. Timers further away than 512 ticks go round.
pub struct Wheel {
    links: Vec<Link>,
    buckets: Box<[u32; BUCKETS]>,
    tick: Duration,
    /// The last tick that has been fired.
    current: u32,
    origin: Time,
    set: u32,
}

impl Wheel {
    /// A wheel that starts at `now`. `tick` must not be zero.
    pub fn new(now: Time, tick: Duration) -> Wheel {
        assert!(!tick.is_zero(), "a wheel needs a tick");
        Wheel { links: Vec::new(), buckets: Box::new([NONE; BUCKETS]), tick, current: 0, origin: now, set: 0 }
    }

    /// Sets the timer of `slot`, in place of the one that it had.
    pub fn set(&mut self, slot: u32, at: Time) {
        self.clear(slot);
        let index = slot as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, UNSET);
        }
        let due = self.tick_at(at).max(self.current + 1);
        let bucket = due as usize % BUCKETS;
        let first = self.buckets[bucket];
        self.links[index] = Link { next: first, prev: NONE, due };
        if first != NONE {
            self.links[first as usize].prev = slot;
        }
        self.buckets[bucket] = slot;
        self.set += 1;
    }

    /// Clears the timer of `slot`, if it is set.
    pub fn clear(&mut self, slot: u32) {
        let Some(&link) = self.links.get(slot as usize) else { return };
        if link.due == NONE {
            return;
        }
        match link.prev {
            NONE => self.buckets[link.due as usize % BUCKETS] = link.next,
            prev => self.links[prev as usize].next = link.next,
        }
        if link.next != NONE {
            self.links[link.next as usize].prev = link.prev;
        }
        self.links[slot as usize] = UNSET;
        self.set -= 1;
    }

    /// Moves every timer that is due at `now` to `expired`, in order of their ticks.
    pub fn expire(&mut self, now: Time, expired: &mut Vec<u32>) {
        let target = self.ticks_passed(now);
        // After a jump of the clock one round visits every bucket; more rounds would find nothing new.
        if target.saturating_sub(self.current) as usize > BUCKETS {
            self.current = target;
            for bucket in 0..BUCKETS {
                self.expire_bucket(bucket, expired);
            }
            return;
        }
        while self.current < target {
            self.current += 1;
            self.expire_bucket(self.current as usize % BUCKETS, expired);
        }
    }

    fn expire_bucket(&mut self, bucket: usize, expired: &mut Vec<u32>) {
        let mut slot = self.buckets[bucket];
        while slot != NONE {
            let link = self.links[slot as usize];
            if link.due <= self.current {
                self.clear(slot);
                expired.push(slot);
            }
            slot = link.next;
        }
    }

    /// When [`Wheel::expire`] is to be called next; `None` when no timer is set.
    pub fn next_tick(&self) -> Option<Time> {
        (self.set > 0).then(|| self.origin + self.tick * (self.current + 1))
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.set as usize
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.set == 0
    }

    fn tick_at(&self, at: Time) -> u32 {
        let ticks = at.since(self.origin).as_nanos().div_ceil(self.tick.as_nanos());
        u32::try_from(ticks).unwrap_or(NONE - 1).min(NONE - 1)
    }

    fn ticks_passed(&self, now: Time) -> u32 {
        let ticks = now.since(self.origin).as_nanos() / self.tick.as_nanos();
        u32::try_from(ticks).unwrap_or(NONE - 1).min(NONE - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Clear(u32),
        Advance(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..40u32, 0..120_000u64).prop_map(|(slot, ms)| Step::Set(slot, ms)),
            (0..40u32).prop_map(Step::Clear),
            prop_oneof![0..300u64, 0..200_000u64].prop_map(Step::Advance),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Every timer fires exactly once, not before its time and at most one tick after it.
        #[test]
        fn fires_like_a_sorted_map(steps in steps()) {
            let mut wheel = Wheel::new(Time(0), TICK);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now_ms = 0;
            for step in steps {
                match step {
                    Step::Set(slot, ms) => {
                        wheel.set(slot, Time((now_ms + ms) * 1_000_000));
                        model.insert(slot, now_ms + ms);
                    }
                    Step::Clear(slot) => {
                        wheel.clear(slot);
                        model.remove(&slot);
                    }
                    Step::Advance(ms) => {
                        now_ms += ms;
                        let mut fired = Vec::new();
                        wheel.expire(Time(now_ms * 1_000_000), &mut fired);
                        for slot in fired {
                            let due = model.remove(&slot);
                            let is_due = due.is_some_and(|due| due <= now_ms);
                            prop_assert!(is_due, "slot {slot} fired early: {due:?} at {now_ms}");
                        }
                        for (slot, due) in &model {
                            prop_assert!(due + 100 > now_ms, "slot {slot} due {due} is late at {now_ms}");
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                prop_assert_eq!(wheel.next_tick().is_none(), model.is_empty());
            }
        }
    }
}
