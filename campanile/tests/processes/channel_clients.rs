//! Ordinary clients subscribe to a channel of a real gateway, come back and miss nothing, with the compression that
//! they offer by themselves: Python's `websockets`, and a browser. They need what `scripts/test` installs.

use campanile_core::tokens::{Grants, Pattern};
use serde_json::json;

use crate::node::{Node, token_with};
use crate::ordinary_clients::{browse, python};

const DRIVERS: [&str; 2] = ["uring", "epoll"];

const CONFIGURATION: &str = "
[channels.namespaces.score]
history_messages_max = 1000
deflate = true
";

fn node(driver: &str) -> Node {
    Node::configured(CONFIGURATION, &["--driver", driver, "--shards", "2"])
}

fn token(user: &str) -> String {
    let scores = vec![Pattern::parse("score:*").unwrap()];
    token_with(user, 1, &Grants { channels: scores.clone(), publish: scores, subscribe: Vec::new() })
}

#[test]
#[ignore = "needs the Python environment that scripts/test makes"]
fn python_websockets_misses_nothing_of_a_channel_and_is_sent_it_compressed() {
    for driver in DRIVERS {
        assert_eq!(python("python_channels.py", &node(driver), &token("guido")), "nothing was missed");
    }
}

#[test]
#[ignore = "needs the browser that scripts/test installs"]
fn a_browser_misses_nothing_of_a_channel_and_is_sent_it_compressed() {
    // The page knows it, too.
    let large = "goal! ".repeat(5_000);
    for driver in DRIVERS {
        let node = node(driver);
        let publish = |payload| {
            let published =
                node.post("/v2/channels/score:1/publish", &json!({ "payload": payload })).unwrap();
            assert!(published["offset"].is_string(), "{published}");
        };
        let mut sent_before = 0;
        let report =
            browse(include_str!("clients/browser_channels.html"), &node, &token("tim"), |path| match path {
                "/subscribed" | "/away" => (0..20).for_each(|number| publish(json!({ "json": number }))),
                "/recovered" => {
                    sent_before = node.metric("campanile_channel_bytes_sent_total");
                    publish(json!({ "text": large }));
                }
                _ => panic!("the page asks for {path}"),
            });
        let sent = node.metric("campanile_channel_bytes_sent_total") - sent_before;
        assert!((1..large.len() as u64 / 20).contains(&sent), "{sent} bytes for {}", large.len());
        assert_eq!(
            report,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover | 1 to 20 | recovered true | \
             21 to 40 | equal | close 1000 true"
        );
    }
}
