//! The handshake: what is accepted, every refusal, and both sides against each other.

use campanile_protocol::upgrade::{
    DeflateOffer, HEADERS_MAX, HeadReader, Refusal, Request, ResponseError, SwitchingProtocols, UpgradeError,
    UpgradeRequest, client_key, parse_response, plain_path, write_answer, write_refusal, write_request,
    write_switching_protocols,
};

const LINES: [&str; 6] = [
    "GET /v2/connect?ack=none HTTP/1.1",
    "Host: push.example:443",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn head<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    lines.into_iter().flat_map(|line| [line, "\r\n"]).chain(["\r\n"]).collect()
}

/// The good head with the line at `index` replaced.
fn replaced(index: usize, line: &str) -> String {
    head((0..LINES.len()).map(|i| if i == index { line } else { LINES[i] }))
}

/// The good head with a line more.
fn added(line: &str) -> String {
    head(LINES.into_iter().chain([line]))
}

fn without(index: usize) -> String {
    head((0..LINES.len()).filter(|i| *i != index).map(|i| LINES[i]))
}

#[track_caller]
fn refused(head: &str, error: UpgradeError, status: u16) {
    assert_eq!(UpgradeRequest::parse(head.as_bytes()).map(|request| request.path), Err(error), "{head}");
    assert_eq!(error.status(), status);
    let mut answer = Vec::new();
    error.write_refusal(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(error.code()));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
}

#[test]
fn a_get_without_an_upgrade_has_a_path() {
    for (head, path) in [
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "/healthz"),
        ("GET /readyz?a=/b?c HTTP/1.0\r\n\r\n", "/readyz"),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "/"),
    ] {
        assert_eq!(plain_path(head.as_bytes()), Some(path), "{head}");
    }
    for head in [
        "POST /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\n",
        "GET /healthz HTTP/2\r\n\r\n",
        "GET\r\n\r\n",
        "",
    ] {
        assert_eq!(plain_path(head.as_bytes()), None, "{head}");
    }
    let mut answer = Vec::new();
    write_answer(&mut answer, "{}");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("Length: 2\r\n\r\n{}"), "{answer}");
}

