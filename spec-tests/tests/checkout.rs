//! A checkout of the official repository, small and made here: files at the root, in `proposals/`,
//! in `legacy/` and in `custom/`, each with what only its own edition allows.

use std::fs;
use std::path::{Path, PathBuf};

use aura_runtime::{Bounds, Strategy};
use aura_spec_tests::suite::scripts_below;
use aura_spec_tests::{Mode, ScriptSource, Suite};

/// Files of a checkout.
const FILES: &[(&str, &str)] = &[
    ("inline-module.wast", r#"(func) (memory 0) (func (export "f"))"#),
    (
        "definitions.wast",
        r#"(module definition $M (global (export "g") (mut i32) (i32.const 3))
             (func (export "next") (result i32)
               (global.set 0 (i32.add (global.get 0) (i32.const 1))) (global.get 0)))
           (module instance $I1 $M)
           (module instance $I2 $M)
           (assert_return (invoke $I1 "next") (i32.const 4))
           (assert_return (invoke $I1 "next") (i32.const 5))
           (assert_return (invoke $I2 "next") (either (i32.const 9) (i32.const 4)))
           (assert_return (get $I1 "g") (i32.const 5))
           (module definition (memory 1))
           (module instance)
           (register "M2")
           (assert_unlinkable (module (import "M2" "nothing" (func))) "unknown import")"#,
    ),
    (
        "patterns.wast",
        r#"(module (func (export "nan") (result f32 f64) (f32.div (f32.const 0) (f32.const 0)) (f64.const nan:0x8000000000001))
             (func (export "null") (result funcref externref) (ref.null func) (ref.null extern)))
           (assert_return (invoke "nan") (f32.const nan:canonical) (f64.const nan:arithmetic))
           (assert_return (invoke "null") (ref.null func) (ref.null))"#,
    ),
    (
        "proposals/multi-value/two.wast",
        r#"(module (func (export "two") (result i32 i64) (i32.const 1) (i64.const 2)))
           (assert_return (invoke "two") (i32.const 1) (i64.const 2))
           (assert_malformed (module quote "(func (param v128))") "any words")
           (assert_invalid (module (memory 1) (memory 1)) "any words")"#,
    ),
    (
        "proposals/custom-page-sizes/small.wast",
        r#"(module (memory 7 (pagesize 1)) (func (export "size") (result i32) (memory.size)))
           (assert_return (invoke "size") (i32.const 7))"#,
    ),
    (
        "proposals/wide-arithmetic/add.wast",
        r#"(module (func (export "add") (result i64 i64) (i64.add128 (i64.const -1) (i64.const 0) (i64.const 1) (i64.const 0))))
           (assert_return (invoke "add") (i64.const 0) (i64.const 1))"#,
    ),
    (
        "proposals/threads/both.wast",
        r#"(module $Mem (memory (export "shared") 1 1 shared))
           (thread $T1 (shared (module $Mem))
             (register "mem" $Mem)
             (module (memory (import "mem" "shared") 1 10 shared)
               (func (export "run") (i32.atomic.store (i32.const 0) (i32.const 42))))
             (invoke "run"))
           (thread $T2 (shared (module $Mem))
             (assert_unlinkable (module (memory (import "mem" "shared") 1 1 shared)) "unknown import"))
           (wait $T1)
           (wait $T2)
           (register "mem" $Mem)
           (module (memory (import "mem" "shared") 1 1 shared)
             (func (export "read") (result i32) (i32.atomic.load (i32.const 0))))
           (assert_return (invoke "read") (i32.const 42))
           (assert_invalid (module (table 1 funcref) (table 1 funcref)) "multiple tables")"#,
    ),
    (
        "proposals/threads/grown.wast",
        r#"(module (memory 1 1 shared) (memory i64 1)
             (func (export "f") (result i32) (memory.atomic.notify 0 (i32.const 0) (i32.const 1))))
           (assert_return (invoke "f") (i32.const 0))"#,
    ),
    (
        "legacy/try_catch.wast",
        r#"(module (tag $e (param i32))
             (func (export "caught") (result i32) (try (result i32) (do (throw $e (i32.const 7))) (catch $e)))
             (func (export "uncaught") (throw $e (i32.const 1))))
           (assert_return (invoke "caught") (i32.const 7))
           (assert_exception (invoke "uncaught"))"#,
    ),
    (
        "try_table.wast",
        r#"(module (tag $e) (func (export "thrown") (throw $e))
             (func (export "caught") (result i32)
               (block $h (try_table (catch $e $h) (throw $e)) (return (i32.const 1))) (i32.const 2)))
           (assert_exception (invoke "thrown"))
           (assert_return (invoke "caught") (i32.const 2))"#,
    ),
    (
        "references.wast",
        r#"(module (type $s (struct (field i32))) (type $a (array i8))
             (func (export "i31") (result i31ref) (ref.i31 (i32.const 3)))
             (func (export "struct") (result anyref) (struct.new $s (i32.const 1)))
             (func (export "array") (result eqref) (array.new_default $a (i32.const 2)))
             (func (export "func") (result funcref) (ref.func 0))
             (func (export "through") (param externref) (result anyref) (any.convert_extern (local.get 0)))
             (func (export "back") (param anyref) (result externref) (extern.convert_any (local.get 0)))
             (func (export "none") (result nullref) (ref.null none)))
           (assert_return (invoke "i31") (ref.i31))
           (assert_return (invoke "i31") (ref.eq))
           (assert_return (invoke "struct") (ref.struct))
           (assert_return (invoke "struct") (ref.any))
           (assert_return (invoke "array") (ref.array))
           (assert_return (invoke "array") (ref.eq))
           (assert_return (invoke "func") (ref.func))
           (assert_return (invoke "through" (ref.extern 5)) (ref.host 5))
           (assert_return (invoke "back" (ref.host 6)) (ref.extern 6))
           (assert_return (invoke "none") (ref.null any))
           (assert_return (invoke "none") (ref.null))"#,
    ),
    (
        "custom/branch_hint.wast",
        r#"(module (func (param i32) local.get 0 (@metadata.code.branch_hint "\00") if nop end))
           (assert_malformed_custom (module quote "(module (@metadata.code.branch_hint \"\\01\") (func))") "not in a function")
           (assert_invalid_custom (module (func (param i32) (@metadata.code.branch_hint "\01") local.get 0 drop)) "invalid target")"#,
    ),
    (
        "custom/custom_annot.wast",
        r#"(module (@name "M") (@custom "bla" (after func) "bytes") (func))
           (assert_malformed_custom (module quote "(@custom)") "missing section name")
           (assert_malformed_custom (module quote "(func (@custom \"bla\"))") "misplaced @custom annotation")"#,
    ),
    (
        "proposals/nobody-knows/new.wast",
        r#"(module (func (export "f") (result i32) (i32.const 1)))
           (assert_return (invoke "f") (i32.const 1))"#,
    ),
];

