//! What each session is owed: its window, its replay, its acknowledgements. This is the session's side of the
//! [`seam`](crate::seam): nothing here knows which devices a user has, or who numbers its messages.

mod check;
pub(crate) mod frames;
pub(crate) mod replay;
pub(crate) mod sessions;
pub(crate) mod state;
pub(crate) mod window;
