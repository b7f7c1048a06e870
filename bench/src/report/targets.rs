//! What is asked of figures, and whether it was reached.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Spread};

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Asked {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Asked {
    /// Whether it is reached; never by what is not a number.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Asked::AtLeast(least) => value >= least,
            Asked::AtMost(most) => value <= most,
        }
    }

    /// The worst of some values.
    fn worst(self, values: &[f64]) -> f64 {
        let spread = Spread::of(values);
        match self {
            Asked::AtLeast(_) => spread.min,
            Asked::AtMost(_) => spread.max,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::AtLeast(least) => write!(out, ">= {least}"),
            Asked::AtMost(most) => write!(out, "<= {most}"),
        }
    }
}

/// A figure that something is asked of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) asked: Asked,
    /// In every repetition; otherwise of the median.
    pub(super) always: bool,
    /// The run's own limits, without which the figure does not count.
    pub(super) limits: Vec<(String, Asked)>,
}

/// What was asked for, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// The figure's name.
    pub(crate) name: String,
    /// As `>= 50000`, with what must hold besides.
    pub(crate) wanted: String,
    /// The figure: the median of all repetitions, or the worst where every one of them counts.
    #[serde(deserialize_with = "number_or_null")]
    pub(crate) reached: f64,
    /// Whether it is enough.
    pub(crate) met: bool,
}

impl Wanted {
    /// Looks at all repetitions.
    pub(super) fn judge(&self, repetitions: &[Figures]) -> Target {
        let values = |name: &str| -> Vec<f64> {
            repetitions.iter().map(|figures| figures.get(name).unwrap_or(f64::NAN)).collect()
        };
        let of = |name: &str, asked: Asked| {
            if self.always { asked.worst(&values(name)) } else { Spread::of(&values(name)).median }
        };
        let reached = of(&self.name, self.asked);
        let mut wanted = self.asked.to_string();
        for (name, asked) in &self.limits {
            wanted += &format!(" with {name} {asked}");
        }
        if self.always {
            wanted += " in every repetition";
        }
        let within = self.limits.iter().all(|(name, asked)| asked.is_met(of(name, *asked)));
        Target { name: self.name.clone(), wanted, reached, met: within && self.asked.is_met(reached) }
    }
}

fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
