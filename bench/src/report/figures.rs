//! Named numbers, in the order in which they were added.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Figures by name; a name ends with its unit. What is not a number is `null` in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds one.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    /// The value of one.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.iter().find(|&(key, _)| key == name).map(|(_, value)| value)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Figures;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("figures by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figures, A::Error> {
                let mut figures = Figures::default();
                while let Some((name, value)) = map.next_entry::<String, Option<f64>>()? {
                    figures.add(name, value.unwrap_or(f64::NAN));
                }
                Ok(figures)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Of each figure of these repetitions the median.
pub(super) fn median(repetitions: &[Figures]) -> Figures {
    let mut median = Figures::default();
    for (name, _) in repetitions.iter().flat_map(Figures::iter) {
        if median.get(name).is_none() {
            let values: Vec<f64> = repetitions.iter().filter_map(|figures| figures.get(name)).collect();
            median.add(name, Spread::of(&values).median);
        }
    }
    median
}

/// A figure in a table.
pub(super) fn shown(value: f64) -> String {
    let decimals = if value.fract() == 0.0 || value.abs() >= 1000.0 { 0 } else { 2 };
    format!("{value:.decimals$}")
}

/// Median, smallest and largest of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value; of none, or if one is not a number, everything is NaN.
    pub(crate) fn of(values: &[f64]) -> Self {
        if values.iter().any(|value| value.is_nan()) {
            return Self { median: f64::NAN, min: f64::NAN, max: f64::NAN };
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
        } else {
            at(middle)
        };
        Self { median, min: at(0), max: at(sorted.len().wrapping_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_series_lies_between_the_middle_two() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(&[3.0, 9.0, 1.0]).median, 3.0);
        assert!(Spread::of(&[]).median.is_nan());
        assert!(
            Spread::of(&[1.0, f64::NAN, 2.0]).median.is_nan(),
            "what was not measured does not count as much"
        );
    }

    #[test]
    fn figures_keep_their_order_in_json() {
        let mut figures = Figures::default();
        figures.add("zebras", 1.0);
        figures.add("ants", 2.5);
        let json = serde_json::to_string(&figures).expect("figures can be written");
        assert_eq!(json, r#"{"zebras":1.0,"ants":2.5}"#);
        assert_eq!(serde_json::from_str::<Figures>(&json).expect("and read"), figures);
    }
}
