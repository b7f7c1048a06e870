//! Each side of the seam alone, with calls of the other late, repeated, or never answered.

mod home;
mod sessions;
