//! `campanile token`

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use campanile_protocol::ids::{CHANNEL_NAME_BYTES_MAX, ChannelName, DeviceId, UserId};
use clap::Args;

use campanile_core::tokens::{GRANTS_MAX, Grants, Pattern, Signer, TOKEN_BYTES_MAX};
use campanile_gateway::config::HmacSecret;

/// The arguments of `campanile token`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TokenArgs {
    /// The file with the secret, as the gateway's
    #[arg(long, value_name = "FILE", required_unless_present = "eddsa_key", conflicts_with = "eddsa_key")]
    pub(crate) jwt_hs256_file: Option<PathBuf>,
    /// Sign with EdDSA instead: the file with an Ed25519 private key (PKCS#8 in PEM), whose public key the gateway has
    #[arg(long, value_name = "FILE")]
    pub(crate) eddsa_key: Option<PathBuf>,
    /// The user; with --count the beginning of the users' names
    #[arg(long, value_name = "USER")]
    pub(crate) user: UserId,
    /// The device
    #[arg(
        long,
        value_name = "DEVICE",
        required_unless_present = "subscription",
        conflicts_with = "subscription"
    )]
    pub(crate) device: Option<DeviceId>,
    /// Channels that the device may subscribe to: a name in which `*` stands for any text; repeat for more
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) channels: Vec<Pattern>,
    /// Channels that it may publish to; repeat for more
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) publish: Vec<Pattern>,
    /// A channel that it is subscribed to from the beginning of its session; repeat for more
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) subscribe: Vec<ChannelName>,
    /// Print a token for this one subscription of the user instead, to be given in the frame `subscribe`
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["channels", "publish", "subscribe"])]
    pub(crate) subscription: Option<ChannelName>,
    /// Print so many tokens, one on each line, for users USER0, USER1, …
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// How long the tokens are valid
    #[arg(
        long, default_value_t = 86_400, value_name = "S",
        value_parser = clap::value_parser!(u64).range(1..=3_153_600_000)
    )]
    pub(crate) ttl_seconds: u64,
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).ok_or_else(|| {
        format!(
            "a pattern is the name of a channel, 1 to {CHANNEL_NAME_BYTES_MAX} bytes without control \
             characters, in which `*` stands for any text"
        )
    })
}

/// Prints the tokens.
///
/// # Errors
/// When the secret cannot be used, a user's name becomes too long, no gateway would take the tokens, or the output is
/// closed.
pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<()> {
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
    let grants = grants(args)?;
    let Some(count) = args.count else {
        writeln!(out, "{}", token(args, signer, &args.user, now, &grants)?)?;
        return Ok(());
    };
    for number in 0..count {
        let name = format!("{}{number}", args.user);
        let user = UserId::try_from(name.as_str()).with_context(|| format!("user `{name}`"))?;
        writeln!(out, "{}", token(args, signer, &user, now, &grants)?)?;
    }
    Ok(())
}

fn grants(args: &TokenArgs) -> anyhow::Result<Grants> {
    for (flag, count) in [
        ("channels", args.channels.len()),
        ("publish", args.publish.len()),
        ("subscribe", args.subscribe.len()),
    ] {
        anyhow::ensure!(
            count <= GRANTS_MAX,
            "--{flag}: given {count} times, a token has at most {GRANTS_MAX}"
        );
    }
    Ok(Grants {
        channels: args.channels.clone(),
        publish: args.publish.clone(),
        subscribe: args.subscribe.clone(),
    })
}

