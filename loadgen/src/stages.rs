//! Stages, as in k6: a level that goes in straight lines from one target to the next, whatever the server does.
//!
//! The level is a number of connections, or a rate. When device 0, 1, … is to be there follows from it, and when
//! message 0, 1, … is due, so both clocks are open loops.

use std::sync::Arc;
use std::time::Duration;

/// What a level may be off by through rounding.
const ROUNDING: f64 = 1e-6;

/// A piece of the line: the level goes to a target within a time.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Stage {
    /// How long that takes; no time is a jump.
    pub duration: Duration,
    /// Where the level is at its end; not below 0.
    pub target: f64,
}

/// A level over time, which begins at a level and stays at the last target.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages {
    pieces: Arc<[Piece]>,
}

/// A stage with what comes before it.
#[derive(Copy, Clone, Debug, PartialEq)]
struct Piece {
    start: f64,
    seconds: f64,
    from: f64,
    to: f64,
    /// The area below the line before it.
    area: f64,
}

impl Piece {
    fn end(&self) -> f64 {
        self.start + self.seconds
    }

    fn level(&self, at: f64) -> f64 {
        if self.seconds <= 0.0 { self.to } else { self.from + self.slope() * (at - self.start) }
    }

    fn slope(&self) -> f64 {
        if self.seconds > 0.0 { (self.to - self.from) / self.seconds } else { 0.0 }
    }

    fn area_at(&self, at: f64) -> f64 {
        self.area + (self.from + self.level(at)) / 2.0 * (at - self.start)
    }
}

impl Stages {
    /// Stages that begin at this level.
    pub fn new(from: f64, stages: impl IntoIterator<Item = Stage>) -> Stages {
        let (mut start, mut level, mut area) = (0.0, from, 0.0);
        let pieces = stages.into_iter().map(|Stage { duration, target }| {
            let piece = Piece { start, seconds: duration.as_secs_f64(), from: level, to: target, area };
            (start, level, area) = (piece.end(), target, piece.area_at(piece.end()));
            piece
        });
        Stages { pieces: pieces.collect() }
    }

    /// One level for a while.
    pub fn constant(level: f64, duration: Duration) -> Stages {
        Stages::new(level, [Stage { duration, target: level }])
    }

