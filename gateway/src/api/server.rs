//! One listener of the API on its socket: at most so many connections, each with limits of time for a request's head
//! and for a reader that stops. A connection speaks HTTP/1.1 or HTTP/2 (with prior knowledge, RFC 9113 §3.3), which
//! gRPC needs.

mod activity;
mod preface;
mod progress;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tonic::codegen::Service as _;

use self::activity::{Activity, Stopped};
use self::preface::Version;
use self::progress::Progress;
use super::listener::Listener;
use super::{Api, containment};
use crate::panics::{self, AbortOnPanic};

/// From the accept to the first bytes, and from the end of one request to the end of the next one's head. Also how
/// long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for connections that come when more than half of the places are taken: idle ones cannot keep probes
/// and publishers out.
const HEAD_TIMEOUT_CROWDED: Duration = Duration::from_secs(2);
/// How long a client may leave an answer unread without the socket taking a single byte more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Requests that may be under way on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// What a client may send ahead on one HTTP/2 stream, and on all streams of a connection, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What waits on one HTTP/2 stream for its client to take it, in bytes.
const STREAM_SEND_BYTES_MAX: usize = 64 * 1024;
/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/2 client without requests may take to let go of a connection that ends.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long requests that are under way may take once the server ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait when no connection can be accepted, for lack of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How patient the server is.
#[derive(Copy, Clone)]
pub struct Patience {
    /// Connections at the same time. More wait in the listener's backlog.
    pub connections_max: usize,
    head: Duration,
    head_crowded: Duration,
    write: Duration,
}

impl Patience {
    /// The usual times, with so many connections.
    pub fn new(connections_max: usize) -> Patience {
        Patience {
            connections_max,
            head: HEAD_TIMEOUT,
            head_crowded: HEAD_TIMEOUT_CROWDED,
            write: WRITE_TIMEOUT,
        }
    }

    /// How long a connection may be idle that leaves so many places free.
    fn head(&self, free: usize) -> Duration {
        if free < self.connections_max / 2 { self.head_crowded } else { self.head }
    }
}

/// Answers on a socket what `listener` answers, until `shutdown` is over; then lets requests that are under way finish,
/// for 2 s at most.
pub async fn serve(
    socket: TcpListener,
    api: Arc<Api>,
    listener: Listener,
    patience: Patience,
    shutdown: impl Future<Output = ()>,
) {
    // Without it nobody would be let in any more, by a process that lives on.
    let _abort = AbortOnPanic;
    let places = Arc::new(Semaphore::new(patience.connections_max));
    let (ending, ended) = watch::channel(());
    let router = api.router(listener);
    let accept = async {
        loop {
            // Never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let client = accept(&socket).await;
            let connection = Connection {
                socket: Progress::new(client, patience.write),
                router: router.clone(),
                head_timeout: patience.head(places.available_permits()),
                write_timeout: patience.write,
                ended: ended.clone(),
            };
            let (metrics, guard) = (Arc::clone(&api.metrics), api.metrics.connection(listener));
            tokio::spawn(async move {
                let _held = (place, guard);
                match panics::caught(connection.serve()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an API connection broke"),
                    Err(words) => containment::report(&metrics, &words),
                }
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(socket);
    drop(ended);
    let _ = ending.send(());
    // Each connection holds a receiver until it is done.
    let _ = timeout(SHUTDOWN_TIMEOUT, ending.closed()).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let _ = socket.set_nodelay(true);
                return socket;
            }
            // The client went away before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One client's connection.
struct Connection {
    socket: Progress<TcpStream>,
    router: Router,
    head_timeout: Duration,
    write_timeout: Duration,
    ended: watch::Receiver<()>,
}

impl Connection {
    async fn serve(mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let told = timeout(self.head_timeout, preface::read(&mut self.socket));
        // A client that has said nothing has nothing to wait for when the server ends.
        let (version, read) = tokio::select! {
            told = told => told??,
            _ = self.ended.changed() => return Ok(()),
        };
        self.socket.put_back(read);
        match version {
            Version::One => Ok(self.serve_http1().await?),
            Version::Two => Ok(self.serve_http2().await?),
        }
    }

    async fn serve_http1(mut self) -> hyper::Result<()> {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(self.socket), TowerToHyperService::new(self.router));
        tokio::pin!(connection);
        tokio::select! {
            result = &mut connection => return result,
            _ = self.ended.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }

    async fn serve_http2(mut self) -> hyper::Result<()> {
        let activity = Activity::new();
        let requests = activity.clone();
        let router = self.router;
        let service = service_fn(move |request: Request<Incoming>| {
            let (running, answer) = (requests.begin(), router.clone().call(request));
            async move { answer.await.map(|answer| answer.map(|body| running.answer(body))) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(STREAM_SEND_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(self.socket), service);
        tokio::pin!(connection);
        tokio::select! {
            result = &mut connection => return result,
            stopped = activity.stopped(self.head_timeout, self.write_timeout) => match stopped {
                Stopped::Idle => {}
                // There is nobody to say goodbye to.
                Stopped::Untaken => return Ok(()),
            },
            _ = self.ended.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        // Requests that came before the client knew are answered; a client that does not let go is left.
        tokio::select! {
            result = &mut connection => result,
            _ = activity.stopped(GOODBYE_TIMEOUT, self.write_timeout) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
