//! Compiles every `.proto` file below this folder, without `protoc`, into one module tree and one
//! embedded descriptor set.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Packages spoken over ttrpc only: their messages are generated, gRPC glue is not. Apart from being
/// unused, the glue of the shim's `Connect` method would collide with tonic's own `connect`.
const TTRPC_ONLY: [&str; 4] = [
    "containerd.task.v2",
    "containerd.task.v3",
    "containerd.runtime.sandbox.v1",
    "containerd.services.events.ttrpc.v1",
];

/// Fields that carry file contents: sliced from the receive buffer instead of being copied.
const BULK: [&str; 3] = [
    ".containerd.services.content.v1.ReadContentResponse.data",
    ".containerd.services.content.v1.WriteContentRequest.data",
    ".containerd.types.transfer.Data.data",
];

/// Messages that hold secrets: `src/secrets.rs` says what of them is shown.
const SECRET: [&str; 1] = [".runtime.v1.AuthConfig"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut files = Vec::new();
    for folder in ["berth", "containerd", "google", "grpc", "io", "runtime", "runtimeoptions"] {
        println!("cargo::rerun-if-changed={folder}");
        find(&root.join(folder), &mut files)?;
    }
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let described = compiler.file_descriptor_set();
    fs::write(out.join("descriptors.bin"), bare(described.clone()).encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().bytes(BULK).skip_debug(SECRET);
    // The same object is always the same bytes: values in etcd are compared as they are.
    config.btree_map([".berth.cluster.v1"]);
    tonic_prost_build::configure()
        .include_file("interfaces.rs")
        .compile_fds_with_config(without_ttrpc(described), config)?;
    Ok(())
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

/// What reflection and the fact check need: no comments, no positions.
fn bare(mut set: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}

fn without_ttrpc(mut set: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut set.file {
        if TTRPC_ONLY.contains(&file.package()) {
            file.service.clear();
        }
    }
    set
}