    /// How long they take.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.pieces.last().map_or(0.0, Piece::end))
    }

    /// The level at a time.
    pub fn level(&self, at: Duration) -> f64 {
        let at = at.as_secs_f64();
        // Of jumps at the same time the last one holds.
        let piece = self.pieces.iter().rev().find(|piece| piece.start <= at);
        piece.map_or(0.0, |piece| if at >= piece.end() { piece.to } else { piece.level(at) })
    }

    /// How many whole ones the level makes at a time.
    pub fn count(&self, at: Duration) -> u32 {
        (self.level(at) + ROUNDING) as u32
    }

    /// The highest level.
    pub fn peak(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.from.max(piece.to)).fold(0.0, f64::max)
    }

    /// From when to when the level is at its highest for the first time.
    pub fn plateau(&self) -> (Duration, Duration) {
        let peak = self.peak();
        let is_peak = |level: f64| level >= peak - ROUNDING;
        let reached = self.pieces.iter().position(|piece| is_peak(piece.to));
        let Some(reached) = reached else { return (Duration::ZERO, Duration::ZERO) };
        let first = if is_peak(self.pieces[reached].from) {
            self.pieces[reached].start
        } else {
            self.pieces[reached].end()
        };
        let holds = |piece: &&Piece| is_peak(piece.from) && is_peak(piece.to);
        let last = self.pieces[reached..].iter().skip_while(|piece| !holds(piece) && piece.end() <= first);
        let last = last.take_while(holds).last().map_or(first, Piece::end);
        (Duration::from_secs_f64(first), Duration::from_secs_f64(last))
    }

    /// Whether the level ever falls.
    pub fn falls(&self) -> bool {
        self.pieces.iter().any(|piece| piece.to < piece.from)
    }

    /// The first time from `after` on at which the level makes more than `high` whole ones, or `low` or fewer; a little
    /// later rather than earlier. `None` if that never happens.
    pub fn leaves(&self, after: Duration, low: Option<u32>, high: u32) -> Option<Duration> {
        let after = after.as_secs_f64();
        let floor = low.map(|low| f64::from(low) + 1.0 - ROUNDING);
        let ceiling = f64::from(high) + 1.0 - ROUNDING;
        let is_out = |level: f64| level >= ceiling || floor.is_some_and(|floor| level < floor);
        for piece in self.pieces.iter().filter(|piece| piece.end() >= after) {
            let start = piece.start.max(after);
            if is_out(piece.level(start)) {
                return Some(Duration::from_secs_f64(start));
            }
            let limit = if piece.to > piece.from { Some(ceiling) } else { floor };
            if let Some(limit) = limit.filter(|_| is_out(piece.to)) {
                let at = piece.start + (limit - piece.from) / (piece.to - piece.from) * piece.seconds;
                return Some(
                    Duration::from_secs_f64(at.clamp(start, piece.end())) + Duration::from_micros(1),
                );
            }
        }
        None
    }

    /// The area below the line until a time: how much has happened, if the level is a rate.
    pub fn area(&self, until: Duration) -> f64 {
        let until = until.as_secs_f64();
        let piece = self.pieces.iter().rev().find(|piece| piece.start <= until);
        piece.map_or(0.0, |piece| piece.area_at(until.min(piece.end())))
    }

    /// When the area below the line is so large for the first time; at their end if it never is.
    pub fn time_of(&self, area: f64) -> Duration {
        let reached = self.pieces.partition_point(|piece| piece.area <= area);
        // The pieces before it end with less, or with as much and are the same moment.
        let Some(piece) = self.pieces[..reached].last() else { return Duration::ZERO };
        let (rest, slope) = (area - piece.area, piece.slope());
        let after = if slope == 0.0 {
            if piece.from > 0.0 { rest / piece.from } else { 0.0 }
        } else {
            // from * t + slope / 2 * t² = rest, in the form that does not cancel.
            let root = (piece.from * piece.from + 2.0 * slope * rest).max(0.0).sqrt();
            if piece.from + root > 0.0 { 2.0 * rest / (piece.from + root) } else { 0.0 }
        };
        Duration::from_secs_f64(piece.start + after.clamp(0.0, piece.seconds))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stages(from: f64, list: &[(f64, f64)]) -> Stages {
        let stage = |&(seconds, target)| Stage { duration: Duration::from_secs_f64(seconds), target };
        Stages::new(from, list.iter().map(stage))
    }

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Up to 10 within 10 s, to 100 within 10 s, 30 s of it, down within 5 s.
    fn hill() -> Stages {
        stages(0.0, &[(10.0, 10.0), (10.0, 100.0), (30.0, 100.0), (5.0, 0.0)])
    }

    #[test]
    fn the_level_goes_in_straight_lines() {
        for (at, count) in [
            (0.0, 0),
            (0.99, 0),
            (1.0, 1),
            (10.0, 10),
            (15.0, 55),
            (20.0, 100),
            (49.9, 100),
            (52.5, 50),
            (55.0, 0),
            (99.0, 0),
        ] {
            assert_eq!(hill().count(secs(at)), count, "at {at} s");
        }
        assert_eq!((hill().length(), hill().peak(), hill().falls()), (secs(55.0), 100.0, true));
        let jump = stages(0.0, &[(0.0, 7.0), (5.0, 7.0)]);
        assert_eq!((jump.count(secs(0.0)), jump.count(secs(9.0)), jump.falls()), (7, 7, false));
        assert_eq!(stages(0.0, &[]).count(secs(1.0)), 0);
    }

    #[test]
    fn the_plateau_is_where_most_are_there() {
        assert_eq!(hill().plateau(), (secs(20.0), secs(50.0)));
        for (list, plateau) in [
            (&[(0.0, 7.0), (2.0, 7.0), (3.0, 7.0)][..], (0.0, 5.0)),
            (&[(4.0, 9.0), (4.0, 0.0)], (4.0, 4.0)),
            (&[(1.0, 5.0), (1.0, 5.0), (1.0, 9.0), (2.0, 9.0)], (3.0, 5.0)),
            (&[(1.0, 9.0), (2.0, 9.0), (1.0, 0.0), (1.0, 9.0), (9.0, 9.0)], (1.0, 3.0)),
        ] {
            let (first, last) = plateau;
            assert_eq!(stages(0.0, list).plateau(), (secs(first), secs(last)), "{list:?}");
        }
    }

    #[test]
    fn a_rate_may_rise_and_fall() {
        let rate = stages(0.0, &[(10.0, 20.0), (10.0, 20.0), (10.0, 0.0)]);
        assert_eq!(rate.area(rate.length()), 400.0);
        for (number, at) in
            [(0.0, 0.0), (100.0, 10.0), (200.0, 15.0), (300.0, 20.0), (375.0, 25.0), (400.0, 30.0)]
        {
            let time = rate.time_of(number).as_secs_f64();
            assert!((time - at).abs() < 1e-6, "message {number} is due at {time} s");
        }
        let pause =
            stages(0.0, &[(0.0, 10.0), (1.0, 10.0), (0.0, 0.0), (5.0, 0.0), (0.0, 10.0), (1.0, 10.0)]);
        assert!((pause.time_of(11.0).as_secs_f64() - 6.1).abs() < 1e-6, "{:?}", pause.time_of(11.0));
    }

    fn any_stages() -> impl Strategy<Value = Stages> {
        let stage =
            (prop_oneof![Just(0.0), 0.001..20.0f64], prop_oneof![Just(0.0), Just(50.0), 0.0..100.0f64]);
        proptest::collection::vec(stage, 0..6).prop_map(|list| stages(0.0, &list))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever asks only when it is told to has missed no change, and is not told to ask for nothing.
        #[test]
        fn nobody_is_woken_for_nothing_and_nothing_is_missed(stages in any_stages(), after in 0.0..60.0f64) {
            let after = secs(after);
            let count = stages.count(after);
            let next = stages.leaves(after, count.checked_sub(1), count);
            let until = next.unwrap_or(stages.length()).saturating_sub(Duration::from_micros(3));
            for step in 0..50 {
                let at = after + until.saturating_sub(after).mul_f64(f64::from(step) / 50.0);
                if at < until {
                    prop_assert_eq!(stages.count(at), count, "at {:?}, next {:?}", at, next);
                }
            }
            if let Some(next) = next {
                // Jumps back at the same moment may undo it.
                let soon = [0, 1, 2, 5].map(|micros| stages.count(next + Duration::from_micros(micros)));
                let is_jump = stages.pieces.iter().any(|piece| piece.seconds < 0.01);
                prop_assert!(is_jump || soon.iter().any(|&soon| soon != count), "{soon:?} at {next:?}");
            }
        }

        #[test]
        fn time_and_area_agree(stages in any_stages(), share in 0.0..1.0f64) {
            let area = stages.area(stages.length()) * share;
            let again = stages.area(stages.time_of(area));
            prop_assert!((again - area).abs() < 1e-3 * (1.0 + area), "{again} is not {area}");
        }
    }
}
