//! Paths that another listener answers now. For one release they are answered where they were, too, with a warning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;

use super::listener::Listener;
use super::routes::Routes;

/// Where some paths are answered now, and whether that was said.
struct Moved {
    to: Listener,
    was_said: AtomicBool,
}

/// Answers these paths, and logs once that they have moved.
pub(super) fn warned(routes: Routes, to: Listener) -> Routes {
    let moved = Arc::new(Moved { to, was_said: AtomicBool::new(false) });
    routes.guarded(|router| router.route_layer(middleware::from_fn_with_state(moved, warn_once)))
}

async fn warn_once(State(moved): State<Arc<Moved>>, request: Request, next: Next) -> Response {
    if !moved.was_said.swap(true, Ordering::Relaxed) {
        let (path, here) = (request.uri().path(), Listener::Api.key());
        let to = moved.to.key();
        tracing::warn!(path, "this path is answered on `{to}` now, and on `{here}` for this release only");
    }
    next.run(request).await
}
