//! Structures, arrays, i31, casts and types across modules, on every engine, and with a collection before every object.

mod common;

use aura_runtime::{
    Config, Engine, ErrorKind, ExternType, Func, FuncType, Global, GlobalType, Instance, Limits64, Linker, Module,
    Store, StoreLimits, Table, TableType, Trap, TrapCode, Val, ValType,
};
use common::{everywhere_with, instantiate};

fn gc(config: &mut Config) {
    config.wasm_gc(true).wasm_function_references(true);
}

fn stressed(config: &mut Config) {
    gc(config);
    config.gc_stress(true);
}

/// Calls `export` with numbers: its one number, or the trap.
fn call(store: &mut Store<()>, instance: Instance, export: &str, args: &[i32]) -> Result<i32, TrapCode> {
    let func = instance.get_func(&mut *store, export).expect("an export");
    let args: Vec<_> = args.iter().map(|arg| Val::I32(*arg)).collect();
    let mut results = vec![Val::I32(0); func.ty(&*store).results().len()];
    func.call(&mut *store, &args, &mut results).map_err(|error| error.trap().expect("a trap").code())?;
    match results[..] {
        [Val::I32(result), ..] => Ok(result),
        [] => Ok(0),
        ref other => panic!("{other:?}"),
    }
}

/// Lists, trees and arrays that outlive the objects they were made from.
const WORK: &str = r#"(module
    (type $list (struct (field $head i32) (field $tail (ref null $list))))
    (type $bytes (array (mut i8)))
    (type $refs (array (mut anyref)))
    (type $wide (array (mut v128)))
    (type $mixed (struct (field i8) (field (mut i16)) (field f64) (field (mut anyref)) (field v128) (field funcref)))
    (func $f (result i32) (i32.const 7))
    (elem declare func $f)
    (func $range (export "sum") (param $n i32) (result i32) (local $l (ref null $list)) (local $s i32)
        (loop $more
            (local.set $l (struct.new $list (local.get $n) (local.get $l)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $more (local.get $n)))
        (block $done (loop $next
            (br_if $done (ref.is_null (local.get $l)))
            (local.set $s (i32.add (local.get $s) (struct.get $list $head (local.get $l))))
            (local.set $l (struct.get $list $tail (local.get $l)))
            (br $next)))
        (local.get $s))
    (func (export "packed") (param i32) (result i32) (local $m (ref $mixed))
        (local.set $m (struct.new $mixed (local.get 0) (local.get 0) (f64.const 2)
            (ref.i31 (local.get 0)) (v128.const i64x2 5 6) (ref.func $f)))
        (struct.set $mixed 1 (local.get $m) (i32.add (local.get 0) (i32.const 1)))
        (i32.add (struct.get_s $mixed 0 (local.get $m)) (i32.add (struct.get_u $mixed 1 (local.get $m))
            (i32.add (i32.trunc_f64_s (struct.get $mixed 2 (local.get $m)))
            (i32.add (i31.get_s (ref.cast (ref i31) (struct.get $mixed 3 (local.get $m))))
                (i32x4.extract_lane 2 (struct.get $mixed 4 (local.get $m))))))))
    (func (export "bytes") (param i32 i32) (result i32) (local $a (ref $bytes))
        (local.set $a (array.new $bytes (local.get 0) (i32.const 40)))
        (array.set $bytes (local.get $a) (i32.const 3) (i32.const 0x1ff))
        (array.copy $bytes $bytes (local.get $a) (i32.const 4) (local.get $a) (i32.const 2) (i32.const 30))
        (array.get_s $bytes (local.get $a) (local.get 1)))
    (func (export "kept") (param i32) (result i32) (local $a (ref $refs)) (local $i i32) (local $s i32)
        (local.set $a (array.new $refs (struct.new $list (i32.const 1) (ref.null $list)) (local.get 0)))
        (loop $fill
            (array.set $refs (local.get $a) (local.get $i) (struct.new $list (local.get $i) (ref.null $list)))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 3))) (array.len (local.get $a)))))
        (local.set $i (i32.const 0))
        (loop $add
            (local.set $s (i32.add (local.get $s) (struct.get $list $head
                (ref.cast (ref $list) (array.get $refs (local.get $a) (local.get $i))))))
            (br_if $add (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (array.len (local.get $a)))))
        (local.get $s))
    (func (export "fixed") (result i32) (local $a (ref $refs))
        (local.set $a (array.new_fixed $refs 3 (struct.new $list (i32.const 4) (ref.null $list))
            (array.new_default $wide (i32.const 2)) (ref.i31 (i32.const -9))))
        (i32.add (struct.get $list 0 (ref.cast (ref $list) (array.get $refs (local.get $a) (i32.const 0))))
            (i32.add (array.len (ref.cast (ref array) (array.get $refs (local.get $a) (i32.const 1))))
                (i31.get_s (ref.cast i31ref (array.get $refs (local.get $a) (i32.const 2)))))))
)"#;

