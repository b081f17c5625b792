//! Says whether the interpreter's handlers may lead to each other by calls in tail position
//! (`cfg(aura_sibling_calls)`): the compiler makes them jumps only if it optimises, and on
//! architectures where all the handlers' arguments go in registers. What counts is how this crate is
//! compiled, not the name of the embedder's profile. See `src/interp/dispatch.rs`.
//!
//! And gives what artifacts hold a name (`AURA_FORM`): a number made of all source files that decide what lowered code, machine
//! code and what is known of a module look like, and of the versions of dependencies, so that no other build reads it.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// Such source files, and folders of them.
const FORM: [&str; 8] = [
    "../Cargo.lock",
    "../host-abi/src",
    "../jit/src",
    "../validator/src",
    "src/arch",
    "src/artifact",
    "src/services.rs",
    "src/snapshot.rs",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(aura_sibling_calls)");
    println!("cargo::rustc-env=AURA_FORM={:016x}", form());
    let is = |name: &str, among: &[&str]| env::var(name).is_ok_and(|value| among.contains(&value.as_str()));
    if is("OPT_LEVEL", &["2", "3", "s", "z"]) && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"]) {
        println!("cargo::rustc-cfg=aura_sibling_calls");
    }
}

/// The number of the form. Outside the repository, where files are not side by side, the version has to do.
fn form() -> u64 {
    let mut files = Vec::new();
    for place in FORM {
        println!("cargo::rerun-if-changed={place}");
        collect(Path::new(place), &mut files);
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(&file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

fn collect(place: &Path, files: &mut Vec<PathBuf>) {
    if place.extension().is_some_and(|extension| extension == "rs" || extension == "lock") {
        files.push(place.to_owned());
    }
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        collect(&entry.path(), files);
    }
}