#[test]
fn a_good_request() {
    let mut lines = LINES.to_vec();
    lines.extend([
        "Origin: https://app.example",
        "authorization: bearer  abc.def",
        "Sec-WebSocket-Protocol: campanile.v9, campanile.v2+json,",
        "X-Forwarded-For: 203.0.113.9",
        "Sec-WebSocket-Protocol:campanile.v2",
        "X-Forwarded-For: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "User-Agent: caf\u{e9}",
    ]);
    let head = head(lines);
    let request = UpgradeRequest::parse(head.as_bytes()).unwrap();
    assert_eq!(request.path, "/v2/connect");
    assert_eq!(request.query, Some("ack=none"));
    assert_eq!(request.host, "push.example:443");
    assert_eq!(request.origin, Some("https://app.example"));
    assert_eq!(request.key, "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(request.bearer_token(), Some("abc.def"));
    assert_eq!(request.x_forwarded_for, Some("192.0.2.1"));
    assert_eq!(request.forwarded, Some("for=192.0.2.1"));
    let protocols: Vec<_> = request.protocols().collect();
    assert_eq!(protocols, ["campanile.v9", "campanile.v2+json", "campanile.v2"]);
}

#[test]
fn other_spellings_of_a_good_request() {
    for (index, line) in [
        (2, "UPGRADE: h2c, WebSocket"),
        (3, "connection: keep-alive, upgrade"),
        (3, "Connection: keep-alive\r\nConnection: UPGRADE"),
        (5, "sec-websocket-version:  13 "),
    ] {
        let head = replaced(index, line);
        assert!(UpgradeRequest::parse(head.as_bytes()).is_ok(), "{head}");
    }
    let absolute = replaced(0, "GET http://other.example/path HTTP/1.1");
    let request = UpgradeRequest::parse(absolute.as_bytes()).unwrap();
    assert_eq!((request.host, request.path, request.query), ("other.example", "/path", None));
}

#[test]
fn every_refusal() {
    use UpgradeError as E;
    refused(&replaced(0, "POST / HTTP/1.1"), E::Method, 405);
    refused(&replaced(0, "get / HTTP/1.1"), E::Method, 405);
    refused(&replaced(0, "GET / HTTP/1.0"), E::Version, 505);
    refused(&replaced(0, "GET / HTTP/2.0"), E::Version, 505);
    refused(&replaced(0, "GET /"), E::Malformed, 400);
    refused(&replaced(0, "\x16\x03\x01"), E::Malformed, 400);
    refused(&replaced(1, "Ho st: a"), E::Malformed, 400);
    refused("GET / HTTP/1.1\r\nHost: a\r\n", E::Malformed, 400);
    refused(&(head(LINES) + "x"), E::Malformed, 400);
    refused(&replaced(0, "GET * HTTP/1.1"), E::Target, 400);
    for target in ["push.example:443", "ftp://a/", "http:///x", "http://a?x"] {
        refused(&replaced(0, &format!("GET {target} HTTP/1.1")), E::Target, 400);
    }
    refused(&without(1), E::HostMissing, 400);
    refused(&replaced(1, "Host: "), E::HostMissing, 400);
    for index in [1, 4, 5] {
        refused(&added(LINES[index]), E::Duplicate, 400);
    }
    refused(&head(LINES.into_iter().chain(["Authorization: a", "Authorization: b"])), E::Duplicate, 400);
    refused(&head(LINES.into_iter().chain(["Origin: a", "Origin: a"])), E::Duplicate, 400);
    refused(&replaced(1, "Host: caf\u{e9}"), E::HeaderValue, 400);
    refused(&added("Content-Length: 5"), E::Body, 400);
    refused(&added("Content-Length: 0"), E::Body, 400);
    refused(&added("Transfer-Encoding: chunked"), E::Body, 400);
    for index in [2, 3] {
        refused(&without(index), E::NotUpgrade, 426);
    }
    refused(&replaced(2, "Upgrade: websockets"), E::NotUpgrade, 426);
    refused(&replaced(3, "Connection: keep-alive"), E::NotUpgrade, 426);
    refused(&without(5), E::WebSocketVersion, 426);
    refused(&replaced(5, "Sec-WebSocket-Version: 8"), E::WebSocketVersion, 426);
    refused(&without(4), E::Key, 400);
    refused(&replaced(4, "Sec-WebSocket-Key: c2hvcnQ="), E::Key, 400);
    refused(&added("Sec-WebSocket-Protocol: a b"), E::Subprotocol, 400);
    refused(&added(&["Sec-WebSocket-Protocol: a"; 5].join("\r\n")), E::Subprotocol, 400);
}

#[test]
fn too_much_is_refused() {
    let full = LINES.into_iter().chain(["X: y"; HEADERS_MAX + 1 - LINES.len()]);
    assert!(UpgradeRequest::parse(head(full.clone()).as_bytes()).is_ok());
    refused(&head(full.chain(["X: y"])), UpgradeError::TooManyHeaders, 431);
    let long = head(["GET / HTTP/1.1", &format!("X: {}", "y".repeat(9000))]);
    assert_eq!(HeadReader::new().next(&mut long.as_bytes()), Err(UpgradeError::HeadTooLarge));
    assert_eq!(UpgradeError::HeadTooLarge.status(), 431);
}

#[test]
fn refusals_carry_the_headers_that_their_status_requires() {
    let answer = |status, retry_after_seconds| {
        let mut out = Vec::new();
        let refusal = Refusal { status, code: "code", message: "a \"message\"", retry_after_seconds };
        write_refusal(&mut out, &refusal);
        String::from_utf8(out).unwrap()
    };
    for (status, header) in [
        (401, "WWW-Authenticate: Bearer\r\n"),
        (405, "Allow: GET\r\n"),
        (426, "Upgrade: websocket\r\n"),
        (426, "Sec-WebSocket-Version: 13\r\n"),
        (426, "Connection: upgrade, close\r\n"),
        (503, "Connection: close\r\n"),
    ] {
        assert!(answer(status, None).contains(header), "{status}");
    }
    assert!(!answer(503, None).contains("Retry-After"));
    assert!(answer(503, Some(7)).contains("Retry-After: 7\r\n"));
    let body = r#"{"error":{"code":"code","message":"a \"message\""}}"#;
    assert!(answer(400, None).ends_with(&format!("\r\n\r\n{body}")));
    // Any HTTP parser takes them, also for a status that has no name here.
    for status in [400, 401, 403, 404, 405, 408, 426, 429, 431, 500, 503, 505, 418] {
        let answer = answer(status, Some(1));
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = parsed.parse(answer.as_bytes()).unwrap().unwrap();
        assert_eq!(parsed.code, Some(status));
        assert_eq!(&answer[length..], body);
    }
}

fn request(key: &str) -> Request<'_> {
    Request {
        host: "127.0.0.1:8080",
        path: "/v2/connect?x=1",
        key,
        protocols: "campanile.v2, campanile.v2+json",
        bearer_token: Some("abc"),
        deflate: false,
    }
}

