use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384, Sha512};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_MS: u64 = 1_800_000_000_000;

fn user() -> UserId {
    UserId::try_from("ada").unwrap()
}

fn device() -> DeviceId {
    DeviceId::try_from(3).unwrap()
}

fn verify(token: &str) -> Result<Identity, TokenError> {
    Verifier::hs256(SECRET).unwrap().verify(token, NOW_MS)
}

fn encode(algorithm: Algorithm, claims: &serde_json::Value) -> String {
    campanile_jwt::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// A token that is rightly signed with our secret, by an algorithm that is not ours.
fn signed_otherwise<M: Mac + KeyInit>(algorithm: &str, body: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}"}}"#));
    let message = format!("{header}.{body}");
    let mac = <M as KeyInit>::new_from_slice(SECRET).unwrap().chain_update(&message).finalize();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
}

#[test]
fn a_signed_token_names_its_device() {
    let token = Signer::hs256(SECRET).unwrap().sign(&user(), device(), 1, NOW_MS / 1_000 + 1);
    let identity = Identity { user: user(), device: device(), expires_at: NOW_MS / 1_000 + 1, grants: None };
    assert_eq!(verify(&token), Ok(identity));
}

#[test]
fn a_token_ends_with_its_second() {
    let token = Signer::hs256(SECRET).unwrap().sign(&user(), device(), 1, NOW_MS / 1_000);
    assert_eq!(verify(&token), Err(TokenError::Expired));
}

#[test]
fn the_algorithm_is_pinned() {
    let claims = serde_json::json!({"sub": "ada", "did": 3, "exp": 4_000_000_000u64});
    let ours = encode(Algorithm::HS256, &claims);
    assert!(verify(&ours).is_ok());
    let body = ours.split('.').nth(1).unwrap();
    assert!(verify(&signed_otherwise::<Hmac<Sha256>>("HS256", body)).is_ok());
    assert_eq!(verify(&signed_otherwise::<Hmac<Sha384>>("HS384", body)), Err(TokenError::Invalid));
    assert_eq!(verify(&signed_otherwise::<Hmac<Sha512>>("HS512", body)), Err(TokenError::Invalid));
    // {"alg":"none"} with the same claims and no signature.
    assert_eq!(verify(&format!("eyJhbGciOiJub25lIn0.{body}.")), Err(TokenError::Invalid));
}

#[test]
fn every_claim_is_required_and_has_its_type() {
    for claims in [
        serde_json::json!({"did": 3, "exp": 4_000_000_000u64}),
        serde_json::json!({"sub": "ada", "exp": 4_000_000_000u64}),
        serde_json::json!({"sub": "ada", "did": 3}),
        serde_json::json!({"sub": "ada", "did": 3, "exp": "never"}),
        serde_json::json!({"sub": "ada", "did": "3", "exp": 4_000_000_000u64}),
        serde_json::json!({"sub": 1, "did": 3, "exp": 4_000_000_000u64}),
        serde_json::json!({"sub": "ada", "did": -3, "exp": 4_000_000_000u64}),
    ] {
        assert_eq!(verify(&encode(Algorithm::HS256, &claims)), Err(TokenError::Claims), "{claims}");
    }
    for (sub, did) in [("", 3), ("ada", 0), ("a\nb", 3)] {
        let claims = serde_json::json!({"sub": sub, "did": did, "exp": 4_000_000_000u64});
        let refused = verify(&encode(Algorithm::HS256, &claims));
        assert!(matches!(refused, Err(TokenError::Id(_))), "{claims}: {refused:?}");
    }
}

#[test]
fn a_token_is_not_valid_before_its_time() {
    let claims =
        serde_json::json!({"sub": "ada", "did": 3, "exp": 4_000_000_000u64, "nbf": 3_000_000_000u64});
    assert_eq!(verify(&encode(Algorithm::HS256, &claims)), Err(TokenError::NotYet));
}

#[test]
fn nonsense_and_other_keys_are_refused() {
    let other = Signer::hs256(&[7; 32]).unwrap().sign(&user(), device(), 1, 4_000_000_000);
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    for token in ["", ".", "..", "a.b.c", &other, &long] {
        assert_eq!(verify(token), Err(TokenError::Invalid), "{token}");
    }
    assert_eq!(Verifier::hs256(&[7; 31]).err(), Some(SecretTooShort(31)));
}

