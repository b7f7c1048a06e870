//! Variables of a scenario: `${NAME}` and `${NAME:-default}` in its texts stand for what `-e NAME=VALUE` says.
//!
//! They are put in before the file is read, but only inside of quotes: so a scenario is TOML with and without them, and
//! comments may say what they like.

use std::collections::BTreeSet;

use crate::near::did_you_mean;

/// What stands for a name, as `-e` says.
pub type Variables = Vec<(String, String)>;

/// Reads `NAME=VALUE`.
///
/// # Errors
/// In words for the operator.
pub fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if !is_name(name) {
        return Err(format!("`{name}` is no name of letters, digits and `_`"));
    }
    if value.contains(['"', '\'', '\\', '\n', '\r']) {
        return Err(format!(
            "the value of {name} has quotes, backslashes or line ends, which no scenario needs"
        ));
    }
    Ok((name.into(), value.into()))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Where in a TOML text one is.
#[derive(Copy, Clone, PartialEq)]
enum Place {
    Outside,
    Comment,
    /// Between these quotes; in the second kind a backslash means something.
    Text(&'static str, bool),
}

/// How texts begin and end, the longest first.
const QUOTES: [(&str, bool); 4] = [("\"\"\"", true), ("'''", false), ("\"", true), ("'", false)];

/// Puts in what the variables say.
///
/// # Errors
/// In words for the operator, with the line: a variable has no value and no default, or stands outside of quotes. A
/// variable that is given and not used is an error, too: it was meant to change something.
pub fn expand(text: &str, variables: &Variables) -> Result<String, String> {
    let (mut out, mut rest, mut place) = (String::with_capacity(text.len()), text, Place::Outside);
    let mut used = BTreeSet::new();
    while let Some(letter) = rest.chars().next() {
        let line = || text[..text.len() - rest.len()].matches('\n').count() + 1;
        let mut taken = letter.len_utf8();
        match place {
            Place::Outside => {
                if let Some((quote, escapes)) = QUOTES.into_iter().find(|(quote, _)| rest.starts_with(quote))
                {
                    (place, taken) = (Place::Text(quote, escapes), quote.len());
                } else if letter == '#' {
                    place = Place::Comment;
                } else if rest.starts_with("${") {
                    return Err(format!(
                        "line {}: a variable has to stand in quotes, as \"${{NAME}}\"",
                        line()
                    ));
                }
            }
            Place::Comment if letter == '\n' => place = Place::Outside,
            Place::Comment => {}
            Place::Text(quote, _) if rest.starts_with(quote) => {
                (place, taken) = (Place::Outside, quote.len())
            }
            Place::Text(_, true) if letter == '\\' => {
                taken += rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            Place::Text(..) => {
                if let Some(inner) = rest.strip_prefix("${") {
                    let end = inner.find(['}', '\n']).filter(|end| inner[*end..].starts_with('}'));
                    let end = end.ok_or_else(|| format!("line {}: `${{` without `}}`", line()))?;
                    let (name, value) = value(&inner[..end], variables)
                        .map_err(|words| format!("line {}: {words}", line()))?;
                    used.insert(name);
                    out.push_str(value);
                    rest = &inner[end + 1..];
                    continue;
                }
            }
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    match variables.iter().find(|(name, _)| !used.contains(name.as_str())) {
        Some((name, _)) => Err(format!("it has no ${{{name}}}{}", did_you_mean(name, used))),
        None => Ok(out),
    }
}

/// The name and the value of what stands between the brackets.
fn value<'a>(inner: &'a str, variables: &'a Variables) -> Result<(&'a str, &'a str), String> {
    let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, value)| (name, Some(value)));
    if !is_name(name) {
        return Err(format!("`{name}` is no name of a variable"));
    }
    // Of two the later one counts, as everywhere on command lines.
    let given = variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    match given.or(default) {
        Some(value) => Ok((name, value)),
        None => {
            let near = did_you_mean(name, variables.iter().map(|(name, _)| name.as_str()));
            Err(format!("${{{name}}} has no value: give -e {name}=VALUE{near}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(list: &[&str]) -> Variables {
        list.iter().map(|text| variable(text).unwrap()).collect()
    }

    #[test]
    fn variables_stand_in_quotes_and_may_have_defaults() {
        let text = "a = \"${A}/${B:-x y}\" # ${C} and \"\nb = 'it''s ${A:-1}'\nc = \"\"\"\n\"${B:-}\" \\\"${A}\"\"\"";
        let expected = "a = \"7/x y\" # ${C} and \"\nb = 'it''s 7'\nc = \"\"\"\n\"\" \\\"7\"\"\"";
        assert_eq!(expand(text, &variables(&["A=3", "A=7"])).as_deref(), Ok(expected));
    }

    #[test]
    fn what_has_no_value_and_what_is_not_used_is_told_with_its_line() {
        for (text, given, parts) in [
            (
                "\na = \"${RATE}\"",
                &["RAET=5"][..],
                &["line 2", "${RATE} has no value", "-e RATE", "mean `RAET`"][..],
            ),
            ("a = ${N}", &[], &["line 1", "in quotes"]),
            ("a = \"${N", &[], &["line 1", "without `}`"]),
            ("a = \"${N-1}\"", &[], &["`N-1` is no name"]),
            ("a = \"${SCALE:-1}\"", &["SCALES=2"], &["no ${SCALES}", "did you mean `SCALE`"]),
        ] {
            let error = expand(text, &variables(given)).unwrap_err();
            parts.iter().for_each(|part| assert!(error.contains(part), "{text}: {error}"));
        }
        for text in ["A", "=1", "A B=1", "A=\"", "A=a\nb"] {
            assert!(variable(text).is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_has_no_variables_stays_as_it_is(text in "[a-z\"'#\\\\ =\nä{}]{0,60}") {
            prop_assert_eq!(expand(&text, &Variables::new()), Ok(text.clone()));
        }
    }
}
