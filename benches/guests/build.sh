#!/usr/bin/env bash
# Rebuilds the guests of this folder that are not text. Running the benches needs none of this: work.wasm is committed.
#   clang 19.1.7      Debian: clang-19 lld-19
set -euo pipefail
cd "$(dirname "$0")"
clang-19 --target=wasm32 -mbulk-memory -nostdlib -Wl,--no-entry -Wl,-z,stack-size=65536 -O2 -Wall -Wextra -Werror \
    -Wno-incompatible-library-redeclaration -ffile-prefix-map="$PWD=." -Wl,--strip-debug -Wl,--keep-section=name work.c -o work.wasm
chmod 644 work.wasm
