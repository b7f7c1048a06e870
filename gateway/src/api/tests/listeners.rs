//! Who answers what, as `docs/operations.md` says; what has moved; and whose pages may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::fake::{Api, KEY, Reply, token};
use crate::api::{AllowedOrigins, Listener};

const DOCS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md"));

/// What a listener answers: method and path, and what a request has to show.
type Answered = BTreeMap<(String, String), String>;

/// The table of the documentation, by the key of each listener.
fn documented() -> BTreeMap<String, Answered> {
    let section = DOCS.split("\n## ").find(|section| section.starts_with("Who answers what")).unwrap();
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut rows = section.lines().filter(|line| line.starts_with('|')).map(cells);
    let head = rows.find(|row| row[1] == "Path").expect("the table of paths");
    let keys: Vec<String> = head[2..head.len() - 1].iter().map(|key| key.trim_matches('`').into()).collect();
    let mut all: BTreeMap<String, Answered> = keys.iter().map(|key| (key.clone(), Answered::new())).collect();
    for row in rows.skip(1) {
        let (method, path) = row[1].trim_matches('`').split_once(' ').expect("a method and a path");
        for (key, needs) in keys.iter().zip(&row[2..]).filter(|(_, needs)| !needs.is_empty()) {
            let answered = all.get_mut(key).unwrap();
            let twice = answered.insert((method.into(), path.into()), needs.clone());
            assert!(twice.is_none(), "{method} {path} has two rows");
        }
    }
    all
}

/// A path that this one stands for.
fn example(path: &str) -> String {
    path.replace("{name}", "room:7")
        .replace("{user}", "ada")
        .replace("{id}", "0000000000000007000000000000000b")
        .replace("{*method}", "Check")
}

async fn ask(api: &Api, listener: Listener, method: Method, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(example(path)).body(Body::empty()).unwrap();
    api.call_at(listener, request).await
}

#[tokio::test]
async fn each_listener_answers_what_the_documentation_says_and_nothing_else() {
    let documented = documented();
    let keys: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = Listener::ALL.into_iter().map(Listener::key).chain(["listen"]).collect();
    assert_eq!(keys, expected);
    let everywhere: BTreeSet<&String> =
        documented.values().flat_map(Answered::keys).map(|(_, path)| path).collect();
    let api = Api::new();
    for listener in Listener::ALL {
        let answered = &documented[listener.key()];
        let paths: BTreeSet<&String> = answered.keys().map(|(_, path)| path).collect();
        let routes = api.api.routes(listener);
        assert_eq!(paths, routes.paths().iter().collect(), "{listener:?}");
        for path in everywhere.difference(&paths) {
            ask(&api, listener, Method::GET, path).await.is_error(StatusCode::NOT_FOUND, "not_found");
        }
        for path in paths {
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                // gRPC answers whatever comes.
                if path.ends_with("{*method}") && method != Method::POST {
                    continue;
                }
                let needs = answered.get(&(method.to_string(), path.clone()));
                let reply = ask(&api, listener, method.clone(), path).await;
                let code = reply.json["error"]["code"].as_str().unwrap_or_default();
                let what = format!("{listener:?}: {method} {path} is answered {} {code}", reply.status);
                let needs = needs.map(|needs| needs.split(',').next().unwrap_or_default());
                match needs {
                    Some("a key") => assert_eq!(code, "key_missing", "{what}"),
                    Some("a token") => assert_eq!(code, "token_missing", "{what}"),
                    Some("nothing") => {
                        assert!(!["key_missing", "token_missing", "not_found"].contains(&code), "{what}")
                    }
                    Some(other) => panic!("{path}: `{other}` is neither a key nor a token nor nothing"),
                    None => assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{what}"),
                }
            }
        }
    }
}

/// Keeps the warnings of one thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn what_has_moved_is_answered_where_it_was_with_one_warning() {
    let api = Api::new();
    let warnings = Warnings::default();
    let _kept = tracing::subscriber::set_default(warnings.clone());
    // As a node does, once for all requests.
    let router = api.api.router(Listener::Api);
    let token = token("ada", 1);
    for _ in 0..3 {
        for (path, credential) in [("/metrics", KEY), ("/v2/node", KEY), ("/v2/messages", &token)] {
            let request =
                Request::builder().uri(path).header("authorization", format!("Bearer {credential}"));
            let request = request.body(Body::empty()).unwrap();
            let answer = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        }
    }
    let node = ask(&api, Listener::Api, Method::GET, "/v2/node").await;
    node.is_error(StatusCode::UNAUTHORIZED, "key_missing");
    let said = warnings.0.lock().unwrap().clone();
    let about = |path: &str, to: &str| {
        said.iter().filter(|text| text.contains(&format!("path=\"{path}\"")) && text.contains(to)).count()
    };
    // The last question was to a router of its own.
    assert_eq!((about("/metrics", "admin_listen"), about("/v2/node", "admin_listen")), (1, 2), "{said:?}");
    assert_eq!((about("/v2/messages", "devices_listen"), said.len()), (1, 4), "{said:?}");
    for listener in [Listener::Admin, Listener::Devices] {
        ask(&api, listener, Method::GET, "/metrics").await;
    }
    assert_eq!(warnings.0.lock().unwrap().len(), 4, "nothing has moved from there");
}

