//! `campanile token`

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use campanile_protocol::ids::{DeviceId, UserId};
use clap::Args;

use crate::config::HmacSecret;
use crate::tokens::Signer;

/// The arguments of `campanile token`.
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    /// The file with the secret, as the gateway's
    #[arg(long, value_name = "FILE")]
    pub jwt_hs256_file: PathBuf,
    /// The user; with --count the beginning of the users' names
    #[arg(long, value_name = "USER")]
    pub user: UserId,
    /// The device
    #[arg(long, value_name = "DEVICE")]
    pub device: DeviceId,
    /// Print so many tokens, one on each line, for users USER0, USER1, …
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// How long the tokens are valid
    #[arg(
        long, default_value_t = 86_400, value_name = "S",
        value_parser = clap::value_parser!(u64).range(1..=3_153_600_000)
    )]
    pub ttl_seconds: u64,
}

/// Prints the tokens.
///
/// # Errors
/// When the secret cannot be used, a user's name becomes too long, or the output is closed.
pub fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let secret = HmacSecret::read(&args.jwt_hs256_file).map_err(anyhow::Error::msg)?;
    let signer = Signer::hs256(secret.as_bytes())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(args, &signer, now, &mut out).and_then(|()| Ok(out.flush()?)) {
        // Somebody only wanted the first few.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn write(args: &TokenArgs, signer: &Signer, now: u64, out: &mut impl Write) -> anyhow::Result<()> {
    let expires_at = now + args.ttl_seconds;
    let Some(count) = args.count else {
        writeln!(out, "{}", signer.sign(&args.user, args.device, now, expires_at))?;
        return Ok(());
    };
    for number in 0..count {
        let name = format!("{}{number}", args.user);
        let user = UserId::try_from(name.as_str()).with_context(|| format!("user `{name}`"))?;
        writeln!(out, "{}", signer.sign(&user, args.device, now, expires_at))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::{TokenError, Verifier};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;

    fn tokens(user: &str, count: Option<u32>) -> anyhow::Result<Vec<String>> {
        let args = TokenArgs {
            jwt_hs256_file: PathBuf::new(),
            user: user.parse().unwrap(),
            device: DeviceId::try_from(7).unwrap(),
            count,
            ttl_seconds: 60,
        };
        let mut out = Vec::new();
        write(&args, &Signer::hs256(SECRET).unwrap(), NOW, &mut out)?;
        Ok(String::from_utf8(out).unwrap().lines().map(Into::into).collect())
    }

    #[test]
    fn the_gateway_accepts_what_is_printed_until_it_expires() {
        let verifier = Verifier::hs256(SECRET).unwrap();
        let printed = tokens("ada", None).unwrap();
        assert_eq!(printed.len(), 1);
        let identity = verifier.verify(&printed[0], NOW * 1_000).unwrap();
        assert_eq!((identity.user.as_str(), identity.device.get()), ("ada", 7));
        assert_eq!(identity.expires_at, NOW + 60);
        assert_eq!(verifier.verify(&printed[0], (NOW + 60) * 1_000), Err(TokenError::Expired));
    }

    #[test]
    fn a_count_numbers_the_users() {
        let verifier = Verifier::hs256(SECRET).unwrap();
        let printed = tokens("user-", Some(3)).unwrap();
        let users: Vec<String> = printed
            .iter()
            .map(|token| verifier.verify(token, NOW * 1_000).unwrap().user.as_str().to_owned())
            .collect();
        assert_eq!(users, ["user-0", "user-1", "user-2"]);
    }

    #[test]
    fn a_user_that_the_number_makes_too_long_is_named() {
        let long = "x".repeat(64);
        let error = tokens(&long, Some(1)).unwrap_err();
        assert!(error.to_string().contains(&long));
    }
}
