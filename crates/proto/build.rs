//! Compiles `proto/` with protox: no protoc on the machine, no generated code in the tree.

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::{FileDescriptorSet, field_descriptor_proto};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());

    // Two files have no package. Each is compiled by itself, so that each has its own module.
    let mut packaged = files(&root)?;
    for name in ["workload", "journal"] {
        let (own, rest) = packaged.into_iter().partition(|file| file.ends_with(format!("{name}.proto")));
        packaged = rest;
        compile(&root, &own, name)?;
    }
    // What is sent and never described needs no descriptors in the daemons.
    let (sent, packaged): (Vec<_>, Vec<_>) =
        packaged.into_iter().partition(|file| file.starts_with(root.join("opentelemetry")));
    compile(&root, &sent, "opentelemetry")?;
    compile(&root, &packaged, "packaged")
}

fn compile(root: &Path, files: &[PathBuf], name: &str) -> Result<()> {
    let mut set = protox::compile(files, [root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join(name);
    fs::create_dir_all(&out)?;
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&set))?;
    leave_encoded(&mut set);
    tonic_prost_build::configure()
        .out_dir(&out)
        .include_file("mod.rs")
        // A method that is not built yet answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        // The server copies what it encoded once.
        .bytes(".steeple.agent.sync.v1.Entries")
        .bytes(".spire.api.server.entry.v1.GetAuthorizedEntriesResponse")
        .bytes(".spire.api.server.entry.v1.SyncAuthorizedEntriesResponse")
        // A thousand streams of one identity share its bytes.
        .bytes(".X509SVID")
        .bytes(".X509SVIDResponse")
        .bytes(".X509BundlesResponse")
        .bytes(".JWTBundlesResponse")
        .compile_fds(set)?;
    Ok(())
}

/// The entries in the answers to agents become bytes in the generated types alone: on the wire a message inside another one
/// is its encoded form, and the server has that already.
fn leave_encoded(set: &mut FileDescriptorSet) {
    const ANSWERS: [&str; 2] = ["GetAuthorizedEntriesResponse", "SyncAuthorizedEntriesResponse"];
    let files = set.file.iter_mut().filter(|file| file.package() == "spire.api.server.entry.v1");
    let answers = files.flat_map(|file| &mut file.message_type).filter(|message| ANSWERS.contains(&message.name()));
    for field in answers.flat_map(|message| &mut message.field).filter(|field| field.name() == "entries") {
        field.set_type(field_descriptor_proto::Type::Bytes);
        field.type_name = None;
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