#[test]
fn objects_keep_what_is_stored_in_them() {
    for configure in [gc, stressed] {
        everywhere_with(configure, |name, engine| {
            let (mut store, instance) = instantiate(engine, WORK);
            for _ in 0..4 {
                assert_eq!(call(&mut store, instance, "sum", &[300]), Ok(45_150), "{name}");
                assert_eq!(call(&mut store, instance, "packed", &[-1]), Ok(6), "{name}");
                assert_eq!(call(&mut store, instance, "bytes", &[5, 5]), Ok(-1), "{name}");
                assert_eq!(call(&mut store, instance, "bytes", &[-5, 39]), Ok(-5), "{name}");
                let kept = (0..50).map(|i| if i % 3 == 0 { i } else { 1 }).sum();
                assert_eq!(call(&mut store, instance, "kept", &[50]), Ok(kept), "{name}");
                assert_eq!(call(&mut store, instance, "fixed", &[]), Ok(4 + 2 - 9), "{name}");
            }
        });
    }
}

/// What a large array refers to is not lost: such arrays are not young.
#[test]
fn large_arrays_keep_young_objects() {
    everywhere_with(gc, |name, engine| {
        let (mut store, instance) = instantiate(engine, WORK);
        let kept = (0..20_000).map(|i| if i % 3 == 0 { i } else { 1 }).sum();
        assert_eq!(call(&mut store, instance, "kept", &[20_000]), Ok(kept), "{name}");
    });
}

const TRAPS: &str = r#"(module
    (type $s (struct (field (mut i32)))) (type $a (array (mut i32))) (type $r (array (mut anyref)))
    (type $sub (sub (struct))) (type $subsub (sub $sub (struct (field i32))))
    (data $d "12345678") (elem $e anyref (ref.i31 (i32.const 1)))
    (func (export "get") (result i32) (struct.get $s 0 (ref.null $s)))
    (func (export "set") (struct.set $s 0 (ref.null $s) (i32.const 0)))
    (func (export "aget") (param i32) (result i32) (array.get $a (array.new_default $a (i32.const 3)) (local.get 0)))
    (func (export "aset") (param i32) (array.set $a (array.new_default $a (i32.const 3)) (local.get 0) (i32.const 0)))
    (func (export "anull") (result i32) (array.get $a (ref.null $a) (i32.const 0)))
    (func (export "len") (result i32) (array.len (ref.null $a)))
    (func (export "i31") (result i32) (i31.get_u (ref.null i31)))
    (func (export "fill") (param i32 i32)
        (array.fill $a (array.new_default $a (i32.const 3)) (local.get 0) (i32.const 0) (local.get 1)))
    (func (export "copy") (param i32 i32 i32)
        (array.copy $a $a (array.new_default $a (i32.const 3)) (local.get 0)
            (array.new_default $a (i32.const 4)) (local.get 1) (local.get 2)))
    (func (export "copynull") (array.copy $a $a (ref.null $a) (i32.const 0) (ref.null $a) (i32.const 0) (i32.const 0)))
    (func (export "data") (param i32 i32) (drop (array.new_data $a $d (local.get 0) (local.get 1))))
    (func (export "elem") (param i32 i32) (drop (array.new_elem $r $e (local.get 0) (local.get 1))))
    (func (export "initdata") (param i32 i32 i32)
        (array.init_data $a $d (array.new_default $a (i32.const 3)) (local.get 0) (local.get 1) (local.get 2)))
    (func (export "initelem") (param i32 i32 i32)
        (array.init_elem $r $e (array.new_default $r (i32.const 3)) (local.get 0) (local.get 1) (local.get 2)))
    (func (export "drop") (data.drop $d) (elem.drop $e))
    (func (export "cast") (param i32) (result i32)
        (drop (ref.cast (ref $subsub) (if (result (ref $sub)) (local.get 0)
            (then (struct.new $subsub (i32.const 1))) (else (struct.new $sub)))))
        (i32.const 1))
    (func (export "huge") (param i32) (result i32) (array.len (array.new_default $a (local.get 0)))))"#;