fn with_origins(origins: &[&str]) -> Api {
    let origins = AllowedOrigins::new(origins.iter().map(|&origin| origin.to_owned()).collect());
    Api::with(|parts| parts.origins = origins)
}

/// What a browser asks before a page's request with a token.
async fn preflight(api: &Api, origin: &str) -> Reply {
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri("/v2/messages?limit=1")
        .header("host", "evil.example")
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    api.call_at(Listener::Devices, request.body(Body::empty()).unwrap()).await
}

/// A page's request with a token.
async fn from_page(api: &Api, method: Method, path: &str, origin: &str, token: &str) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "evil.example")
        .header("origin", origin)
        .header("authorization", format!("Bearer {token}"));
    api.call_at(Listener::Devices, request.body(Body::empty()).unwrap()).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn pages_of_listed_origins_may_ask_and_read_what_they_are_answered() {
    let api = with_origins(&["https://chat.example.com", "http://localhost:3000"]);
    for origin in ["https://chat.example.com", "http://localhost:3000"] {
        let answer = preflight(&api, origin).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET, POST, DELETE"),
            ("access-control-allow-headers", "Authorization, Content-Type"),
            ("access-control-max-age", "7200"),
            ("vary", "Origin"),
        ] {
            assert_eq!(header(&answer.headers, name), value, "{name}");
        }
        let answer = from_page(&api, Method::GET, "/v2/messages", origin, &token("ada", 1)).await;
        assert_eq!((answer.status, &answer.json["more"]), (StatusCode::OK, &false.into()));
        assert_eq!(header(&answer.headers, "access-control-allow-origin"), origin);
        assert_eq!(header(&answer.headers, "vary"), "Origin");
        assert_eq!(header(&answer.headers, "access-control-allow-credentials"), "", "no cookies");
        // Errors, too: a page that cannot read why it is refused cannot get a new token.
        for (path, token, code) in [("/v2/messages", "x", "token_refused"), ("/nowhere", "x", "not_found")] {
            let answer = from_page(&api, Method::GET, path, origin, token).await;
            assert_eq!(answer.json["error"]["code"], code);
            assert_eq!(header(&answer.headers, "access-control-allow-origin"), origin);
        }
    }
    assert!(api.metrics().await.contains("method=\"OPTIONS\",route=\"/v2/messages\",status=\"204\"} 2\n"));
}

#[tokio::test]
async fn a_page_of_another_origin_does_nothing_whatever_host_it_names() {
    let api = with_origins(&["https://chat.example.com"]);
    let confirm = "/v2/messages/0000000000000007000000000000000b/delivered";
    for origin in [
        "https://evil.example",
        "http://chat.example.com",
        "https://chat.example.com:444",
        "https://chat.example.com.evil.example",
        "null",
    ] {
        let answers = [
            preflight(&api, origin).await,
            from_page(&api, Method::GET, "/v2/messages", origin, &token("ada", 1)).await,
            // Browsers send this one without asking before.
            from_page(&api, Method::POST, confirm, origin, &token("ada", 1)).await,
        ];
        for answer in answers {
            answer.is_error(StatusCode::FORBIDDEN, "origin_forbidden");
            assert_eq!(header(&answer.headers, "access-control-allow-origin"), "");
            assert_eq!(header(&answer.headers, "vary"), "Origin");
        }
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
    let answer = api.device(Method::GET, "/v2/messages", &token("ada", 1)).await;
    assert_eq!(answer.status, StatusCode::OK, "who has no origin is no page");
    assert_eq!(header(&answer.headers, "vary"), "Origin", "a cache keeps it for nobody else");
}

#[tokio::test]
async fn while_no_origins_are_listed_any_page_may_ask() {
    let api = with_origins(&[]);
    for origin in ["https://chat.example.com", "null"] {
        assert_eq!(preflight(&api, origin).await.status, StatusCode::NO_CONTENT);
        let answer = from_page(&api, Method::GET, "/v2/messages", origin, &token("ada", 1)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(header(&answer.headers, "access-control-allow-origin"), "*");
        assert_eq!(header(&answer.headers, "vary"), "");
    }
}

#[tokio::test]
async fn only_devices_have_pages() {
    let api = with_origins(&["https://chat.example.com"]);
    for listener in [Listener::Api, Listener::Admin] {
        let request = Request::builder().uri("/healthz").header("origin", "https://chat.example.com");
        let answer = api.call_at(listener, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(header(&answer.headers, "access-control-allow-origin"), "");
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/v2/node")
            .header("origin", "https://chat.example.com")
            .header("access-control-request-method", "GET");
        let answer = api.call_at(listener, request.body(Body::empty()).unwrap()).await;
        assert!(answer.status.is_client_error(), "{}", answer.status);
    }
    // A question that is no browser's is an ordinary request.
    let request = Request::builder().method(Method::OPTIONS).uri("/v2/messages");
    let request = request.header("origin", "https://chat.example.com").body(Body::empty()).unwrap();
    let answer = api.call_at(Listener::Devices, request).await;
    answer.is_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
}
