//! One keep-alive connection to the API.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::options::Endpoint;
use crate::refusal;

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why a request has no answer that tells about its messages.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The gateway refused it, with this status and for this reason.
    Refused(StatusCode, String),
    /// The connection could not be made, or broke. Whether the request had its effect is not known.
    Broken(String),
}

impl ApiError {
    /// As a word for reports.
    pub(super) fn reason(&self) -> String {
        match self {
            ApiError::Refused(_, reason) | ApiError::Broken(reason) => reason.clone(),
        }
    }
}

struct Connection {
    requests: SendRequest<Full<Bytes>>,
    /// Moves the bytes.
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A client of the API.
pub(super) struct Api<'a> {
    endpoint: &'a Endpoint,
    authorization: Option<HeaderValue>,
    connection: Option<Connection>,
}

impl<'a> Api<'a> {
    pub(super) fn new(endpoint: &'a Endpoint, key: &str) -> Api<'a> {
        let authorization = HeaderValue::try_from(format!("Bearer {key}")).ok();
        Api { endpoint, authorization, connection: None }
    }

    /// Forgets the connection: what it would still answer belongs to nobody.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Posts JSON and reads the whole answer.
    pub(super) async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let result = self.try_post(path, body).await;
        if let Err(ApiError::Broken(_)) = result {
            self.disconnect();
        }
        result
    }

    async fn try_post(&mut self, path: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let broken = |_| ApiError::Broken("connection_broken".into());
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.requests.is_closed() => connection,
            _ => self.connect().await?,
        };
        connection.requests.ready().await.map_err(broken)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.endpoint.path.trim_end_matches('/')))
            .header(HOST, &self.endpoint.host)
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|_| ApiError::Broken("not_a_request".into()))?;
        let answer = connection.requests.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let content = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let content = content.map_err(|_| ApiError::Broken("connection_broken".into()))?.to_bytes();
        self.connection = Some(connection);
        if status.is_success() {
            return Ok(content);
        }
        Err(ApiError::Refused(status, refusal::reason(status.as_u16(), &content)))
    }

    async fn connect(&self) -> Result<Connection, ApiError> {
        let refused = |_| ApiError::Broken("cannot_connect".into());
        let stream = TcpStream::connect(self.endpoint.address).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let (requests, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|_| ApiError::Broken("cannot_connect".into()))?;
        // Its end shows in `is_closed`, or as the error of a request.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { requests, driver })
    }
}
