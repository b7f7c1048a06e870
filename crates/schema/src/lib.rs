//! The code of the schema, which is kept beside what is written by hand: compilers of protobuf are large, and who builds
//! the gateway need not build them. `cargo run -p campanile-schema` writes it anew; a test of this crate fails when it is
//! not what the schema says.

use std::path::{Path, PathBuf};

/// A file that is made of the schema.
#[derive(Debug)]
pub struct Made {
    /// Where it is kept, from the workspace's root.
    pub path: &'static str,
    /// What is in it.
    pub content: &'static [u8],
}

impl Made {
    /// Where it is kept, from anywhere.
    pub fn place(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(self.path)
    }
}

/// Everything that is made of the schema.
pub const MADE: [Made; 4] = [
    Made {
        path: "crates/protocol/src/messages/generated/campanile.v2.rs",
        content: include_bytes!(concat!(env!("OUT_DIR"), "/protocol/campanile.v2.rs")),
    },
    Made {
        path: "crates/protocol/src/messages/generated/campanile.v2.serde.rs",
        content: include_bytes!(concat!(env!("OUT_DIR"), "/protocol/campanile.v2.serde.rs")),
    },
    Made {
        path: "gateway/src/api/grpc/generated/campanile.v2.rs",
        content: include_bytes!(concat!(env!("OUT_DIR"), "/gateway/campanile.v2.rs")),
    },
    Made {
        path: "gateway/src/api/grpc/generated/gateway.descriptors",
        content: include_bytes!(concat!(env!("OUT_DIR"), "/gateway/gateway.descriptors")),
    },
];