#[test]
fn client_and_server_understand_each_other() {
    let key = client_key([9; 16]);
    let request = request(&key);
    let mut bytes = Vec::new();
    write_request(&mut bytes, &request);
    bytes.extend_from_slice(b"\x81\x80first frame");

    let mut reader = HeadReader::new();
    let mut input = bytes.as_slice();
    let head = reader.next(&mut input).unwrap().unwrap();
    assert_eq!(input, b"\x81\x80first frame");
    let parsed = UpgradeRequest::parse(head).unwrap();
    assert_eq!((parsed.path, parsed.query), ("/v2/connect", Some("x=1")));
    assert_eq!(parsed.bearer_token(), request.bearer_token);
    assert_eq!(parsed.protocols().collect::<Vec<_>>(), ["campanile.v2", "campanile.v2+json"]);

    for subprotocol in [None, Some("campanile.v2+json")] {
        let mut answer = Vec::new();
        write_switching_protocols(&mut answer, parsed.key, subprotocol, None);
        assert_eq!(parse_response(&answer, &request), Ok(SwitchingProtocols { subprotocol, deflate: false }));
    }
}

#[test]
fn a_client_checks_the_answer() {
    let key = client_key([9; 16]);
    let request = request(&key);
    let mut good = Vec::new();
    write_switching_protocols(&mut good, &key, Some("campanile.v2"), None);
    let good = String::from_utf8(good).unwrap();
    let check = |from: &str, to: &str| {
        assert!(good.contains(from));
        parse_response(good.replace(from, to).as_bytes(), &request).map(|_| ())
    };
    assert_eq!(check("Upgrade: websocket", "Upgrade: h2c"), Err(ResponseError::NotUpgrade));
    assert_eq!(check("Connection: Upgrade", "Connection: close"), Err(ResponseError::NotUpgrade));
    assert_eq!(check("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"), Err(ResponseError::AcceptKey));
    assert_eq!(check("Sec-WebSocket-Accept", "X"), Err(ResponseError::AcceptKey));
    assert_eq!(check("campanile.v2", "campanile.v3"), Err(ResponseError::NotOffered));
    assert_eq!(check("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"), Err(ResponseError::NotOffered));
    assert_eq!(check("HTTP/1.1", "HTTP/1.0"), Err(ResponseError::Malformed));
    assert_eq!(parse_response(b"HTTP/1.1 101\r\n", &request), Err(ResponseError::Malformed));

    let mut refusal = Vec::new();
    let refused = Refusal { status: 503, code: "full", message: "full", retry_after_seconds: Some(30) };
    write_refusal(&mut refusal, &refused);
    let mut input = refusal.as_slice();
    let mut reader = HeadReader::new();
    let head = reader.next(&mut input).unwrap().unwrap();
    let expected = ResponseError::Refused { status: 503, retry_after_seconds: Some(30) };
    assert_eq!(parse_response(head, &request), Err(expected));
}

const DEFLATE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What is answered to these lines of `Sec-WebSocket-Extensions`.
fn answered(offers: &[&str]) -> Option<String> {
    let lines: Vec<_> = offers.iter().map(|offer| format!("Sec-WebSocket-Extensions: {offer}")).collect();
    let head = head(LINES.into_iter().chain(lines.iter().map(String::as_str)));
    let request = UpgradeRequest::parse(head.as_bytes()).expect("no offer is an error");
    let mut answer = Vec::new();
    write_switching_protocols(&mut answer, request.key, None, request.deflate);
    let answer = String::from_utf8(answer).unwrap();
    answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).map(str::to_owned)
}

