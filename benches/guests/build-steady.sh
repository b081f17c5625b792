#!/usr/bin/env bash
# Rebuilds steady.wasm from steady.rs; the .wasm is committed. Rust 1.95.0 with `rustup target add wasm32-unknown-unknown`.
set -euo pipefail
cd "$(dirname "$0")"
rustc --edition 2024 --target wasm32-unknown-unknown --crate-type cdylib -C opt-level=3 -C panic=abort -C lto=fat \
    -C codegen-units=1 -C link-arg=--strip-debug -C link-arg=--keep-section=name --remap-path-prefix "$PWD=." steady.rs -o steady.wasm
