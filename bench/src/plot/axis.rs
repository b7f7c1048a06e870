//! A logarithmic axis: whole steps of 1, 2 and 5, and where a value lies on it.

/// From one end of the drawing to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Where `low` and `high` are drawn.
    from: f64,
    to: f64,
}

impl Axis {
    /// Wide enough for all values, which must be positive, with ends on round numbers. `from` and `to` are where its
    /// ends are drawn.
    pub(super) fn around(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let (low, high) = if least <= most { (round_down(least), round_up(most)) } else { (1.0, 10.0) };
        // A single round value must not leave an axis without length.
        let high = if low < high { high } else { low * 10.0 };
        Self { low, high, from, to }
    }

    /// Where a value is drawn.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = (value / self.low).log10() / (self.high / self.low).log10();
        self.from + share * (self.to - self.from)
    }

    /// Every round number on it, and whether it is to be written.
    pub(super) fn ticks(&self) -> Vec<(f64, bool)> {
        let decades = (self.high / self.low).log10();
        let mut ticks = Vec::new();
        for exponent in exponent_of(self.low)..=exponent_of(self.high) {
            for step in [1.0, 2.0, 5.0] {
                let tick = step * 10f64.powi(exponent);
                if tick >= self.low * 0.999 && tick <= self.high * 1.001 {
                    ticks.push((tick, step == 1.0 || decades < 2.5));
                }
            }
        }
        ticks
    }
}

fn exponent_of(value: f64) -> i32 {
    // A power of ten must not fall below itself by rounding.
    (value.log10() + 1e-9).floor() as i32
}

fn round_down(value: f64) -> f64 {
    let decade = 10f64.powi(exponent_of(value));
    let step = [5.0, 2.0].into_iter().find(|step| step * decade <= value * 1.000_001);
    decade * step.unwrap_or(1.0)
}

fn round_up(value: f64) -> f64 {
    let down = round_down(value);
    if down >= value * 0.999_999 {
        return down;
    }
    let decade = 10f64.powi(exponent_of(value));
    let step = [2.0, 5.0].into_iter().find(|step| step * decade >= value);
    decade * step.unwrap_or(10.0)
}

/// As people write it: `0.5`, `200`, `10k`, `5M`.
pub(super) fn written(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let rounded = (scaled * 1e6).round() / 1e6;
    format!("{rounded}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(values: &[f64]) -> Axis {
        Axis::around(values.iter().copied(), 0.0, 100.0)
    }

    fn near(found: f64, expected: f64) -> bool {
        (found / expected - 1.0).abs() < 1e-9
    }

    #[test]
    fn ends_are_round_and_include_every_value() {
        for (values, low, high) in [
            (&[3.0, 700.0][..], 2.0, 1000.0),
            (&[1000.0, 10.0], 10.0, 1000.0),
            (&[0.34, 0.35], 0.2, 0.5),
            (&[10_000.0], 10_000.0, 100_000.0),
            (&[2_900_000.0, 10_000.0], 10_000.0, 5_000_000.0),
        ] {
            let axis = axis(values);
            assert!(near(axis.low, low) && near(axis.high, high), "{values:?}: {axis:?}");
        }
        assert_eq!(axis(&[]).ticks().len(), 4, "without values there is still an axis");
    }

    #[test]
    fn places_are_logarithmic() {
        let axis = axis(&[1.0, 100.0]);
        let places: Vec<f64> = [1.0, 10.0, 100.0].into_iter().map(|value| axis.place(value)).collect();
        assert!(places[0].abs() < 1e-9 && near(places[1], 50.0) && near(places[2], 100.0), "{places:?}");
    }

    #[test]
    fn a_long_axis_names_powers_of_ten_and_a_short_one_every_tick() {
        let named = |values: &[f64]| -> Vec<String> {
            let ticks = axis(values).ticks().into_iter().filter(|tick| tick.1);
            ticks.map(|(tick, _)| written(tick)).collect()
        };
        assert_eq!(named(&[100.0, 1e6]), ["100", "1k", "10k", "100k", "1M"]);
        assert_eq!(named(&[0.5, 20.0]), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(axis(&[100.0, 1e6]).ticks().len(), 13);
    }
}
