//! The API on a socket: at most so many connections, each with limits of time for a request's head and for a reader
//! that stops.

mod progress;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use self::progress::Progress;
use super::{Context, router};

/// From the end of one request, or the accept, to the end of the next one's head. Also how long an idle connection
/// is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for connections that come when more than half of the places are taken: idle ones cannot keep probes
/// and publishers out.
const HEAD_TIMEOUT_CROWDED: Duration = Duration::from_secs(2);
/// How long a client may leave an answer unread without the socket taking a single byte more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
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

/// Answers on `listener` until `shutdown` is over; then lets requests that are under way finish, for 2 s at most.
pub async fn serve(
    listener: TcpListener,
    context: Arc<Context>,
    patience: Patience,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(patience.connections_max));
    let (ending, ended) = watch::channel(());
    let service = TowerToHyperService::new(router(Arc::clone(&context)));
    let accept = async {
        loop {
            // Never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let socket = accept(&listener).await;
            let (service, ended) = (service.clone(), ended.clone());
            let head_timeout = patience.head(places.available_permits());
            let socket = Progress::new(socket, patience.write);
            let guard = context.metrics.connection();
            tokio::spawn(async move {
                let _held = (place, guard);
                if let Err(error) = answer(socket, head_timeout, service, ended).await {
                    tracing::debug!(%error, "an API connection broke");
                }
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(listener);
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

async fn answer(
    socket: Progress<TcpStream>,
    head_timeout: Duration,
    service: TowerToHyperService<axum::Router>,
    mut ended: watch::Receiver<()>,
) -> hyper::Result<()> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    tokio::select! {
        result = &mut connection => return result,
        _ = ended.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

#[cfg(test)]
mod tests;
