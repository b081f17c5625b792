//! Objects that move while guests and the host refer to them: every place where a reference may lie, on every engine.

mod common;

use aura_runtime::{
    AnyRef, ArrayRef, ArrayType, AsContextMut, Caller, Engine, EqRef, ErrorKind, ExternRef, FieldType, HeapType,
    I31Ref, Instance, Linker, Module, RootScope, Rooted, StorageType, Store, StoreLimits, StructRef, StructType, Val,
    ValType,
};
use common::everywhere_with;

/// A number, a reference, a byte, all mutable; a second number that is not.
fn record(engine: &Engine) -> HeapType {
    let field = |ty, mutable| FieldType { storage: ty, mutable };
    let any = StorageType::Val(ValType::ANYREF);
    let fields = [
        field(StorageType::Val(ValType::I32), true),
        field(any, true),
        field(StorageType::I8, true),
        field(StorageType::Val(ValType::I64), false),
    ];
    engine.define_struct(StructType::new(fields)).expect("a type of no engine")
}

fn make(store: impl AsContextMut, ty: HeapType, value: i32) -> Rooted<StructRef> {
    let fields = [Val::I32(value), Val::AnyRef(None), Val::I32(0x1ff), Val::I64(-1)];
    Rooted::<StructRef>::new(store, ty, &fields).expect("room")
}

fn value(store: impl AsContextMut, reference: ExternRef) -> i32 {
    let object = reference.to_any().as_struct(&store).expect("in scope").expect("a structure");
    match object.field(&store, 0).expect("a field") {
        Val::I32(value) => value,
        other => panic!("an i32, found {other:?}"),
    }
}

/// A store whose guests can make, read and move objects: `h.make`, `h.value`, `h.gc`.
fn instance(engine: &Engine, wat: &str) -> (Store<HeapType>, Instance) {
    let mut store = Store::new(engine, record(engine));
    let mut linker = Linker::new(engine);
    let functions = "host functions have free names";
    linker
        .func_wrap("h", "make", |mut caller: Caller<'_, HeapType>, number: i32| {
            let ty = *caller.data();
            // Garbage around it, so that collections move it.
            make(&mut caller, ty, -1);
            Some(make(&mut caller, ty, number).to_any().to_extern())
        })
        .expect(functions);
    linker
        .func_wrap("h", "value", |mut caller: Caller<'_, HeapType>, object: Option<ExternRef>| {
            object.map_or(-1, |object| value(&mut caller, object))
        })
        .expect(functions);
    linker.func_wrap("h", "gc", |mut caller: Caller<'_, HeapType>| caller.as_context_mut().gc()).expect(functions);
    let module = Module::new(engine, wat).unwrap_or_else(|error| panic!("{error}"));
    let instance = linker.instantiate(&mut store, &module).expect("links");
    (store, instance)
}

fn everywhere(test: impl Fn(&str, &Engine)) {
    for stress in [false, true] {
        everywhere_with(
            |config| {
                config.gc_stress(stress);
            },
            &test,
        );
    }
}

const IMPORTS: &str = r#"
    (import "h" "make" (func $make (param i32) (result externref)))
    (import "h" "value" (func $value (param externref) (result i32)))
    (import "h" "gc" (func $gc))"#;