#[test]
fn bad_operands_are_traps_with_their_names() {
    use TrapCode::{
        ArrayOutOfBounds, CastFailure, MemoryOutOfBounds, NullArray, NullI31, NullStructure, TableOutOfBounds,
    };
    everywhere_with(gc, |name, engine| {
        let (mut store, instance) = instantiate(engine, TRAPS);
        for _ in 0..3 {
            for (export, args, expected) in [
                ("get", &[][..], Err(NullStructure)),
                ("set", &[], Err(NullStructure)),
                ("aget", &[2], Ok(0)),
                ("aget", &[3], Err(ArrayOutOfBounds)),
                ("aget", &[-1], Err(ArrayOutOfBounds)),
                ("aset", &[3], Err(ArrayOutOfBounds)),
                ("aset", &[i32::MIN], Err(ArrayOutOfBounds)),
                ("anull", &[], Err(NullArray)),
                ("len", &[], Err(NullArray)),
                ("i31", &[], Err(NullI31)),
                ("fill", &[3, 0], Ok(0)),
                ("fill", &[4, 0], Err(ArrayOutOfBounds)),
                ("fill", &[1, -1], Err(ArrayOutOfBounds)),
                ("copy", &[3, 4, 0], Ok(0)),
                ("copy", &[0, 2, 3], Err(ArrayOutOfBounds)),
                ("copy", &[-1, 0, 2], Err(ArrayOutOfBounds)),
                ("copynull", &[], Err(NullArray)),
                ("data", &[0, 2], Ok(0)),
                ("data", &[1, 2], Err(MemoryOutOfBounds)),
                ("data", &[0, -1], Err(MemoryOutOfBounds)),
                ("elem", &[0, 1], Ok(0)),
                ("elem", &[1, 1], Err(TableOutOfBounds)),
                ("initdata", &[3, 8, 0], Ok(0)),
                ("initdata", &[1, 0, 3], Err(ArrayOutOfBounds)),
                ("initdata", &[0, 5, 1], Err(MemoryOutOfBounds)),
                ("initelem", &[2, 0, 1], Ok(0)),
                ("initelem", &[0, 1, 1], Err(TableOutOfBounds)),
                ("cast", &[1], Ok(1)),
                ("cast", &[0], Err(CastFailure)),
                ("huge", &[-1], Err(TrapCode::HeapExhausted)),
                ("huge", &[1000], Ok(1000)),
            ] {
                assert_eq!(call(&mut store, instance, export, args), expected, "{name}: {export} {args:?}");
            }
        }
        // D1: a dropped segment is empty.
        call(&mut store, instance, "drop", &[]).expect("drop");
        for (export, args, expected) in [
            ("data", &[0, 0][..], Ok(0)),
            ("data", &[0, 1], Err(MemoryOutOfBounds)),
            ("elem", &[0, 0], Ok(0)),
            ("elem", &[0, 1], Err(TableOutOfBounds)),
            ("initdata", &[0, 0, 0], Ok(0)),
            ("initelem", &[0, 0, 1], Err(TableOutOfBounds)),
        ] {
            assert_eq!(call(&mut store, instance, export, args), expected, "{name}: dropped, {export} {args:?}");
        }
    });
}