fn token(
    args: &TokenArgs,
    signer: &Signer,
    user: &UserId,
    now: u64,
    grants: &Grants,
) -> anyhow::Result<String> {
    let expires_at = now + args.ttl_seconds;
    let token = match (&args.subscription, args.device) {
        (Some(channel), _) => signer.sign_subscription(user, channel, expires_at),
        (None, Some(device)) => signer.sign_with(user, device, now, expires_at, grants),
        (None, None) => anyhow::bail!("--device or --subscription is needed"),
    };
    let length = token.len();
    anyhow::ensure!(
        length <= TOKEN_BYTES_MAX,
        "the token would have {length} bytes, and the gateway takes {TOKEN_BYTES_MAX}: allow less, or use patterns"
    );
    Ok(token)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use campanile_core::tokens::{EddsaKeys, TokenError, Verifier};

    const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIFY85br8Mvk36K/tm+kQcgmqSz7tmaRyvUDukKHRjkjU
-----END PRIVATE KEY-----
";
    const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAnoSupq2LGnPf+PpLKAVxTk3T55zkuxJzuyNWzpBLpAs=
-----END PUBLIC KEY-----
";
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;

    fn args(user: &str) -> TokenArgs {
        TokenArgs {
            jwt_hs256_file: None,
            eddsa_key: None,
            user: user.parse().unwrap(),
            device: DeviceId::try_from(7).ok(),
            channels: Vec::new(),
            publish: Vec::new(),
            subscribe: Vec::new(),
            subscription: None,
            count: None,
            ttl_seconds: 60,
        }
    }

    fn print(args: &TokenArgs) -> anyhow::Result<Vec<String>> {
        let mut out = Vec::new();
        write(args, &Signer::hs256(SECRET).unwrap(), NOW, &mut out)?;
        Ok(String::from_utf8(out).unwrap().lines().map(Into::into).collect())
    }

    fn tokens(user: &str, count: Option<u32>) -> anyhow::Result<Vec<String>> {
        print(&TokenArgs { count, ..args(user) })
    }

    /// What `campanile token` makes of flags.
    fn parse(flags: &[&str]) -> Result<TokenArgs, String> {
        let line = ["campanile", "token", "--jwt-hs256-file", "F", "--user", "ada"];
        match crate::cli::Cli::try_parse_from(line.iter().chain(flags)) {
            Ok(crate::cli::Cli { command: crate::cli::Command::Token(args) }) => Ok(args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
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
            let args = TokenArgs { jwt_hs256_file: hs256, eddsa_key: eddsa, ..args("ada") };
            let token = token(&args, &signer(&args).unwrap(), &args.user, NOW, &Grants::default()).unwrap();
            assert_eq!(verifier.verify(&token, NOW * 1_000).unwrap().user, user);
        }
        let args = TokenArgs { eddsa_key: Some(secret), ..args("ada") };
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

    #[test]
    fn what_is_allowed_with_channels_is_in_the_token() {
        let flags = [
            "--device",
            "7",
            "--channels",
            "chat:*",
            "--channels",
            "news",
            "--publish",
            "chat:42",
            "--subscribe",
            "inbox:ada",
            "--subscribe",
            "news",
        ];
        let printed = print(&parse(&flags).unwrap()).unwrap();
        let verifier = Verifier::hs256(SECRET).unwrap();
        let grants = verifier.verify(&printed[0], NOW * 1_000).unwrap().grants.unwrap();
        let patterns = |list: &[&str]| list.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let expected = Grants {
            channels: patterns(&["chat:*", "news"]),
            publish: patterns(&["chat:42"]),
            subscribe: ["inbox:ada", "news"].map(|name| name.parse().unwrap()).into(),
        };
        assert_eq!(*grants, expected);
    }

    #[test]
    fn a_token_for_one_subscription_needs_no_device() {
        let args = parse(&["--subscription", "chat:42", "--count", "2", "--ttl-seconds", "60"]).unwrap();
        let printed = print(&args).unwrap();
        assert_eq!(printed.len(), 2);
        let verifier = Verifier::hs256(SECRET).unwrap();
        for (token, user) in printed.iter().zip(["ada0", "ada1"]) {
            let user = user.parse().unwrap();
            let grant = verifier.verify_subscription(token, &user, NOW * 1_000).unwrap();
            assert_eq!(grant.channel.as_str(), "chat:42");
            let late = verifier.verify_subscription(token, &user, (NOW + 60) * 1_000);
            assert_eq!(late, Err(TokenError::Expired));
        }
    }

    #[test]
    fn flags_that_make_no_token_are_refused_in_words() {
        let long = "x".repeat(256);
        for (flags, part) in [
            (&["--device", "7", "--channels", ""][..], "a pattern is the name of a channel"),
            (&["--device", "7", "--publish", "a\tb"], "control characters"),
            (&["--device", "7", "--channels", &long], "1 to 255 bytes"),
            (&["--device", "7", "--subscribe", "chat:*"], "`*`"),
            (&["--device", "7", "--subscribe", ""], "must not be empty"),
            (&["--subscription", "chat:*"], "`*`"),
            (&["--subscription", "a", "--device", "7"], "cannot be used with"),
            (&["--subscription", "a", "--channels", "b"], "cannot be used with"),
            (&["--subscription", "a", "--publish", "b"], "cannot be used with"),
            (&["--subscription", "a", "--subscribe", "b"], "cannot be used with"),
            (&["--channels", "a"], "--device"),
        ] {
            let problem = parse(flags).unwrap_err();
            assert!(problem.contains(part), "{flags:?}: {problem}");
        }
    }

    #[test]
    fn a_token_that_no_gateway_would_take_is_not_printed() {
        let pattern = |number: usize| Pattern::parse(&format!("{number}")).unwrap();
        let most: Vec<Pattern> = (0..GRANTS_MAX).map(pattern).collect();
        print(&TokenArgs { channels: most.clone(), publish: most, ..args("ada") }).unwrap();
        for change in [
            (|args, list| args.channels = list) as fn(&mut TokenArgs, Vec<Pattern>),
            |args, list| args.publish = list,
            |args, list| args.subscribe = list.iter().map(|one| one.as_str().parse().unwrap()).collect(),
        ] {
            let mut args = args("ada");
            change(&mut args, (0..=GRANTS_MAX).map(pattern).collect());
            let problem = print(&args).unwrap_err().to_string();
            assert!(problem.contains("given 65 times"), "{problem}");
        }
        let long =
            (0..GRANTS_MAX).map(|number| Pattern::parse(&format!("{number}{}", "x".repeat(60))).unwrap());
        let problem = print(&TokenArgs { channels: long.collect(), ..args("ada") }).unwrap_err().to_string();
        assert!(problem.contains("the gateway takes 4096"), "{problem}");
    }
}
