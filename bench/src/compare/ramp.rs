//! Which load comes next.

/// What a ramp doubles up to at most, in messages per second.
const RATE_MAX: f64 = 1_000_000.0;

/// The loads of one run, in messages per second.
#[derive(Clone, Debug)]
pub(super) enum Ramp {
    /// These.
    Fixed(std::vec::IntoIter<f64>),
    /// Twice as much each time until the server does not keep up, then between the last two.
    Search {
        /// Where it begins.
        first: f64,
        /// The highest load that was kept up with.
        good: Option<f64>,
        /// The lowest load that was not.
        bad: Option<f64>,
        /// How many loads between the two are still to be tried.
        refinements: u32,
    },
}

impl Ramp {
    /// The load after one that was kept up with or not; at the beginning there was none.
    pub(super) fn next(&mut self, last: Option<(f64, bool)>) -> Option<f64> {
        match self {
            Self::Fixed(rates) => rates.next(),
            Self::Search { first, good, bad, refinements } => {
                match last {
                    None => return Some(*first),
                    Some((rate, true)) => *good = Some(rate),
                    Some((rate, false)) => *bad = Some(rate),
                }
                match (*good, *bad) {
                    (Some(good), None) => Some(good * 2.0).filter(|&rate| rate <= RATE_MAX),
                    (Some(good), Some(bad)) if *refinements > 0 => {
                        *refinements -= 1;
                        Some((good * bad).sqrt())
                    }
                    _ => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All loads for a server that keeps up with `limit`.
    fn run(mut ramp: Ramp, limit: f64) -> Vec<f64> {
        let (mut rates, mut last) = (Vec::new(), None);
        while let Some(rate) = ramp.next(last) {
            rates.push(rate);
            last = Some((rate, rate <= limit));
        }
        rates
    }

    fn search(refinements: u32) -> Ramp {
        Ramp::Search { first: 10.0, good: None, bad: None, refinements }
    }

    #[test]
    fn the_load_doubles_until_the_server_is_behind_and_then_closes_in() {
        assert_eq!(run(search(0), 50.0), [10.0, 20.0, 40.0, 80.0]);
        let rates = run(search(3), 50.0);
        assert_eq!(rates.len(), 7);
        let best = rates.iter().copied().filter(|&rate| rate <= 50.0).fold(0.0, f64::max);
        assert!((45.0..=50.0).contains(&best), "{rates:?}");
    }

    #[test]
    fn a_server_that_never_keeps_up_or_always_does_ends_the_ramp() {
        assert_eq!(run(search(3), 1.0), [10.0]);
        let rates = run(search(3), f64::INFINITY);
        assert!(rates.last().is_some_and(|&rate| rate > RATE_MAX / 2.0 && rate <= RATE_MAX), "{rates:?}");
    }

    #[test]
    fn fixed_loads_are_all_run_whatever_the_server_does() {
        assert_eq!(run(Ramp::Fixed(vec![5.0, 1.0, 7.0].into_iter()), 2.0), [5.0, 1.0, 7.0]);
    }
}