/// Functions become hot in the middle of the recursion, so that frames of both tiers stand above each other.
#[test]
fn references_in_frames_at_any_depth_survive() {
    let wat = format!(
        r#"(module {IMPORTS}
        (func $sum (export "sum") (param $n i32) (param $r externref) (result i32)
            (local $x externref) (local $t i32)
            (local.set $x (call $make (local.get $n)))
            (call $gc)
            (if (i32.eqz (local.get $n))
                (then (return (i32.add (call $value (local.get $x)) (call $value (local.get $r))))))
            (local.set $t (call $twin (i32.sub (local.get $n) (i32.const 1)) (local.get $x)))
            (call $gc)
            (i32.add (local.get $t) (i32.add (call $value (local.get $x)) (i32.mul (i32.const 3) (call $value (local.get $r))))))
        (func $twin (export "twin") (param $n i32) (param $r externref) (result i32)
            (local $x externref)
            (local.set $x (local.get $r))
            (local.set $r (call $make (i32.const 1000)))
            (i32.add (call $sum (local.get $n) (local.get $x)) (call $value (local.get $r)))))"#
    );
    fn expected(n: i32, r: i32) -> i32 {
        if n == 0 { r } else { expected(n - 1, n) + 1000 + n + 3 * r }
    }
    everywhere(|name, engine| {
        let (mut store, instance) = instance(engine, &wat);
        let sum = instance.get_typed_func::<(i32, Option<ExternRef>), i32>(&store, "sum").expect(name);
        for n in [0, 1, 5, 30] {
            let mut scope = RootScope::new(&mut store);
            let ty = record(engine);
            let first = make(&mut scope, ty, 77).to_any().to_extern();
            assert_eq!(sum.call(&mut scope, (n, Some(first))).expect(name), expected(n, 77), "{name} {n}");
        }
    });
}

/// Operands between calls, values that a loop carries and swaps, more results than registers hold.
#[test]
fn references_on_the_operand_stack_survive() {
    let many = "externref ".repeat(12);
    let makes: String = (0..12).map(|n| format!("(call $make (i32.const {n}))")).collect();
    let checks = "(call $gc) (local.set $v) (local.set $t (i32.add (i32.mul (local.get $t) (i32.const 3)) (call $value (local.get $v))))".repeat(12);
    let wat = format!(
        r#"(module {IMPORTS}
        (func $many (result {many}) {makes} (call $gc))
        (func (export "many") (result i32) (local $v externref) (local $t i32)
            (call $many) {checks} (local.get $t))
        (func (export "swap") (param $n i32) (result i32) (local $a externref) (local $b externref) (local $c externref)
            (local.set $a (call $make (i32.const 1)))
            (local.set $b (call $make (i32.const 2)))
            (loop $again
                (local.set $c (local.get $a))
                (local.set $a (local.get $b))
                (local.set $b (local.get $c))
                (if (i32.and (local.get $n) (i32.const 3)) (then (call $gc)) (else (drop (call $make (i32.const 9)))))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (i32.add (i32.mul (i32.const 10) (call $value (local.get $a))) (call $value (local.get $b))))
        (func (export "select") (param $n i32) (result i32)
            (call $value (select (result externref) (call $make (i32.const 1)) (call $make (i32.const 2))
                (block (result i32) (call $gc) (local.get $n))))))"#
    );
    everywhere(|name, engine| {
        let (mut store, instance) = instance(engine, &wat);
        let many = instance.get_typed_func::<(), i32>(&store, "many").expect(name);
        let swap = instance.get_typed_func::<i32, i32>(&store, "swap").expect(name);
        let select = instance.get_typed_func::<i32, i32>(&store, "select").expect(name);
        let all = (0..12).rev().fold(0_i32, |t, n| t * 3 + n);
        for _ in 0..4 {
            assert_eq!(many.call(&mut store, ()).expect(name), all, "{name}");
            assert_eq!(swap.call(&mut store, 20).expect(name), 12, "{name}");
            assert_eq!(swap.call(&mut store, 21).expect(name), 21, "{name}");
            assert_eq!(select.call(&mut store, 0).expect(name), 2, "{name}");
            assert_eq!(select.call(&mut store, 1).expect(name), 1, "{name}");
        }
    });
}