/// Which of the tests succeed for which value.
const CASTS: &str = r#"(module
    (rec (type $a (sub (struct (field i32)))) (type $b (sub $a (struct (field i32) (field (ref null $b))))))
    (type $c (sub final $b (struct (field i32) (field (ref null $b)) (field i64))))
    (type $d (array i8)) (type $f (sub (func))) (type $g (sub final $f (func)))
    (func $f (type $f)) (func $g (type $g)) (elem declare func $f $g)
    (func $make (param i32) (result anyref)
        (if (i32.eq (local.get 0) (i32.const 1)) (then (return (struct.new $a (i32.const 1)))))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (return (struct.new $b (i32.const 1) (ref.null $b)))))
        (if (i32.eq (local.get 0) (i32.const 3)) (then (return (struct.new_default $c))))
        (if (i32.eq (local.get 0) (i32.const 4)) (then (return (array.new_default $d (i32.const 0)))))
        (if (i32.eq (local.get 0) (i32.const 5)) (then (return (ref.i31 (i32.const 0)))))
        (ref.null any))
    (func (export "tests") (param i32) (result i32) (local $x anyref)
        (local.set $x (call $make (local.get 0)))
        (i32.or (ref.test (ref any) (local.get $x))
        (i32.or (i32.shl (ref.test eqref (local.get $x)) (i32.const 1))
        (i32.or (i32.shl (ref.test (ref i31) (local.get $x)) (i32.const 2))
        (i32.or (i32.shl (ref.test (ref struct) (local.get $x)) (i32.const 3))
        (i32.or (i32.shl (ref.test (ref array) (local.get $x)) (i32.const 4))
        (i32.or (i32.shl (ref.test (ref $a) (local.get $x)) (i32.const 5))
        (i32.or (i32.shl (ref.test (ref null $b) (local.get $x)) (i32.const 6))
        (i32.or (i32.shl (ref.test (ref $c) (local.get $x)) (i32.const 7))
        (i32.or (i32.shl (ref.test (ref $d) (local.get $x)) (i32.const 8))
                (i32.shl (ref.test nullref (local.get $x)) (i32.const 9))))))))))))
    (func (export "branch") (param i32) (result i32)
        (block $is (result (ref $b))
            (br_on_cast $is anyref (ref $b) (call $make (local.get 0)))
            (return (i32.add (ref.is_null) (i32.const 10))))
        (struct.get $b 0))
    (func (export "fail") (param i32) (result i32)
        (block $not (result anyref)
            (br_on_cast_fail $not anyref (ref $d) (call $make (local.get 0)))
            (return (i32.add (array.len) (i32.const 20))))
        (ref.is_null))
    (func (export "funcs") (param i32) (result i32) (local $x funcref)
        (local.set $x (if (result funcref) (local.get 0) (then (ref.func $g)) (else (ref.func $f))))
        (i32.add (ref.test (ref $f) (local.get $x)) (ref.test (ref $g) (local.get $x)))))"#;

