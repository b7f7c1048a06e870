//! Compiles the schema without `protoc`: messages and their protobuf encoding by prost, their JSON mapping by pbjson.

use std::error::Error;

const JSON_FRAME: &str = "#[derive(serde::Serialize)] #[serde(rename_all = \"camelCase\")]";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["campanile/v2/frames.proto"], ["proto"])?;
    let mut json = pbjson_build::Builder::new();
    for file in &descriptors.file {
        json.register_file_descriptor(file.clone());
    }
    json.ignore_unknown_fields()
        // Written by hand in `messages/payload.rs`: JSON inside of JSON stays what it is.
        .exclude([".campanile.v2.Payload"])
        .build(&[".campanile.v2"])?;
    // Payloads are shared by many messages, so that a clone must not copy them.
    prost_build::Config::new()
        .bytes(["."])
        // As an enum of serde's, a frame is what the JSON mapping makes of the message around it.
        .type_attribute("ClientFrame.frame", JSON_FRAME)
        .type_attribute("ServerFrame.frame", JSON_FRAME)
        .compile_fds(descriptors)?;
    Ok(())
}