/// Made for these tests.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIFY85br8Mvk36K/tm+kQcgmqSz7tmaRyvUDukKHRjkjU
-----END PRIVATE KEY-----
";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAnoSupq2LGnPf+PpLKAVxTk3T55zkuxJzuyNWzpBLpAs=
-----END PUBLIC KEY-----
";
/// The same as the `x` of a JWK.
const X: &str = "noSupq2LGnPf-PpLKAVxTk3T55zkuxJzuyNWzpBLpAs";
const OTHER_PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJCMuSLcD58Ibk+hR27Vxey9UI74hCoF2lgrMbldyFS2
-----END PRIVATE KEY-----
";
const OTHER_X: &str = "rg9fKY_bhs5x4O-jVL37QqyhrHNYPIADlk-gZUk399Y";

fn eddsa(keys: &str) -> Verifier {
    Verifier::new(None, Some(EddsaKeys::parse(keys).unwrap())).unwrap()
}

fn signed(private_key: &str) -> String {
    Signer::eddsa(private_key).unwrap().sign(&user(), device(), 1, 4_000_000_000)
}

/// A token whose header names a key.
fn named(private_key: &str, kid: &str) -> String {
    let claims = serde_json::json!({"sub": "ada", "did": 3, "exp": 4_000_000_000u64});
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
    let der = keys::pem_content(private_key, "PRIVATE KEY").unwrap();
    campanile_jwt::encode(&header, &claims, &EncodingKey::from_ed_der(&der)).unwrap()
}

fn jwk(x: &str, kid: &str) -> serde_json::Value {
    serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA"})
}

#[test]
fn an_eddsa_token_is_checked_with_its_public_key_in_every_form() {
    let token = signed(PRIVATE_KEY);
    let rsa = serde_json::json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    for keys in [
        PUBLIC_KEY.to_owned(),
        serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": X}).to_string(),
        serde_json::json!({"keys": [rsa, jwk(X, "a")]}).to_string(),
    ] {
        let verifier = eddsa(&keys);
        assert_eq!(verifier.verify(&token, NOW_MS).unwrap().user, user(), "{keys}");
        assert_eq!(verifier.verify(&signed(OTHER_PRIVATE_KEY), NOW_MS), Err(TokenError::Invalid));
    }
}

#[test]
fn a_kid_chooses_the_key() {
    let both = eddsa(&serde_json::json!({"keys": [jwk(X, "a"), jwk(OTHER_X, "b")]}).to_string());
    for (token, good) in [
        (named(PRIVATE_KEY, "a"), true),
        (named(OTHER_PRIVATE_KEY, "b"), true),
        (named(PRIVATE_KEY, "b"), false),
        (named(PRIVATE_KEY, "c"), false),
        // Without a name it would be tried on all of them.
        (signed(OTHER_PRIVATE_KEY), false),
    ] {
        assert_eq!(both.verify(&token, NOW_MS).is_ok(), good, "{token}");
    }
    // A key without a name is tried whatever the token says.
    assert!(eddsa(PUBLIC_KEY).verify(&named(PRIVATE_KEY, "c"), NOW_MS).is_ok());
}

#[test]
fn each_key_has_its_own_algorithm_and_no_other() {
    let claims = serde_json::json!({"sub": "ada", "did": 3, "exp": 4_000_000_000u64});
    let hs256 = encode(Algorithm::HS256, &claims);
    let both = Verifier::new(Some(SECRET), Some(EddsaKeys::parse(PUBLIC_KEY).unwrap())).unwrap();
    assert!(both.verify(&hs256, NOW_MS).is_ok() && both.verify(&signed(PRIVATE_KEY), NOW_MS).is_ok());
    assert_eq!(eddsa(PUBLIC_KEY).verify(&hs256, NOW_MS), Err(TokenError::Invalid));
    assert_eq!(verify(&signed(PRIVATE_KEY)), Err(TokenError::Invalid));
    // The old trick: everybody knows the public key, so it must not be anybody's secret.
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, X).unwrap();
    for secret in [PUBLIC_KEY.as_bytes(), X.as_bytes(), &raw] {
        let header = Header::new(Algorithm::HS256);
        let forged = campanile_jwt::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
        assert_eq!(both.verify(&forged, NOW_MS), Err(TokenError::Invalid));
        assert_eq!(eddsa(PUBLIC_KEY).verify(&forged, NOW_MS), Err(TokenError::Invalid));
    }
    // An HS256 signature under a header that says EdDSA, and no signature at all.
    let body = hs256.split_once('.').unwrap().1;
    let unsigned = body.split_once('.').unwrap().0;
    for forged in [format!("eyJhbGciOiJFZERTQSJ9.{body}"), format!("eyJhbGciOiJub25lIn0.{unsigned}.")] {
        assert_eq!(both.verify(&forged, NOW_MS), Err(TokenError::Invalid));
    }
}

