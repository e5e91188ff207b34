//! The built-in message descriptors are those of the crate that the messages come from.

use std::path::PathBuf;
use std::process::Command;

use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;

const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/envoy/envoy.bin");

/// Where cargo keeps the sources of `envoy-types`.
fn crate_folder() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let package = packages.iter().find(|package| package["name"] == "envoy-types").expect("a dependency");
    let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
    manifest.parent().expect("a folder").to_owned()
}

#[test]
fn the_built_in_descriptors_are_those_of_the_dependency() {
    let original = std::fs::read(crate_folder().join("src/generated/types.bin")).expect("the crate carries the file");
    let mut set = FileDescriptorSet::decode(original.as_slice()).expect("a descriptor set");
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let stripped = set.encode_to_vec();

    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(BUILT_IN, &stripped).expect("the file can be written");
    }

    let built_in = std::fs::read(BUILT_IN).expect("the built-in file");
    assert!(
        built_in == stripped,
        "run `UPDATE_GOLDEN=1 cargo test --test descriptors` after an upgrade of envoy-types"
    );
}