#[test]
fn references_in_globals_and_tables_survive() {
    let wat = format!(
        r#"(module {IMPORTS}
        (global $g (export "g") (mut externref) (ref.null extern))
        (table $t (export "t") 4 externref)
        (func (export "fill")
            (global.set $g (call $make (i32.const 5)))
            (call $gc)
            (table.set $t (i32.const 1) (global.get $g))
            (table.set $t (i32.const 2) (call $make (i32.const 6)))
            (drop (table.grow $t (call $make (i32.const 7)) (i32.const 100)))
            (call $gc))
        (func (export "read") (result i32)
            (call $gc)
            (i32.add (call $value (table.get $t (i32.const 103)))
                (i32.add (call $value (table.get $t (i32.const 2)))
                    (i32.mul (call $value (global.get $g)) (call $value (table.get $t (i32.const 1))))))))"#
    );
    everywhere(|name, engine| {
        let (mut store, instance) = instance(engine, &wat);
        instance.get_typed_func::<(), ()>(&store, "fill").expect(name).call(&mut store, ()).expect(name);
        let read = instance.get_typed_func::<(), i32>(&store, "read").expect(name);
        for _ in 0..3 {
            assert_eq!(read.call(&mut store, ()).expect(name), 7 + 6 + 25, "{name}");
            store.gc().expect("memory");
        }
        let global = instance.get_global(&store, "g").expect("exported").get(&store);
        let Val::ExternRef(Some(global)) = global else { panic!("a reference, found {global:?}") };
        store.gc().expect("memory");
        assert_eq!(value(&mut store, global), 5);
        let table = instance.get_table(&store, "t").expect("exported");
        table.set(&mut store, 0, Val::ExternRef(Some(global))).expect("its type");
        store.gc().expect("memory");
        let Some(Val::ExternRef(Some(first))) = table.get(&store, 0) else { panic!("an element") };
        assert!(first.to_any().ref_eq(&store, &global.to_any()).expect("in scope"));
    });
}

#[test]
fn handles_end_with_their_scope_and_work_with_their_store_only() {
    let engine = Engine::default();
    let ty = record(&engine);
    let (mut store, mut other) = (Store::new(&engine, ()), Store::new(&engine, ()));
    let outer = make(&mut store, ty, 1);
    let (inner, owned, host) = {
        let mut scope = RootScope::new(&mut store);
        let inner = make(&mut scope, ty, 2);
        let owned = inner.to_owned_rooted(&mut scope).expect("in scope");
        let host = ExternRef::new(&mut scope, "host").expect("room");
        assert_eq!(host.data(&scope).expect("in scope").downcast_ref::<&str>(), Some(&"host"));
        (inner, owned, host)
    };
    store.gc().expect("memory");
    // A new handle takes the place of an old one, and is not it.
    let mut scope = RootScope::new(&mut store);
    let third = make(&mut scope, ty, 3);
    for ended in [inner.field(&scope, 0).err(), host.data(&scope).err(), third.ref_eq(&scope, &inner).err()] {
        assert!(ended.expect("ended").to_string().contains("scope"), "a scope has ended");
    }
    assert!(inner.set_field(&mut scope, 0, Val::I32(9)).is_err());
    assert!(Rooted::<StructRef>::new(&mut scope, ty, &[Val::I32(0), inner.into(), Val::I32(0), Val::I64(0)]).is_err());
    let again = owned.to_rooted(&mut scope).expect("kept");
    assert!(matches!(again.field(&scope, 0), Ok(Val::I32(2))));
    assert!(matches!(outer.field(&scope, 0), Ok(Val::I32(1))));
    drop(scope);
    for foreign in [outer.field(&other, 0).err(), owned.to_rooted(&mut other).err(), host.data(&other).err()] {
        assert!(foreign.expect("foreign").to_string().contains("store"), "of another store");
    }
    let theirs = make(&mut other, ty, 4);
    assert!(theirs.set_field(&mut other, 1, outer.into()).is_err());
    assert!(outer.set_field(&mut store, 1, theirs.into()).is_err());
    drop(owned);
    store.gc().expect("memory");
    assert!(store.gc_heap_used() < 100, "only what the store's own scope holds is left");
}