#[test]
fn casts_find_the_type_of_a_value() {
    everywhere_with(gc, |name, engine| {
        let (mut store, instance) = instantiate(engine, CASTS);
        for (value, tests, branch, fail) in [
            (0, 0b10_0100_0010, 11, 1),
            (1, 0b00_0010_1011, 10, 0),
            (2, 0b00_0110_1011, 1, 0),
            (3, 0b00_1110_1011, 0, 0),
            (4, 0b01_0001_0011, 10, 20),
            (5, 0b00_0000_0111, 10, 0),
        ] {
            for _ in 0..3 {
                assert_eq!(call(&mut store, instance, "tests", &[value]), Ok(tests), "{name}: {value}");
                assert_eq!(call(&mut store, instance, "branch", &[value]), Ok(branch), "{name}: {value}");
                assert_eq!(call(&mut store, instance, "fail", &[value]), Ok(fail), "{name}: {value}");
            }
        }
        assert_eq!(call(&mut store, instance, "funcs", &[0]), Ok(1), "{name}");
        assert_eq!(call(&mut store, instance, "funcs", &[1]), Ok(2), "{name}");
    });
}

/// Constant expressions make objects while others exist, with a collection before each.
#[test]
fn constant_expressions_make_objects() {
    let wat = r#"(module
        (type $s (struct (field (mut i32)) (field (ref null $s)))) (type $a (array (mut (ref null $s))))
        (global $g (ref $s) (struct.new $s (i32.const 1) (struct.new $s (i32.const 2) (ref.null $s))))
        (global $h (ref $a) (array.new_fixed $a 2 (global.get $g) (struct.new $s (i32.const 3) (global.get $g))))
        (global $i (ref $a) (array.new $a (struct.new_default $s) (i32.add (i32.const 3) (i32.const 4))))
        (global $j i31ref (ref.i31 (i32.const 9)))
        (table $t 3 (ref null $s))
        (elem $e (ref null $s) (struct.new $s (i32.const 4) (global.get $g)) (struct.new $s (i32.const 5) (ref.null $s)))
        (elem (table $t) (i32.const 1) (ref null $s) (global.get $g) (struct.new $s (i32.const 6) (global.get $g)))
        (func $head (param (ref null $s)) (result i32) (struct.get $s 0 (local.get 0)))
        (func (export "sum") (result i32) (local $x (ref $a))
            (local.set $x (array.new_elem $a $e (i32.const 0) (i32.const 2)))
            (i32.add (call $head (global.get $g)) (i32.add (call $head (struct.get $s 1 (global.get $g)))
            (i32.add (call $head (array.get $a (global.get $h) (i32.const 1)))
            (i32.add (call $head (array.get $a (global.get $i) (i32.const 6)))
            (i32.add (i31.get_u (global.get $j)) (i32.add (call $head (table.get $t (i32.const 2)))
            (i32.add (call $head (array.get $a (local.get $x) (i32.const 1)))
                (ref.eq (table.get $t (i32.const 1))
                    (struct.get $s 1 (array.get $a (local.get $x) (i32.const 0)))))))))))))"#;
    for configure in [gc, stressed] {
        everywhere_with(configure, |name, engine| {
            let (mut store, instance) = instantiate(engine, wat);
            for _ in 0..3 {
                assert_eq!(call(&mut store, instance, "sum", &[]), Ok(1 + 2 + 3 + 9 + 6 + 5 + 1), "{name}");
            }
        });
    }
}

#[test]
fn a_constant_expression_that_passes_the_heaps_limit_ends_instantiation() {
    everywhere_with(gc, |name, engine| {
        let wat = "(module (type $a (array i64)) (global (ref $a) (array.new_default $a (i32.const -1))))";
        let module = Module::new(engine, wat).expect(name);
        let mut store = Store::new(engine, ());
        let error = Instance::new(&mut store, &module, &[]).expect_err(name);
        assert_eq!(error.trap().map(Trap::code), Some(TrapCode::HeapExhausted), "{name}: {error}");
    });
}

