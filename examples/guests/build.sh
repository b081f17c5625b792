#!/usr/bin/env bash
# Rebuilds every prebuilt guest of this folder from its source. Running the guests needs none of
# this: the .wasm files are committed.
#
# Toolchains, by package name, with the versions the committed files were made with:
#   Rust 1.95.0       rustup target add wasm32-wasip1 wasm32-unknown-unknown
#   clang 19.1.7      Debian: clang-19 lld-19 wasi-libc (0.0~git20220510) libclang-rt-19-dev-wasm32
#                     libc++-19-dev-wasm32 libc++abi-19-dev-wasm32
#   wasm-merge 132    npm: binaryen@132.0.0
#   Node.js 20, npm   build-moonbit.cjs names the package with the compiler
set -euo pipefail
cd "$(dirname "$0")"

# Names stay, for backtraces; debug information goes.
link_names=(--strip-debug --keep-section=name)
rust=(rustc --edition 2024 -C opt-level=s -C panic=abort -C lto=fat -C codegen-units=1 --remap-path-prefix "$PWD=.")
for flag in "${link_names[@]}"; do rust+=(-C "link-arg=$flag"); done
clang_flags=(-Wall -Wextra -Werror -ffile-prefix-map="$PWD=." -Wl,--strip-debug -Wl,--keep-section=name)

"${rust[@]}" --target wasm32-wasip1 loglens.rs -o loglens.wasm
"${rust[@]}" --target wasm32-unknown-unknown --crate-type cdylib wordcount.rs -o wordcount.wasm

# Skills over the interface of guest/.
skills=$(mktemp -d)
skill=(rustc --edition 2024 -C opt-level=3 -C panic=abort -C codegen-units=1 --remap-path-prefix "$PWD=."
    --target wasm32-unknown-unknown -C target-feature=+simd128,+bulk-memory)
"${skill[@]}" --crate-type rlib --crate-name aura_guest ../../guest/src/lib.rs --out-dir "$skills"
skill+=(-C lto=fat -C link-arg=-zstack-size=65536 --crate-type cdylib --extern aura_guest="$skills/libaura_guest.rlib")
for flag in "${link_names[@]}"; do skill+=(-C "link-arg=$flag"); done
"${skill[@]}" logscan/logscan.rs -o logscan.wasm
"${skill[@]}" logscan/linecount.rs -o linecount.wasm
rm -r "$skills"

for program in sha256sum fsprobe; do
    clang-19 --target=wasm32-wasi -Os "${clang_flags[@]}" "$program.c" -o "$program.wasm"
done
clang++-19 --target=wasm32-wasi -std=c++17 -Os -fno-exceptions "${clang_flags[@]}" markdown.cpp -o markdown.wasm

freestanding=(--target=wasm32 -mbulk-memory -nostdlib -Wl,--no-entry -Wl,-z,stack-size=65536)
clang-19 "${freestanding[@]}" -O2 -msimd128 "${clang_flags[@]}" dot.c -o dot.wasm
clang-19 "${freestanding[@]}" -O2 "${clang_flags[@]}" compute.c -o compute.wasm
clang-19 "${freestanding[@]}" -O2 -msimd128 -I../../guest/c "${clang_flags[@]}" shout.c -o shout.wasm
clang-19 --target=wasm64 "${freestanding[@]:1}" -O2 "${clang_flags[@]}" index64.c -o index64.wasm

# One memory for all threads, which the host makes; each instance has a stack pointer of its own.
clang-19 "${freestanding[@]}" -matomics -O2 -Wl,--import-memory -Wl,--shared-memory -Wl,--max-memory=1048576 \
    -Wl,--export=__stack_pointer "${clang_flags[@]}" workers.c -o workers.wasm

# Two programs, each with its own memory, in one module.
for part in archive lzss; do
    clang-19 "${freestanding[@]}" -O2 "${clang_flags[@]}" "$part.c" -o "$part.part"
done
npx --yes --package binaryen@132.0.0 wasm-merge archive.part archive lzss.part lzss --rename-export-conflicts \
    --enable-multimemory --enable-bulk-memory -g -o archive.wasm
rm archive.part lzss.part

node build-moonbit.cjs collected.mbt collected.wasm

chmod 644 -- *.wasm
ls -l -- *.wasm