#[test]
fn objects_of_the_host_have_types_fields_and_elements() {
    let engine = Engine::default();
    let ty = record(&engine);
    let element = FieldType { storage: StorageType::I16, mutable: true };
    let shorts = engine.define_array(ArrayType { element }).expect("a type of no engine");
    let element = FieldType { storage: StorageType::Val(ValType::ANYREF), mutable: true };
    let list = engine.define_array(ArrayType { element }).expect("a type of no engine");
    let mut store = Store::new(&engine, ());
    let object = make(&mut store, ty, 8);
    assert!(matches!(
        object.fields(&store).expect("fields")[..],
        [Val::I32(8), Val::AnyRef(None), Val::I32(0xff), Val::I64(-1)]
    ));
    let number = Rooted::<I31Ref>::wrapping(&store, u32::MAX);
    object.set_field(&mut store, 1, number.into()).expect("an anyref");
    let Val::AnyRef(Some(number)) = object.field(&store, 1).expect("a field") else { panic!("a reference") };
    let number = number.as_i31(&store).expect("in scope").expect("an i31");
    assert_eq!((number.get_i32(&store).expect("here"), number.get_u32(&store).expect("here")), (-1, 0x7fff_ffff));
    let array = Rooted::<ArrayRef>::new(&mut store, shorts, Val::I32(-1), 100_000).expect("room");
    array.set(&mut store, 99_999, Val::I32(0x12_3456)).expect("inside");
    assert_eq!(array.len(&store).expect("here"), 100_000);
    assert!(matches!(array.get(&store, 99_999), Ok(Val::I32(0x3456))));
    assert!(matches!(array.get(&store, 0), Ok(Val::I32(0xffff))));
    let both = Rooted::<ArrayRef>::new_fixed(&mut store, list, &[object.into(), array.into(), Val::AnyRef(None)]);
    let both = both.expect("room");
    store.gc().expect("memory");
    let Val::AnyRef(Some(found)) = both.get(&store, 1).expect("inside") else { panic!("a reference") };
    assert!(found.ref_eq(&store, &array).expect("here") && found.as_struct(&store).expect("here").is_none());
    assert!(found.downcast::<EqRef>(&store).expect("here").is_some());
    assert_eq!(found.ty(&store).expect("here"), shorts);
    assert_eq!(ExternRef::new(&mut store, 1).expect("room").to_any().ty(&store).expect("here"), HeapType::Any);

    let usage = |result: aura_runtime::Result<()>| assert_eq!(result.expect_err("refused").kind(), ErrorKind::Usage);
    usage(object.set_field(&mut store, 3, Val::I64(0)));
    usage(object.set_field(&mut store, 4, Val::I64(0)));
    usage(object.set_field(&mut store, 0, Val::I64(0)));
    usage(array.set(&mut store, 100_000, Val::I32(0)));
    usage(both.get(&store, 3).map(drop));
    usage(Rooted::<StructRef>::new(&mut store, ty, &[]).map(drop));
    usage(Rooted::<StructRef>::new(&mut store, shorts, &[]).map(drop));
    usage(Rooted::<StructRef>::new(&mut store, HeapType::Struct, &[]).map(drop));
    let foreign = record(&Engine::default());
    usage(Rooted::<StructRef>::new(&mut store, foreign, &[Val::I32(0); 4]).map(drop));
}