/// Both tiers charge the same for what objects cost.
#[test]
fn objects_cost_the_same_on_every_engine() {
    let costs = std::cell::RefCell::new(Vec::new());
    let configure = |config: &mut Config| {
        gc(config);
        config.consume_fuel(true);
    };
    everywhere_with(configure, |name, engine| {
        let (mut store, instance) = instantiate(engine, WORK);
        store.set_fuel(1 << 40).expect(name);
        for export in [("sum", &[100][..]), ("packed", &[3]), ("bytes", &[1, 2]), ("kept", &[30]), ("fixed", &[])] {
            call(&mut store, instance, export.0, export.1).expect(name);
        }
        let mut short = Store::new(engine, ());
        let module = Module::new(engine, TRAPS).expect(name);
        let instance = Linker::new(engine).instantiate(&mut short, &module).expect(name);
        short.set_fuel(1000).expect(name);
        assert_eq!(call(&mut short, instance, "huge", &[1 << 20]), Err(TrapCode::OutOfFuel), "{name}");
        costs.borrow_mut().push((name.to_owned(), store.get_fuel().expect("fuel is on")));
    });
    let costs = costs.into_inner();
    assert!(costs.windows(2).all(|pair| pair[0].1 == pair[1].1), "{costs:?}");
}

/// T13: every kind of import is checked against its type, with subtyping in the right direction only.
#[test]
fn t13_imports_are_matched_by_subtyping() {
    const TYPES: &str = "(type $a (sub (struct (field i32)))) (type $b (sub $a (struct (field i32) (field i64))))
        (type $f (sub (func (result (ref null $a))))) (type $g (sub final $f (func (result (ref null $b)))))
        (type $h (func (result (ref null $a))))";
    let exporter = format!(
        r#"(module {TYPES}
            (func (export "f") (type $f) (ref.null $a)) (func (export "g") (type $g) (ref.null $b))
            (global (export "ca") (ref null $a) (ref.null $a)) (global (export "cb") (ref null $b) (ref.null $b))
            (global (export "va") (mut (ref null $a)) (ref.null $a)) (global (export "vb") (mut (ref null $b)) (ref.null $b))
            (table (export "ta") 1 (ref null $a)) (table (export "tb") 1 (ref null $b))
            (memory (export "m") 1))"#
    );
    everywhere_with(gc, |name, engine| {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        let module = Module::new(engine, &exporter).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        linker.instance(&mut store, "e", instance).expect(name);
        let kinds = ["f", "g", "ca", "cb", "va", "vb", "ta", "tb", "m"];
        let wants = [
            ("(func (type $f))", &["f", "g"][..]),
            ("(func (type $g))", &["g"]),
            ("(func (type $h))", &[]),
            ("(global (ref null $a))", &["ca", "cb"]),
            ("(global (ref null $b))", &["cb"]),
            ("(global anyref)", &["ca", "cb"]),
            ("(global (ref null struct))", &["ca", "cb"]),
            ("(global (ref $a))", &[]),
            ("(global (mut (ref null $a)))", &["va"]),
            ("(global (mut (ref null $b)))", &["vb"]),
            ("(global (mut anyref))", &[]),
            ("(table 1 (ref null $a))", &["ta"]),
            ("(table 1 (ref null $b))", &["tb"]),
            ("(table 1 anyref)", &[]),
            ("(memory 1)", &["m"]),
        ];
        for (want, fits) in wants {
            for kind in kinds {
                let wat = format!(r#"(module {TYPES} (import "e" "{kind}" {want}))"#);
                let module = Module::new(engine, &wat).expect(name);
                let result = linker.instantiate(&mut store, &module);
                assert_eq!(result.is_ok(), fits.contains(&kind), "{name}: {kind} as {want}");
                if let Err(error) = result {
                    assert_eq!(error.kind(), ErrorKind::Link, "{name}: {error}");
                }
            }
        }
    });
}

