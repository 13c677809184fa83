//! Compiles `trawl/v1/*.proto` without protoc: generated code, and the descriptor set for reflection and JSON.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = ["trawl/v1/access.proto", "trawl/v1/study.proto", "trawl/v1/worker.proto"];
    protos
        .iter()
        .for_each(|proto| println!("cargo:rerun-if-changed={proto}"));

    let mut compiler = protox::Compiler::new(["."])?;
    // Descriptors include comments, which `grpcurl describe` prints.
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(protos)?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptor_set.bin"), compiler.encode_file_descriptor_set())?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::codec::CheckedCodec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
