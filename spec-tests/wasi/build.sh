#!/usr/bin/env bash
# Rebuilds the guests of this folder from their sources. Running them needs none of this: the .wasm
# files are committed.
#
# Toolchain: Rust 1.95.0 with `rustup target add wasm32-unknown-unknown wasm32-wasip1`.
set -euo pipefail
cd "$(dirname "$0")/guests"

rust=(rustc --edition 2024 -C opt-level=s -C panic=abort -C lto=fat -C codegen-units=1 --remap-path-prefix "$PWD=."
    -C link-arg=--strip-debug -C link-arg=--keep-section=name)
for guest in program files paths waits sockets; do
    "${rust[@]}" --target wasm32-unknown-unknown --crate-type cdylib "$guest.rs" -o "$guest.wasm"
done
"${rust[@]}" --target wasm32-wasip1 std.rs -o std.wasm
chmod 644 -- *.wasm
ls -l -- *.wasm