/// T2: a type that came from one engine is an error with another, whatever it is used for.
#[test]
fn t2_types_of_another_engine_are_errors() {
    everywhere_with(gc, |name, engine| {
        let mut config = Config::new();
        gc(&mut config);
        let other = Engine::new(&config).expect(name);
        let wat = r#"(module (type $s (struct)) (global (export "g") (ref null $s) (ref.null $s)))"#;
        let module = Module::new(&other, wat).expect(name);
        Module::new(engine, wat).expect(name);
        let export = module.exports().next().expect(name);
        let &ExternType::Global(GlobalType { content, .. }) = export.ty() else { panic!("{name}") };
        let mut store = Store::new(engine, ());
        let ValType::Ref(element) = content else { panic!("{name}") };
        let null = Val::default_for(content);
        let ty = FuncType::new([content], []);
        let limits = Limits64 { min: 1, max: None };
        let errors = [
            Global::new(&mut store, GlobalType { content, mutable: true }, null).err(),
            Table::new(&mut store, TableType { element, limits, table64: false }, null).err(),
            Linker::<()>::new(engine).func_new("m", "f", ty.clone(), |_, _, _| Ok(())).err(),
            engine.is_subtype(content, ValType::ANYREF).err(),
            null.matches_ty(&store, content).err(),
        ];
        for error in errors {
            let error = error.expect(name);
            assert!(
                error.kind() == ErrorKind::Usage && error.to_string().contains("another engine"),
                "{name}: {error}"
            );
        }
        assert!(other.is_subtype(content, ValType::ANYREF).expect(name), "{name}");
        Func::new(Store::new(&other, ()), ty, |_, _, _| Ok(()));
    });
}

/// T14: places that nobody wrote are null, whatever type of reference they hold.
#[test]
fn t14_references_begin_as_null() {
    let wat = r#"(module (type $s (struct (field (mut funcref)) (field (mut externref)) (field (mut (ref null $s)))))
        (type $a (array (mut funcref))) (type $b (array (mut (ref null $s)))) (type $f (func)) (func $f0)
        (table $t 2 (ref null $f)) (table $u 2 (ref null $s)) (table $v 2 i31ref)
        (func (export "nulls") (result i32) (local funcref (ref null $f) (ref null $s) i31ref) (local $s (ref null $s))
            (local.set $s (struct.new_default $s))
            (i32.add (ref.is_null (local.get 0)) (i32.add (ref.is_null (local.get 1)) (i32.add (ref.is_null (local.get 2))
            (i32.add (ref.is_null (local.get 3)) (i32.add (ref.is_null (struct.get $s 0 (local.get $s)))
            (i32.add (ref.is_null (struct.get $s 1 (local.get $s))) (i32.add (ref.is_null (struct.get $s 2 (local.get $s)))
            (i32.add (ref.is_null (array.get $a (array.new_default $a (i32.const 2)) (i32.const 1)))
            (i32.add (ref.is_null (array.get $b (array.new_default $b (i32.const 9)) (i32.const 8)))
            (i32.add (ref.is_null (table.get $t (i32.const 1))) (i32.add (ref.is_null (table.get $u (i32.const 1)))
                (ref.is_null (table.get $v (i32.const 0))))))))))))))))"#;
    for configure in [gc, stressed] {
        everywhere_with(configure, |name, engine| {
            let (mut store, instance) = instantiate(engine, wat);
            for _ in 0..3 {
                assert_eq!(call(&mut store, instance, "nulls", &[]), Ok(12), "{name}");
            }
        });
    }
}

