//! `campanile token`

use std::fs;
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
    #[arg(long, value_name = "FILE", required_unless_present = "eddsa_key", conflicts_with = "eddsa_key")]
    pub jwt_hs256_file: Option<PathBuf>,
    /// Sign with EdDSA instead: the file with an Ed25519 private key (PKCS#8 in PEM), whose public key the gateway has
    #[arg(long, value_name = "FILE")]
    pub eddsa_key: Option<PathBuf>,
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
    let signer = signer(args)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(args, &signer, now, &mut out).and_then(|()| Ok(out.flush()?)) {
        // Somebody only wanted the first few.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result,
    }
}

fn signer(args: &TokenArgs) -> anyhow::Result<Signer> {
    match (&args.eddsa_key, &args.jwt_hs256_file) {
        (Some(path), _) => {
            let pem = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Signer::eddsa(&pem).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))
        }
        (None, Some(path)) => {
            Ok(Signer::hs256(HmacSecret::read(path).map_err(anyhow::Error::msg)?.as_bytes())?)
        }
        (None, None) => anyhow::bail!("--jwt-hs256-file or --eddsa-key is needed"),
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
    use crate::tokens::tests::{PRIVATE_KEY, PUBLIC_KEY};
    use crate::tokens::{EddsaKeys, TokenError, Verifier};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;

    fn tokens(user: &str, count: Option<u32>) -> anyhow::Result<Vec<String>> {
        let args = TokenArgs {
            jwt_hs256_file: None,
            eddsa_key: None,
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
    fn either_kind_of_key_signs() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, private) = (dir.path().join("secret"), dir.path().join("private.pem"));
        fs::write(&secret, SECRET).unwrap();
        fs::write(&private, PRIVATE_KEY).unwrap();
        let keys = EddsaKeys::parse(PUBLIC_KEY).unwrap();
        let user = UserId::try_from("ada").unwrap();
        for (hs256, eddsa, verifier) in [
            (Some(secret.clone()), None, Verifier::hs256(SECRET).unwrap()),
            (None, Some(private), Verifier::new(None, Some(keys)).unwrap()),
        ] {
            let args = TokenArgs {
                jwt_hs256_file: hs256,
                eddsa_key: eddsa,
                user: user.clone(),
                device: DeviceId::try_from(7).unwrap(),
                count: None,
                ttl_seconds: 60,
            };
            let token = signer(&args).unwrap().sign(&args.user, args.device, NOW, NOW + 60);
            assert_eq!(verifier.verify(&token, NOW * 1_000).unwrap().user, user);
        }
        let args = TokenArgs {
            jwt_hs256_file: None,
            eddsa_key: Some(secret),
            user,
            device: DeviceId::try_from(7).unwrap(),
            count: None,
            ttl_seconds: 60,
        };
        assert!(signer(&args).err().unwrap().to_string().contains("PKCS#8"));
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