#[test]
fn files_without_a_usable_public_key_are_refused_in_words() {
    let x25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAdDD7+ynJh1EgtH8UoOVWvWW7dbf2DHlZ7TQ4dWZ/10k=\n\
                  -----END PUBLIC KEY-----\n";
    let many: Vec<_> = (0..17).map(|number| jwk(X, &number.to_string())).collect();
    let mut private = jwk(X, "a");
    private["d"] = "AAAA".into();
    for (text, part) in [
        (String::new(), "neither PEM nor"),
        ("nonsense".into(), "neither PEM nor"),
        (PRIVATE_KEY.into(), "private key"),
        (x25519.into(), "not an Ed25519 public key"),
        (PUBLIC_KEY.replace("MCow", "MCox"), "not an Ed25519 public key"),
        (serde_json::json!({"keys": []}).to_string(), "no Ed25519 key"),
        (serde_json::json!({"keys": many}).to_string(), "17 keys"),
        (serde_json::json!({"kty": "OKP", "crv": "X25519", "x": X}).to_string(), "not an Ed25519 key"),
        (serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}).to_string(), "3 bytes"),
        (serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "%"}).to_string(), "`x`"),
        (private.to_string(), "`d`"),
    ] {
        let problem = EddsaKeys::parse(&text).unwrap_err();
        assert!(problem.contains(part), "{text}: {problem}");
    }
    for text in ["", PUBLIC_KEY, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        assert!(Signer::eddsa(text).err().unwrap().contains("PKCS#8"));
    }
}

fn patterns(list: &[&str]) -> Vec<Pattern> {
    list.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::try_from(name).unwrap()
}

/// The claims of a token that is good without these, and with them.
fn with(more: serde_json::Value) -> String {
    let mut claims = serde_json::json!({"sub": "ada", "did": 3, "exp": 4_000_000_000u64});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    encode(Algorithm::HS256, &claims)
}

#[test]
fn what_a_token_allows_with_channels_survives_signing() {
    let grants = Grants {
        channels: patterns(&["chat:*", "news"]),
        publish: patterns(&["chat:42"]),
        subscribe: vec![channel("inbox:ada")],
    };
    for key in [Signer::hs256(SECRET).unwrap(), Signer::eddsa(PRIVATE_KEY).unwrap()] {
        let verifier = Verifier::new(Some(SECRET), Some(EddsaKeys::parse(PUBLIC_KEY).unwrap())).unwrap();
        let token = key.sign_with(&user(), device(), 1, 4_000_000_000, &grants);
        let read = verifier.verify(&token, NOW_MS).unwrap().grants.unwrap();
        assert_eq!(*read, grants);
        for (name, subscribe, publish) in [
            ("chat:7", true, false),
            ("chat:42", true, true),
            ("news", true, false),
            ("inbox:ada", true, false),
            ("inbox:eve", false, false),
            ("chat", false, false),
        ] {
            let may = (read.may_subscribe(&channel(name)), read.may_publish(&channel(name)));
            assert_eq!(may, (subscribe, publish), "{name}");
        }
    }
}

#[test]
fn a_token_that_allows_nothing_is_one_without_grants() {
    for none in [
        serde_json::json!({}),
        serde_json::json!({"channels": [], "publish": [], "subscribe": []}),
        serde_json::json!({"other": {"channels": 1}}),
    ] {
        assert_eq!(verify(&with(none)).unwrap().grants, None);
    }
}

#[test]
fn wrong_grants_are_told_from_wrong_claims() {
    let long = "x".repeat(256);
    for claim in ["channels", "publish", "subscribe"] {
        for wrong in [
            serde_json::json!("chat:*"),
            serde_json::json!({"chat": true}),
            serde_json::json!(1),
            serde_json::json!(null),
            serde_json::json!([1]),
            serde_json::json!(["a", null]),
            serde_json::json!([""]),
            serde_json::json!(["a\nb"]),
            serde_json::json!([long]),
            serde_json::json!(vec!["a"; GRANTS_MAX + 1]),
        ] {
            let refused = verify(&with(serde_json::json!({claim: wrong})));
            assert_eq!(refused, Err(TokenError::Grants), "{claim}: {wrong}");
        }
        let most = verify(&with(serde_json::json!({claim: vec!["a"; GRANTS_MAX]}))).unwrap();
        assert!(most.grants.is_some(), "{claim}");
    }
    // A pattern is no name.
    let refused = verify(&with(serde_json::json!({"subscribe": ["chat:*"]})));
    assert_eq!(refused, Err(TokenError::Grants));
    for claim in ["sub", "did", "exp", "iat", "nbf"] {
        let refused = verify(&with(serde_json::json!({claim: -1, "channels": 1})));
        assert_eq!(refused, Err(TokenError::Claims), "{claim}");
    }
    let past = with(serde_json::json!({"exp": 1, "channels": vec!["a"; GRANTS_MAX + 1]}));
    assert_eq!(verify(&past), Err(TokenError::Expired));
}