/// Writes the files below a folder of their own.
fn checkout(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    for (path, text) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    root
}

#[test]
fn every_file_of_a_checkout_runs_with_its_edition() {
    let root = checkout("checkout");
    let paths = scripts_below(&root).expect("the checkout");
    assert_eq!(paths.len(), FILES.len());
    let suite = Suite::new(paths.iter().map(|path| ScriptSource::read(path, None)).collect());
    for mode in [Mode::new(Strategy::Interpreter, Bounds::Guard), Mode::new(Strategy::Jit, Bounds::Explicit)] {
        for outcome in suite.run(mode, |_| {}) {
            let failures: Vec<_> = outcome.failures().collect();
            assert!(failures.is_empty(), "{} ({}) on {mode}: {failures:#?}", outcome.name, outcome.edition);
        }
    }
}

/// A directive that the runner cannot run has failed: nothing is passed over.
#[test]
fn what_cannot_be_run_has_failed() {
    let text = r#"(module (func (export "f")))
        (assert_suspension (invoke "f") "unhandled")
        (wait $nobody)
        (assert_malformed_custom (module quote "(module)") "nothing is wrong")
        (assert_invalid_custom (module) "nothing is wrong")
        (assert_exception (invoke "f"))
        (assert_exhaustion (invoke "f") "call stack exhausted")
        (invoke "nothing")"#;
    let script =
        ScriptSource { name: "x.wast".into(), text: Ok(text.into()), edition: aura_spec_tests::Edition::Implemented };
    let outcomes = Suite::new(vec![script]).run(Mode::new(Strategy::Interpreter, Bounds::Guard), |_| {});
    let failed: Vec<_> = outcomes[0].directives.iter().map(|directive| directive.failure.is_some()).collect();
    assert_eq!(failed, [false, true, true, true, true, true, true, true], "{:#?}", outcomes[0]);
}