#[test]
fn a_full_heap_is_an_error_for_the_host_too() {
    let engine = Engine::default();
    let element = FieldType { storage: StorageType::Val(ValType::I64), mutable: true };
    let longs = engine.define_array(ArrayType { element }).expect("a type of no engine");
    let mut store = Store::new(&engine, ());
    store.set_limits(StoreLimits { gc_heap_bytes: 1 << 20, ..StoreLimits::default() });
    for length in [1 << 17, 1 << 30, u32::MAX] {
        let mut scope = RootScope::new(&mut store);
        let made = Rooted::<ArrayRef>::new_fixed(&mut scope, longs, &[])
            .and_then(|_| Rooted::<ArrayRef>::new_zeroed(&mut scope, longs, length));
        let error = made.expect_err("too large");
        assert_eq!(error.trap().map(aura_runtime::Trap::code), Some(aura_runtime::TrapCode::HeapExhausted));
    }
    let all: Vec<_> = (0..20).map_while(|_| Rooted::<ArrayRef>::new_zeroed(&mut store, longs, 10_000).ok()).collect();
    assert!((5..13).contains(&all.len()), "{} arrays of 80 KB in 1 MiB", all.len());
}

/// References to values of the host that nobody holds any more make room for others.
#[test]
fn values_of_the_host_are_reclaimed() {
    let wat = r#"(module (import "h" "new" (func $new (result externref))) (global $kept (mut externref) (ref.null extern))
        (func (export "run") (param i32)
            (global.set $kept (call $new))
            (loop $again (drop (call $new)) (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "kept") (result externref) (global.get $kept)))"#;
    everywhere(|name, engine| {
        let mut store = Store::new(engine, 0);
        store.set_limits(StoreLimits { extern_refs: 100, ..StoreLimits::default() });
        let mut linker = Linker::new(engine);
        let new = |mut caller: Caller<'_, u32>| {
            *caller.data_mut() += 1;
            let number = *caller.data();
            ExternRef::new(&mut caller, number).map(Some)
        };
        linker.func_wrap("h", "new", new).expect(name);
        let module = Module::new(engine, wat).expect(name);
        let instance = linker.instantiate(&mut store, &module).expect(name);
        instance.get_typed_func::<i32, ()>(&store, "run").expect(name).call(&mut store, 5000).expect(name);
        let kept = instance.get_typed_func::<(), Option<ExternRef>>(&store, "kept").expect(name);
        let kept = kept.call(&mut store, ()).expect(name).expect("a reference");
        assert_eq!(kept.data(&store).expect(name).downcast_ref::<u32>(), Some(&1), "{name}");
        let any: Rooted<AnyRef> = kept.to_any();
        assert!(any.to_extern().data(&store).is_ok());
    });
}

/// Calls that the host makes again and again leave for the host with references in their frames, and end: a collection afterwards
/// looks at none of them, whatever lies there by then.
#[test]
fn frames_of_calls_that_ended_are_no_roots() {
    let wat = format!(
        r#"(module {IMPORTS}
            (func (export "hold") (param i32) (result i32) (local $object externref)
                (local.set $object (call $make (local.get 0)))
                (call $gc)
                (call $value (local.get $object))))"#
    );
    everywhere(|name, engine| {
        let (mut store, instance) = instance(engine, &wat);
        let hold = instance.get_typed_func::<i32, i32>(&store, "hold").expect(name);
        for round in 0..6 {
            assert_eq!(hold.call(&mut store, round).expect(name), round, "{name}");
            assert_eq!(overwrite(64), 64, "{name}");
            store.gc().expect(name);
        }
        // What is left lives in a handle, and nowhere else.
        let ty = *store.data();
        let kept = make(&mut store, ty, 77).to_any().to_extern();
        assert_eq!(hold.call(&mut store, 5).expect(name), 5, "{name}");
        assert_eq!(overwrite(64), 64, "{name}");
        store.gc().expect(name);
        assert_eq!(value(&mut store, kept), 77, "{name}");
    });
}

/// Writes over the stack below the caller.
#[inline(never)]
fn overwrite(depth: usize) -> usize {
    let words = std::hint::black_box([usize::MAX - depth; 64]);
    let deeper = if depth == 0 { 0 } else { 1 + overwrite(depth - 1) };
    assert_eq!(std::hint::black_box(words)[63], usize::MAX - depth);
    deeper
}
