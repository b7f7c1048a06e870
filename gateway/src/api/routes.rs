//! Routes, and which they are: axum does not list its own, and what cannot be listed cannot be compared with the
//! documentation.

use axum::Router;
use axum::routing::MethodRouter;

/// Routes that still want a state, or none.
pub(super) struct Routes<S = ()> {
    router: Router<S>,
    paths: Vec<String>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes.
    pub(super) fn new() -> Routes<S> {
        Routes { router: Router::new(), paths: Vec::new() }
    }

    /// Adds a path.
    pub(super) fn route(mut self, path: &str, methods: MethodRouter<S>) -> Routes<S> {
        self.paths.push(path.to_owned());
        Routes { router: self.router.route(path, methods), ..self }
    }

    /// Adds the routes of somebody else.
    pub(super) fn merge(mut self, other: Routes<S>) -> Routes<S> {
        self.paths.extend(other.paths);
        Routes { router: self.router.merge(other.router), ..self }
    }

    /// Adds a path with everything below it, and what answers there, with what adds it to a router.
    pub(super) fn service(mut self, path: &str, add: impl FnOnce(Router<S>, &str) -> Router<S>) -> Routes<S> {
        self.router = add(self.router, path);
        self.paths.push(path.to_owned());
        self
    }

    /// Changes what happens on the way to the routes, and not which they are.
    pub(super) fn guarded(self, guard: impl FnOnce(Router<S>) -> Router<S>) -> Routes<S> {
        Routes { router: guard(self.router), ..self }
    }

    /// Gives the routes their state.
    pub(super) fn with_state(self, state: S) -> Routes {
        Routes { router: self.router.with_state(state), paths: self.paths }
    }
}

impl Routes {
    /// The paths, with their parameters in braces.
    #[cfg(test)]
    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Something that answers.
    pub(super) fn into_router(self) -> Router {
        self.router
    }
}