#[test]
fn a_token_that_is_too_long_for_its_grants_is_refused() {
    let names: Vec<String> = (0..GRANTS_MAX).map(|number| format!("{number}{}", "x".repeat(60))).collect();
    let token = with(serde_json::json!({"channels": names}));
    assert!(token.len() > TOKEN_BYTES_MAX);
    assert_eq!(verify(&token), Err(TokenError::Invalid));
}

fn verify_subscription(token: &str) -> Result<SubscriptionGrant, TokenError> {
    Verifier::hs256(SECRET).unwrap().verify_subscription(token, &user(), NOW_MS)
}

#[test]
fn a_token_for_a_subscription_is_for_one_user_and_one_channel_until_it_expires() {
    let signer = Signer::hs256(SECRET).unwrap();
    let now = NOW_MS / 1_000;
    let token = signer.sign_subscription(&user(), &channel("chat:42"), now + 1);
    assert_eq!(
        verify_subscription(&token),
        Ok(SubscriptionGrant { channel: channel("chat:42"), expires_at: now + 1 })
    );
    let other = signer.sign_subscription(&user(), &channel("chat:43"), now + 1);
    assert_eq!(verify_subscription(&other).unwrap().channel, channel("chat:43"), "not what was asked for");
    let eve = UserId::try_from("eve").unwrap();
    let foreign = signer.sign_subscription(&eve, &channel("chat:42"), now + 1);
    assert_eq!(verify_subscription(&foreign), Err(TokenError::Other));
    let past = signer.sign_subscription(&user(), &channel("chat:42"), now);
    assert_eq!(verify_subscription(&past), Err(TokenError::Expired));
    let claims = serde_json::json!({"sub": "ada", "channel": "a", "exp": now + 9, "nbf": now + 1});
    assert_eq!(verify_subscription(&encode(Algorithm::HS256, &claims)), Err(TokenError::NotYet));
}

#[test]
fn a_token_for_a_subscription_has_its_claims() {
    let exp = 4_000_000_000u64;
    let long = "x".repeat(256);
    for claims in [
        serde_json::json!({"channel": "a", "exp": exp}),
        serde_json::json!({"sub": "ada", "exp": exp}),
        serde_json::json!({"sub": "ada", "channel": "a"}),
        serde_json::json!({"sub": 1, "channel": "a", "exp": exp}),
        serde_json::json!({"sub": "ada", "channel": ["a"], "exp": exp}),
        serde_json::json!({"sub": "ada", "channel": "a", "exp": "never"}),
        serde_json::json!({"sub": "ada", "channel": "a", "exp": -1}),
        serde_json::json!({"sub": "ada", "channel": "a", "exp": exp, "nbf": "now"}),
        serde_json::json!({"sub": "ada", "channel": "", "exp": exp}),
        serde_json::json!({"sub": "ada", "channel": "a*", "exp": exp}),
        serde_json::json!({"sub": "ada", "channel": "a\u{7}", "exp": exp}),
        serde_json::json!({"sub": "ada", "channel": long, "exp": exp}),
    ] {
        let refused = verify_subscription(&encode(Algorithm::HS256, &claims));
        assert_eq!(refused, Err(TokenError::SubscriptionClaims), "{claims}");
    }
}

#[test]
fn neither_kind_of_token_stands_for_the_other() {
    let signer = Signer::hs256(SECRET).unwrap();
    let grants = Grants { channels: patterns(&["*"]), ..Grants::default() };
    let session = signer.sign_with(&user(), device(), 1, 4_000_000_000, &grants);
    assert_eq!(verify_subscription(&session), Err(TokenError::SubscriptionClaims));
    let subscription = signer.sign_subscription(&user(), &channel("a"), 4_000_000_000);
    assert_eq!(verify(&subscription), Err(TokenError::Claims));
    let forged = Signer::hs256(&[7; 32]).unwrap().sign_subscription(&user(), &channel("a"), 4_000_000_000);
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    for token in ["", "a.b.c", &forged, &long] {
        assert_eq!(verify_subscription(token), Err(TokenError::Invalid), "{token}");
    }
}