#[test]
fn offers_of_deflate_that_are_accepted() {
    for offers in [
        &["permessage-deflate"][..],
        // Browsers.
        &["permessage-deflate; client_max_window_bits"],
        &[DEFLATE],
        &["permessage-deflate;client_max_window_bits=8;server_no_context_takeover"],
        &["\tpermessage-deflate ; client_max_window_bits = \"15\" "],
        &["permessage-deflate; client_max_window_bits=\"1\\0\""],
        // After others, in the same line and in another.
        &["x-webkit-deflate-frame, permessage-deflate"],
        &["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
        &["permessage-deflate; new_parameter, , permessage-deflate"],
        &["foo; a=\"x, y; \\\" z\"; b,permessage-deflate"],
        &["", "foo; bar", "permessage-deflate"],
        &["caf\u{e9}", "permessage-deflate"],
        &["permessage-deflate", "permessage-deflate; server_max_window_bits=15"],
    ] {
        assert_eq!(answered(offers).as_deref(), Some(DEFLATE), "{offers:?}");
    }
    // A window that was asked for must be answered, and the first acceptable offer is the one that counts.
    for offers in [
        &["permessage-deflate; server_max_window_bits=15"][..],
        &["permessage-deflate; server_max_window_bits=\"15\"; client_max_window_bits, permessage-deflate"],
        &["permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=15"],
    ] {
        let answer = answered(offers);
        assert_eq!(answer, Some(format!("{DEFLATE}; server_max_window_bits=15")), "{offers:?}");
    }
}

#[test]
fn offers_that_are_declined() {
    for offer in [
        "",
        "permessage-deflat",
        "permessage-deflate2",
        "Permessage-Deflate",
        "x-permessage-deflate",
        "permessage-deflate=1",
        "permessage-deflate;",
        "permessage-deflate; ; server_no_context_takeover",
        "permessage-deflate server_no_context_takeover",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=\"\"",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=15",
        "permessage-deflate; client_max_window_bits=15; client_max_window_bits",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=14",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; server_max_window_bits=+15",
        "permessage-deflate; server_max_window_bits=115",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; client_max_window_bits=1 5",
        "permessage-deflate; client_max_window_bits=15=15",
        "permessage-deflate; client_max_window_bits=\"15",
        "permessage-deflate; client_max_window_bits=\"",
        "permessage-deflate; client_max_window_bits=\"15\\\"",
        "permessage-deflate; client_max_window_bits=\"15\"5",
        "permessage-deflate; client_max_window_bits=\"1\"5\"",
        // Within a string, which may lack its end.
        "foo; a=\"x, permessage-deflate\"",
        "foo; a=\"x, permessage-deflate",
        "foo; a=\"x\\\", permessage-deflate",
    ] {
        assert_eq!(answered(&[offer]), None, "{offer}");
    }
}

#[test]
fn client_and_server_agree_on_deflate() {
    let key = client_key([9; 16]);
    for deflate in [false, true] {
        let request = Request { deflate, ..request(&key) };
        let mut head = Vec::new();
        write_request(&mut head, &request);
        let offer: Option<DeflateOffer> = UpgradeRequest::parse(&head).unwrap().deflate;
        assert_eq!(offer.is_some(), deflate);
        // The server need not take it.
        for offer in [offer, None] {
            let mut answer = Vec::new();
            write_switching_protocols(&mut answer, &key, None, offer);
            let deflate = offer.is_some();
            assert_eq!(
                parse_response(&answer, &request),
                Ok(SwitchingProtocols { subprotocol: None, deflate })
            );
        }
    }
}

#[test]
fn a_client_refuses_extensions_that_it_did_not_offer() {
    let key = client_key([9; 16]);
    let mut answer = Vec::new();
    write_switching_protocols(&mut answer, &key, None, None);
    let answer = String::from_utf8(answer).unwrap();
    let check = |deflate: bool, lines: &str| {
        let answer = answer.replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"));
        let request = Request { deflate, ..request(&key) };
        parse_response(answer.as_bytes(), &request).map(|accepted| accepted.deflate)
    };
    let line = |extensions: &str| format!("Sec-WebSocket-Extensions: {extensions}");
    for good in [
        DEFLATE,
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=\"9\"; server_no_context_takeover",
    ] {
        assert_eq!(check(true, &line(good)), Ok(true), "{good}");
        assert_eq!(check(false, &line(good)), Err(ResponseError::NotOffered), "{good}");
    }
    for bad in [
        "",
        "foo",
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=15",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover; unknown",
        "permessage-deflate; server_no_context_takeover, foo",
        "permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover",
    ] {
        assert_eq!(check(true, &line(bad)), Err(ResponseError::NotOffered), "{bad}");
    }
    let twice = [line(DEFLATE), line(DEFLATE)].join("\r\n");
    assert_eq!(check(true, &twice), Err(ResponseError::NotOffered));
}
