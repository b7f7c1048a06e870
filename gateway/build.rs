//! Compiles the gRPC service from the schema without `protoc`. Messages that are frames, too, are those of
//! `campanile-protocol`; the service's own are made here.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

/// Messages of `frames.proto` that the service uses.
const SHARED: [&str; 4] = ["ChannelMessage", "Device", "Payload", "Position"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../crates/protocol/proto");
    let mut descriptors = protox::compile(["campanile/v2/gateway.proto"], ["../crates/protocol/proto"])?;
    let reflected = PathBuf::from(env::var("OUT_DIR")?).join("gateway.descriptors");
    fs::write(reflected, descriptors.encode_to_vec())?;
    // The rest of the frames would be made a second time.
    for file in descriptors.file.iter_mut().filter(|file| file.name().ends_with("frames.proto")) {
        file.message_type.retain(|message| SHARED.contains(&message.name()));
    }
    let mut builder = tonic_prost_build::configure().bytes(".").build_transport(true);
    for name in SHARED {
        let ours = format!("::campanile_protocol::messages::{name}");
        builder = builder.extern_path(format!(".campanile.v2.{name}"), ours);
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
