//! The log, on standard error. What cannot be written there is lost, and nothing else: a disk that is full, a reader
//! that has gone or one that stays and does not read keeps a gateway neither from serving nor from draining.

use std::env::{self, VarError};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use campanile_telemetry::log;
use tracing_subscriber::EnvFilter;

/// The environment variable with a filter that replaces the configured one. It is every program's, not ours alone.
const VARIABLE: &str = "RUST_LOG";

/// Begins to log: as the flag says, or else the environment, or else the configuration.
///
/// # Errors
/// When the flag or the configuration is not a filter, or there is no thread to write the log. What another program
/// means by the environment is passed over, with a warning.
pub(crate) fn begin(flag: Option<&str>, configured: &str) -> anyhow::Result<()> {
    let (filter, passed_over) = choose(flag, env::var(VARIABLE), configured)?;
    // A descriptor of its own: the lock of the standard library's would be held while a write waits for who reads.
    let log = log::begin(File::from(io::stderr().as_fd().try_clone_to_owned()?))?;
    // Fails only when a test has set another one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || log)
        // It would say on standard error that it cannot write there, and panic over that.
        .log_internal_errors(false)
        .try_init();
    if let Some(why) = passed_over {
        tracing::warn!("{VARIABLE} is passed over, since it is not a filter: {why}");
    }
    Ok(())
}

/// Says why a program fails, where it would have logged. Where nothing can be printed, nothing can be said.
pub(crate) fn say_error(error: &anyhow::Error) {
    let text = format!("error: {error:#}\n");
    match log::current() {
        Some(log) => log.line(text.as_bytes()),
        None => {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// The filter, and why the environment's is not it though there is one.
fn choose(
    flag: Option<&str>,
    environment: Result<String, VarError>,
    configured: &str,
) -> anyhow::Result<(EnvFilter, Option<String>)> {
    if let Some(flag) = flag {
        return Ok((EnvFilter::try_new(flag).with_context(|| format!("--log: `{flag}`"))?, None));
    }
    let own = match environment {
        Ok(text) if text.is_empty() => None,
        Ok(text) => Some(EnvFilter::try_new(&text).map_err(|error| format!("`{text}`: {error}"))),
        Err(VarError::NotPresent) => None,
        Err(error) => Some(Err(error.to_string())),
    };
    let configured = || EnvFilter::try_new(configured).with_context(|| format!("log.filter: `{configured}`"));
    match own {
        Some(Ok(filter)) => Ok((filter, None)),
        Some(Err(why)) => Ok((configured()?, Some(why))),
        None => Ok((configured()?, None)),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    /// What is chosen, as text; and whether the environment was passed over.
    fn chosen(flag: Option<&str>, environment: Result<&str, VarError>) -> (String, bool) {
        let (filter, passed_over) = choose(flag, environment.map(Into::into), "info").unwrap();
        (filter.to_string(), passed_over.is_some())
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_that_before_the_configuration() {
        let none = || Err(VarError::NotPresent);
        assert_eq!(chosen(None, none()), ("info".into(), false));
        assert_eq!(chosen(None, Ok("")), ("info".into(), false));
        assert_eq!(chosen(None, Ok("warn")), ("warn".into(), false));
        assert_eq!(chosen(Some("debug"), Ok("warn")), ("debug".into(), false));
        assert_eq!(chosen(Some("debug"), Ok("a=b=c")), ("debug".into(), false));
    }

    #[test]
    fn what_another_program_means_by_the_environment_is_passed_over() {
        for nonsense in ["myapp=loud", "a=b=c", "[", "=", "info;debug=7"] {
            assert_eq!(chosen(None, Ok(nonsense)), ("info".into(), true), "{nonsense}");
        }
        let not_text = VarError::NotUnicode(OsString::from_vec(vec![0xff]));
        assert_eq!(chosen(None, Err(not_text)), ("info".into(), true));
    }

    #[test]
    fn an_error_names_what_was_given() {
        let error = choose(Some("campanile=loud"), Err(VarError::NotPresent), "info").unwrap_err();
        assert_eq!(error.to_string(), "--log: `campanile=loud`");
        for environment in [Err(VarError::NotPresent), Ok("a=b=c".into())] {
            let error = choose(None, environment, "campanile=loud").unwrap_err();
            assert_eq!(error.to_string(), "log.filter: `campanile=loud`");
        }
    }
}
