//! Compiles the schema without `protoc`: messages and their protobuf encoding by prost, their JSON mapping by pbjson, the
//! gRPC service by tonic.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use protox::prost_reflect::prost_types::FileDescriptorSet;

const SCHEMA: &str = "../protocol/proto";
const JSON_FRAME: &str = "#[derive(serde::Serialize)] #[serde(rename_all = \"camelCase\")]";
/// Messages of `frames.proto` that the service uses.
const SHARED: [&str; 4] = ["ChannelMessage", "Device", "Payload", "Position"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SCHEMA}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let (protocol, gateway) = (out.join("protocol"), out.join("gateway"));
    fs::create_dir_all(&protocol)?;
    fs::create_dir_all(&gateway)?;
    frames(protox::compile(["campanile/v2/frames.proto"], [SCHEMA])?, &protocol)?;
    service(protox::compile(["campanile/v2/gateway.proto"], [SCHEMA])?, &gateway)
}

/// What devices and gateway send one another.
fn frames(descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut json = pbjson_build::Builder::new();
    for file in &descriptors.file {
        json.register_file_descriptor(file.clone());
    }
    json.out_dir(out)
        .ignore_unknown_fields()
        // Written by hand in `messages/payload.rs`: JSON inside of JSON stays what it is.
        .exclude([".campanile.v2.Payload"])
        .build(&[".campanile.v2"])?;
    // Payloads are shared by many messages, so that a clone must not copy them.
    prost_build::Config::new()
        .out_dir(out)
        .bytes(["."])
        // As an enum of serde's, a frame is what the JSON mapping makes of the message around it.
        .type_attribute("ClientFrame.frame", JSON_FRAME)
        .type_attribute("ServerFrame.frame", JSON_FRAME)
        .compile_fds(descriptors)?;
    Ok(())
}

/// The gRPC service. Messages that are frames, too, are those of `campanile-protocol`; the service's own are made here.
fn service(mut descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(out.join("gateway.descriptors"), descriptors.encode_to_vec())?;
    // The rest of the frames would be made a second time.
    for file in descriptors.file.iter_mut().filter(|file| file.name().ends_with("frames.proto")) {
        file.message_type.retain(|message| SHARED.contains(&message.name()));
    }
    let mut builder = tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".")
        // The client is for tests, which bring a connection of their own.
        .client_mod_attribute(".", "#[cfg(test)]")
        .build_transport(false);
    for name in SHARED {
        let ours = format!("::campanile_protocol::messages::{name}");
        builder = builder.extern_path(format!(".campanile.v2.{name}"), ours);
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
