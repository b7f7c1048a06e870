//! Counters with a single writer each, read by anyone at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that one thread writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the thread that owns the counter may call it.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes `count` away, for a gauge. Only the thread that owns it may call it.
    pub fn subtract(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares a struct of counters, on cache lines of its own: `Counter name` or `Gauge name`, each with its help text.
#[macro_export]
macro_rules! counters {
    ($(#[doc = $title:literal])+ $struct:ident $($(#[doc = $doc:literal])+ $kind:ident $name:ident)*) => {
        $(#[doc = $title])+
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $struct {
            $($(#[doc = $doc])+ pub $name: $crate::Counter,)*
        }

        impl $struct {
            /// Every counter: its name, what it counts, whether it is a gauge, and its value.
            pub fn all(&self) -> Vec<(&'static str, &'static str, $crate::Kind, u64)> {
                vec![$((stringify!($name), concat!($($doc),+).trim_ascii(), $crate::Kind::$kind, self.$name.get()),)*]
            }
        }
    };
}

/// How a counter behaves.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}
