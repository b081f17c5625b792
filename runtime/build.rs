//! Says whether the interpreter's handlers may lead to each other by calls in tail position
//! (`cfg(aura_sibling_calls)`): the compiler makes them jumps only if it optimises, and on
//! architectures where all the handlers' arguments go in registers. What counts is how this crate is
//! compiled, not the name of the embedder's profile. See `src/interp/dispatch.rs`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(aura_sibling_calls)");
    let is = |name: &str, among: &[&str]| env::var(name).is_ok_and(|value| among.contains(&value.as_str()));
    if is("OPT_LEVEL", &["2", "3", "s", "z"]) && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"]) {
        println!("cargo::rustc-cfg=aura_sibling_calls");
    }
}
