//! What is no module, no file or no argument: each is told clearly, with the place, and never a panic.

mod common;

use common::{Folder, run_wat};

#[test]
fn a_file_that_is_not_wasm() {
    let folder = Folder::new();
    folder.write("a.wasm", b"\x7fELF\x02\x01").write("empty.wasm", b"").write("text.wasm", "hello");
    folder.aura(&["a.wasm"]).fails(1, &["error: not a WebAssembly module: a.wasm: byte 0", "7f 45 4c 46", "help: "]);
    folder.aura(&["empty.wasm"]).fails(1, &["not a WebAssembly module: empty.wasm", "it is empty"]);
    folder.aura(&["run", "text.wasm"]).fails(1, &["not a WebAssembly module: text.wasm"]);
    folder.aura(&["inspect", "a.wasm"]).fails(1, &["not a WebAssembly module: a.wasm"]);
    folder.aura(&["dump", "--stage", "code", "a.wasm"]).fails(1, &["not a WebAssembly module: a.wasm"]);
}

#[test]
fn a_path_that_cannot_be_read() {
    let folder = Folder::new();
    folder.aura(&["none.wasm"]).fails(1, &["error: cannot read file: none.wasm: ", "No such file", "help: "]);
    folder.aura(&["."]).fails(1, &["error: cannot read file: .: "]);
    folder.aura(&["wast", "none"]).fails(1, &["error: cannot read scripts: none: "]);
    folder.aura(&["wast", "."]).fails(1, &["error: no scripts: ."]);
}

#[test]
fn a_module_that_is_cut_off() {
    let folder = Folder::new();
    let whole = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";
    for length in 4..whole.len() {
        // A prefix that ends between two sections, before any function, is a whole module.
        if length == 8 || length == 14 {
            continue;
        }
        let ran = folder.write("cut.wasm", &whole[..length]).aura(&["cut.wasm"]);
        ran.fails(1, &["error: malformed module: cut.wasm: ", "help: "]);
    }
}

#[test]
fn a_module_that_is_invalid_names_the_offset() {
    let ran = run_wat("(module (func (export \"_start\") i32.add drop))", &[], &[]);
    ran.fails(1, &["error: invalid module: m.wat: ", "offset"]);
}

#[test]
fn a_proposal_that_is_not_supported_is_named() {
    run_wat("(module (memory 1 2 shared))", &[], &[]).fails(1, &["error: unsupported module: m.wat: ", "threads"]);
}

#[test]
fn text_with_a_mistake_shows_the_place() {
    let ran = run_wat("(module\n  (func (i32.cnst 1)))", &[], &[]);
    ran.fails(1, &["error: not a module in the text format: m.wat", "2:"]);
}

#[test]
fn a_component_is_told_what_to_build_instead() {
    let folder = Folder::new();
    folder.write("c.wasm", b"\0asm\x0d\0\x01\0").write("c.wat", "(component)");
    for name in ["c.wasm", "c.wat"] {
        folder.aura(&[name]).fails(1, &["error: not a module: ", "component", "help: ", "wasm32-wasip1"]);
    }
}

#[test]
fn imports_that_are_missing_or_of_another_type_are_all_listed() {
    let text = r#"(module
        (import "env" "no_such" (func (param i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
        (import "env" "memory" (memory 1))
        (func (export "_start")))"#;
    let parts = [
        "error: missing imports: m.wat:",
        "env.no_such: function [i32] -> []: not provided",
        "wasi_snapshot_preview1.proc_exit: function [i64] -> []: provided is a function [i32] -> []",
        "env.memory: memory",
        "help: --unknown-imports",
    ];
    run_wat(text, &[], &[]).fails(1, &parts);
}

#[test]
fn unknown_imports_may_trap_or_return_zeros() {
    let text = r#"(module
        (import "env" "f" (func $f (result i32)))
        (func (export "get") (result i32) (call $f)))"#;
    run_wat(text, &["--unknown-imports", "default", "--invoke", "get"], &[]).prints("0\n");
    run_wat(text, &["--unknown-imports", "trap", "--invoke", "get"], &[]).fails(134, &["error: trap: m.wat: "]);
}

#[test]
fn arguments_of_the_wrong_count_or_type() {
    let text = r#"(module (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1))))"#;
    let add = ["--invoke", "add"];
    run_wat(text, &add, &["1"])
        .fails(2, &["wrong number of arguments: m.wat: 2 expected, 1 given", "[i32 i32] -> [i32]"]);
    run_wat(text, &add, &["1", "2", "3"]).fails(2, &["2 expected, 3 given"]);
    run_wat(text, &add, &["1", "x"]).fails(2, &["wrong argument: m.wat: argument 2: `x` is no i32"]);
    run_wat(text, &add, &["1", "4294967296"]).fails(2, &["`4294967296` is no i32"]);
    run_wat(text, &["--invoke", "sub"], &[]).fails(2, &["`sub` is not exported", "add [i32 i32] -> [i32]"]);
}

#[test]
fn a_module_with_nothing_to_start_lists_its_functions() {
    run_wat("(module (func (export \"go\")))", &[], &[])
        .fails(1, &["nothing to start: m.wat", "--invoke NAME", "go [] -> []"]);
    run_wat("(module)", &[], &[]).fails(1, &["exports no function at all"]);
}

#[test]
fn wrong_command_lines_exit_with_2() {
    let folder = Folder::new();
    folder.write("m.wat", "(module (func (export \"_start\")))");
    for args in [
        &["--grant", "net", "m.wat"][..],
        &["--grant", "fs.read", "m.wat"],
        &["--dir", "", "m.wat"],
        &["--engine", "fast", "m.wat"],
        &["--timeout", "5", "m.wat"],
        &["--max-memory", "much", "m.wat"],
        &["--fuel", "-1", "m.wat"],
        &["--no-such-flag", "m.wat"],
        &["run"],
        &["wast"],
        &["wast", "--spec", "4.0", "m.wat"],
        &["dump", "m.wat"],
        &["--grant", "call:f", "m.wat"],
        &["--grant", "fs.read=no/such/folder", "m.wat"],
        &["--env", "NO_SUCH_VARIABLE_IS_SET", "m.wat"],
        &[],
    ] {
        folder.aura(args).fails(2, &[]);
    }
    folder.aura(&["--grant", "net", "m.wat"]).fails(2, &["unknown action", "fs.read=HOST[::GUEST]"]);
    folder
        .aura(&["--grant", "fs.read=no/such", "m.wat"])
        .fails(2, &["error: cannot grant: `fs.read=no/such`", "help: "]);
}
