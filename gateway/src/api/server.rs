//! The API on a socket: at most so many connections, each with a limit of time for a request's head.

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

use super::{Context, router};

/// Connections at the same time. More wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 128;
/// From the end of one request, or the accept, to the end of the next one's head. Also how long an idle connection
/// is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long requests that are under way may take once the server ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait when no connection can be accepted, for lack of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `shutdown` is over; then lets requests that are under way finish, for 2 s at most.
pub async fn serve(listener: TcpListener, context: Arc<Context>, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (ending, ended) = watch::channel(());
    let service = TowerToHyperService::new(router(Arc::clone(&context)));
    let accept = async {
        loop {
            // Never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let socket = accept(&listener).await;
            let (service, ended) = (service.clone(), ended.clone());
            let guard = context.metrics.connection();
            tokio::spawn(async move {
                let _held = (place, guard);
                if let Err(error) = answer(socket, service, ended).await {
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
            Ok((socket, _)) => return socket,
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
    socket: TcpStream,
    service: TowerToHyperService<axum::Router>,
    mut ended: watch::Receiver<()>,
) -> hyper::Result<()> {
    let _ = socket.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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
