//! Words with figures in them.

use anyhow::{Context, bail};

use super::source::Source;

/// Fills `{name}` and `{name:form}` with figures. A form is `.N` (so many decimals), `,` (whole, thousands apart),
/// `MB`, `KB`, `ms` (of seconds) or `%` (whole); without one it is as precise as seems right. Behind a `+` all
/// repetitions follow in brackets.
pub(super) fn fill(template: &str, source: &Source) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (hole, after) = after.split_once('}').context("a { without a }")?;
        text += before;
        let (hole, all) = hole.strip_suffix('+').map_or((hole, false), |hole| (hole, true));
        let (name, form) = hole.split_once(':').unwrap_or((hole, ""));
        let value = source.figures.get(name).with_context(|| format!("there is no figure {name}"))?;
        text += &shown(value, form)?;
        let each: Vec<f64> = source.repetitions.iter().filter_map(|figures| figures.get(name)).collect();
        if all && each.len() > 1 {
            let each: Vec<String> =
                each.into_iter().map(|value| shown(value, form)).collect::<Result<_, _>>()?;
            text += &format!(" ({})", each.join(", "));
        }
        rest = after;
    }
    Ok(text + rest)
}

fn shown(value: f64, form: &str) -> anyhow::Result<String> {
    Ok(match form {
        _ if value.is_nan() => "unknown".into(),
        "" if value.abs() >= 1_000.0 => grouped(value),
        "" if value.fract() == 0.0 => format!("{value:.0}"),
        "" if value.abs() >= 100.0 => format!("{value:.0}"),
        "" if value.abs() >= 10.0 => format!("{value:.1}"),
        "" => format!("{value:.2}"),
        "," => grouped(value),
        "%" => format!("{value:.0} %"),
        "MB" => format!("{:.1} MB", value / 1e6),
        "KB" => format!("{:.0} KB", value / 1e3),
        "ms" => format!("{:.0} ms", value * 1e3),
        _ => match form.strip_prefix('.').and_then(|decimals| decimals.parse::<usize>().ok()) {
            Some(decimals) => format!("{value:.decimals$}"),
            None => bail!("there is no form {form}"),
        },
    })
}

/// A whole number with a comma between thousands.
fn grouped(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", campanile_load::report::grouped(value.abs().round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_precise_as_they_are_asked_to_be() {
        let cases = [
            (352.256, "", "352"),
            (35.44, "", "35.4"),
            (0.474, "", "0.47"),
            (219_388.9, "", "219,389"),
            (10_000.0, ",", "10,000"),
            (-1_234.5, ",", "-1,235"),
            (48_717_824.0, "MB", "48.7 MB"),
            (57_344.0, "KB", "57 KB"),
            (0.1844, "ms", "184 ms"),
            (91.21, "%", "91 %"),
            (2.2302, ".1", "2.2"),
            (f64::NAN, ".1", "unknown"),
        ];
        for (value, form, expected) in cases {
            assert_eq!(shown(value, form).expect("a form"), expected);
        }
        assert!(shown(1.0, "furlongs").is_err());
    }
}