/// Type sections that are made to cost: bounded time, and a clear answer.
#[test]
fn type_section_bombs_are_refused_or_handled() {
    let mut config = Config::new();
    gc(&mut config);
    let engine = Engine::new(&config).expect("engine");
    let start = std::time::Instant::now();
    let many = format!("(module {})", "(type (func))".repeat(100_001));
    let error = Module::new(&engine, many).expect_err("too many types");
    assert!(error.kind() == ErrorKind::Limit && error.to_string().contains("types"), "{error}");
    let in_group = format!("(module (rec {}))", "(type (struct))".repeat(100_001));
    let error = Module::new(&engine, in_group).expect_err("too many types in a group");
    assert!(error.kind() == ErrorKind::Limit && error.to_string().contains("types"), "{error}");
    // A group as large as the limit in which each type names the next one.
    let mut group = "(module (rec ".to_owned();
    for n in 0..20_000 {
        group += &format!("(type (struct (field (ref null {}))))", (n + 1) % 20_000);
    }
    let first = Module::new(&engine, group.clone() + "))").expect("a large group");
    assert_eq!(first.validated().types().len(), 20_000);
    Module::new(&engine, group + "))").expect("the same group");
    // A chain of supertypes as deep as is allowed, and one step more.
    for (depth, is_valid) in [(63, true), (64, false)] {
        let mut chain = "(module (type (sub (struct)))".to_owned();
        for n in 0..depth {
            chain += &format!("(type (sub {n} (struct)))");
        }
        assert_eq!(Module::new(&engine, chain + ")").is_ok(), is_valid, "{depth}");
    }
    let fields = format!("(module (type (struct {})))", "(field i8)".repeat(10_001));
    assert!(Module::new(&engine, fields).is_err(), "too many fields");
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// C10: a function of instructions that come to many values each is not given to the compiler beyond what it can number.
#[test]
fn c10_functions_of_many_casts_stay_interpreted() {
    let mut config = Config::new();
    gc(&mut config);
    config.strategy(aura_runtime::Strategy::Jit);
    let engine = Engine::new(&config).expect("engine");
    let mut types = "(type $t0 (sub (struct)))".to_owned();
    for n in 1..10 {
        types += &format!("(type $t{n} (sub $t{} (struct)))", n - 1);
    }
    let casts = "(local.set 0 (ref.cast (ref null $t9) (local.get 0)))".repeat(250_000);
    let wat = format!(r#"(module {types} (func (export "f") (result i32) (local structref) {casts} (i32.const 7)))"#);
    let module = Module::new(&engine, &wat).expect("module");
    let refusal = aura_runtime::inspect::clif_text(&module, 0).expect_err("too large");
    assert!(
        refusal.to_string().contains("too large to compile") && refusal.to_string().contains("values"),
        "{refusal}"
    );
    let (mut store, instance) = instantiate(&engine, &wat);
    assert_eq!(call(&mut store, instance, "f", &[]), Ok(7));
}

/// Two modules whose types are equal share functions and objects; one whose types only look alike does not.
#[test]
fn types_are_equal_across_modules_by_their_groups() {
    const PAIR: &str =
        "(rec (type $l (struct (field i32) (field (ref null $m)))) (type $m (struct (field (ref null $l)))))";
    everywhere_with(gc, |name, engine| {
        let mut store = Store::new(engine, ());
        store.set_limits(StoreLimits { gc_heap_bytes: 1 << 20, ..StoreLimits::default() });
        let mut linker = Linker::new(engine);
        let maker = format!(
            r#"(module {PAIR} (func (export "make") (param i32) (result (ref $l)) (struct.new $l (local.get 0) (ref.null $m))))"#
        );
        let module = Module::new(engine, maker).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        linker.instance(&mut store, "maker", instance).expect(name);
        let user = |pair: &str| {
            format!(
                r#"(module (type (func)) {pair} (import "maker" "make" (func $make (param i32) (result (ref $l))))
                (table 1 funcref) (elem (i32.const 0) func $make)
                (func (export "use") (param i32) (result i32) (struct.get $l 0
                    (call_indirect (param i32) (result (ref $l)) (local.get 0) (i32.const 0)))))"#
            )
        };
        let module = Module::new(engine, user(PAIR)).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        for n in 0..5_000 {
            assert_eq!(call(&mut store, instance, "use", &[n]), Ok(n), "{name}");
        }
        let alike =
            "(rec (type $m (struct (field (ref null $l)))) (type $l (struct (field i32) (field (ref null $m)))))";
        let module = Module::new(engine, user(alike)).expect(name);
        assert_eq!(linker.instantiate(&mut store, &module).expect_err(name).kind(), ErrorKind::Link, "{name}");
    });
}
