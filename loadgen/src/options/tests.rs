//! Which command lines make sense.

use super::*;

fn plan(arguments: &str) -> Result<Plan, String> {
    let has_tokens = ["--tokens-file", "--jwt-hs256-file", "--offline"].iter().any(|o| arguments.contains(o));
    let anonymous = (!has_tokens).then_some("--anonymous");
    let arguments = ["campanile-load"].into_iter().chain(arguments.split_whitespace()).chain(anonymous);
    Options::try_parse_from(arguments).map_err(|error| error.to_string())?.plan()
}

#[test]
fn only_this_machine_is_put_under_load() {
    for url in ["ws://127.0.0.1:1/x", "ws://127.9.9.9/", "ws://localhost:8080", "ws://[::1]:80/"] {
        assert!(plan(&format!("--connect-only --url {url}")).is_ok(), "{url}");
    }
    for url in ["ws://192.0.2.1:8080/", "ws://example.com/", "ws://0.0.0.0:1/", "ws://127.0.0.1.example:1/"] {
        let error = plan(&format!("--connect-only --url {url}")).unwrap_err();
        assert!(error.contains("only loopback"), "{url}: {error}");
    }
    assert!(plan("--connect-only --api http://192.0.2.1/").unwrap_err().contains("only loopback"));
    assert!(plan("--connect-only --url wss://127.0.0.1/").unwrap_err().contains("must be ws"));
    assert!(plan("--connect-only --sources 192.0.2.1").unwrap_err().contains("not a loopback"));
}

#[test]
fn a_plan_needs_something_to_do_and_all_that_is_needed_for_it() {
    for (arguments, word) in [
        ("", "nothing to do"),
        ("--rate 10", "--api-key-file"),
        ("--rate 0 --api-key-file k", "not a rate"),
        ("--rate NaN --api-key-file k", "not a rate"),
        ("--hold=-1", "not a number of seconds"),
        ("--hold 1e18", "longer than 366 days"),
        ("--hold 1 --connect-timeout 0", "no time"),
        ("--hold 1 --core 1024", "core 1024"),
        ("--hold 1 --url ws://127.0.0.1:0/", "not a port"),
        ("--hold 1 --api http://127.0.0.1:99999/", "not a port"),
        ("--rate 0.1 --duration 1s --api-key-file k", "no message falls due"),
        ("--max --duration 0 --api-key-file k", "no message falls due"),
        ("--hold 1 --ramp-rate inf", "not a rate"),
        ("--rate 1 --api-key-file k --payload-bytes 23", "not between 24"),
        ("--rate 1000000 --duration 10000 --api-key-file k --connections 9", "to note what arrives"),
        ("--connect-only --connections 100000 --sources 127.0.0.1", "more --sources"),
        ("--connect-only --rate 5", "cannot be used with"),
        ("--max", "--api-key-file"),
        ("--offline", "--api-key-file"),
        ("--max --rate 5 --api-key-file k", "cannot be used with"),
        ("--offline --until-caught-up --api-key-file k", "cannot be used with"),
        ("--connect-only --stalled-percent 101", "101"),
        ("--connect-only --ack-within-ms=-1", "not a number of milliseconds"),
        ("--connect-only --tokens-file a --jwt-hs256-file b", "cannot be used with"),
        ("--connect-only --subscribe room:{n}", "needs --channels"),
        ("--connect-only --subscribe room:{n}{n}", "more than one"),
        ("--connect-only --subscribe a* ", "`*`"),
        ("--connect-only --subscribe a --subscribe a", "`a` is named twice"),
        (
            "--connect-only --subscribe {n} --channels 1000 --subscriptions-per-device 1000 --connections 60000",
            "more than",
        ),
        ("--connect-only --subscribe a --subscribe b --channels 0", "0"),
        ("--connect-only --subscribe a --publish-to a", "--rate or --max"),
        ("--connect-only --check-every 2", "--subscribe"),
        ("--connect-only --subscribe a --check-every 2 --reconnect", "--reconnect"),
        ("--rate 5 --api-key-file k --publish-to a --to random-user", "cannot be used with"),
        ("--offline --api-key-file k --subscribe a", "cannot be used with"),
        ("--hold 1 --stalled-resume --subscribe a", "--publish-to"),
        ("--rate 5 --api-key-file k --publish-from devices", "--publish-to"),
        ("--max --publish-to a --publish-from devices", "needs a --rate"),
        ("--rate 5 --publish-to a --publish-from devices --stalled-percent 100", "devices that read"),
        ("--hold 5 --fail-above p95=3", "--rate or --max"),
        ("--rate 5 --api-key-file k --fail-above p42=3", "none of"),
        ("--hold 5 --threshold errors{scenario:a}=rate<1", "without a scenario file"),
        ("--hold 5 --threshold error=rate<1", "did you mean `errors`"),
    ] {
        let error = plan(arguments).expect_err(arguments);
        assert!(error.contains(word), "{arguments}: {error}");
    }
}

#[test]
fn without_tokens_there_would_be_no_sessions() {
    let plan = |line: &str| Options::try_parse_from(line.split(' ')).unwrap().plan();
    let error = plan("load --connect-only").unwrap_err();
    assert!(error.contains("devices need tokens"), "{error}");
    for tokens in ["--anonymous", "--tokens-file t", "--jwt-hs256-file s"] {
        assert!(plan(&format!("load --connect-only {tokens}")).is_ok(), "{tokens}");
    }
}

#[test]
fn channels_need_no_room_to_note_what_arrives() {
    let many = "--rate 1000000 --duration 1000 --connections 9 --api-key-file k --publish-to a --subscribe a";
    assert!(plan(many).is_ok());
    let devices =
        plan("--rate 5 --subscribe room:{n} --publish-to room:{n} --channels 7 --publish-from devices");
    let channels = devices.unwrap().channels;
    assert_eq!(channels.targets.unwrap().names().channels(), 7);
    assert_eq!(channels.subscriptions.unwrap().of_each(), 1);
}

#[test]
fn as_many_as_possible_has_an_end() {
    let publishing =
        |arguments: &str| plan(&format!("--api-key-file k {arguments}")).unwrap().pushes.unwrap();
    assert_eq!(publishing("--max --duration 2").messages(), 1_000_000);
    assert_eq!(publishing("--max --messages 70 --duration 2").messages(), 70);
    assert_eq!(publishing("--rate 50 --messages 70 --duration 2").messages(), 70);
    assert_eq!(publishing("--rate 50 --duration 1").messages(), 50);
}

#[test]
fn each_run_has_users_of_its_own_unless_they_are_named() {
    let prefix = |arguments: &str| plan(&format!("--connect-only {arguments}")).unwrap().user_prefix;
    assert_ne!(prefix(""), prefix(""));
    assert_eq!(prefix("--user-prefix someone-"), "someone-");
    assert_eq!(prefix("--tokens-file t"), "U", "the tokens name them");
    assert!(plan("--connect-only --user-prefix a\u{7f}").unwrap_err().contains("--user-prefix"));
}

#[test]
fn the_defaults_are_the_gateways_own() {
    let plan = plan("--connect-only").unwrap();
    let Options { url, api, .. } = &plan.options;
    assert_eq!(url.address.to_string(), "127.0.0.1:8080");
    assert_eq!((url.host.as_str(), url.path.as_str()), ("127.0.0.1:8080", "/v2/connect"));
    assert_eq!(api.address.to_string(), "127.0.0.1:8081");
    assert_eq!(plan.options.sources.0.len(), 8);
}
