//! Images: instances that are made from slots and go back without a trace, on every tier and bounds mode.

mod common;

use std::time::Duration;

use aura_runtime::{
    AsContextMut, Caller, Engine, ErrorKind, Extern, GrantSpec, Image, ImageConfig, Linker, Module, Subject, Terms,
    TrapCode, Val,
};
use common::everywhere;

/// A bit of everything that can be changed, and functions that change it or sum it up.
const STATE: &str = r#"(module
    (memory (export "memory") 2 8)
    (table $t (export "table") 4 20 funcref)
    (global $g (export "global") (mut i64) (i64.const 7))
    (global $v (mut v128) (v128.const i64x2 1 2))
    (data (i32.const 8) "hello")
    (data $passive "passive")
    (elem (table $t) (i32.const 1) func $one)
    (elem $later func $one $two)
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func (export "spoil") (param $at i32) (param $value i32)
        (i32.store (local.get $at) (local.get $value))
        (i64.store (i32.const 70000) (i64.const 0x5a5a5a5a5a5a5a5a))
        (memory.fill (i32.const 20000) (i32.const 0x5a) (i32.const 9000))
        (drop (memory.grow (i32.const 3)))
        (i64.store (i32.const 200000) (i64.const 0x5a5a5a5a5a5a5a5a))
        (global.set $g (i64.const 0x5a5a5a5a5a5a5a5a))
        (global.set $v (v128.const i64x2 3 4))
        (table.set $t (i32.const 0) (ref.func $two))
        (drop (table.grow $t (ref.func $two) (i32.const 5)))
        (memory.init $passive (i32.const 100) (i32.const 0) (i32.const 7))
        (data.drop $passive)
        (elem.drop $later))
    (func (export "trap") (unreachable))
    (func (export "spin") (loop $l (br $l)))
    (func (export "word") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "pages") (result i32) (memory.size))
    (func (export "late") (result i32)
        (memory.init $passive (i32.const 300) (i32.const 0) (i32.const 7))
        (table.init $t $later (i32.const 2) (i32.const 0) (i32.const 2))
        (i32.add (call_indirect $t (result i32) (i32.const 2)) (call_indirect $t (result i32) (i32.const 3)))))"#;

fn image(engine: &Engine, text: &str) -> Image<()> {
    let module = Module::new(engine, text).expect("valid");
    Image::new(&Linker::new(engine), &module, &ImageConfig::new()).expect("an image")
}

/// All that the host can see of an instance.
fn seen(mut instance: impl AsContextMut<Data = ()>, handle: aura_runtime::Instance) -> (Vec<u8>, u64, String, usize) {
    let memory = handle.get_memory(&instance, "memory").expect("memory");
    let table = handle.get_table(&instance, "table").expect("table");
    let global = handle.get_global(&instance, "global").expect("global");
    let mut bytes = vec![0; memory.data_size(&instance)];
    memory.read(&instance, 0, &mut bytes).expect("inside");
    let nulls = (0..table.size(&instance))
        .filter(|&at| matches!(table.get(&mut instance, at), Some(Val::FuncRef(None))))
        .count();
    (bytes, table.size(&instance), format!("{:?}", global.get(&mut instance)), nulls)
}

#[test]
fn l1_every_instance_begins_as_the_first() {
    everywhere(|name, engine| {
        let image = image(engine, STATE);
        let spoil = image.typed_func::<(i32, i32), ()>("spoil").expect(name);
        let late = image.typed_func::<(), i32>("late").expect(name);
        let trap = image.typed_func::<(), ()>("trap").expect(name);
        let mut first = image.instantiate(()).expect(name);
        let handle = first.instance();
        let expected = seen(&mut first, handle);
        assert_eq!(&expected.0[8..13], b"hello");
        drop(first);
        for round in 0..300_i32 {
            let mut instance = image.instantiate(()).expect(name);
            let handle = instance.instance();
            assert!(seen(&mut instance, handle) == expected, "{name} {round}");
            if round % 3 == 0 {
                assert_eq!(instance.call(&late, ()).expect(name), 3, "{name} {round}");
            }
            if round % 5 != 4 {
                instance.call(&spoil, ((round * 4093) % 131_000, round)).expect(name);
            }
            if round % 7 == 6 {
                assert!(instance.call(&trap, ()).is_err());
            }
            if round % 11 == 3 {
                let memory = handle.get_memory(&instance, "memory").expect("memory");
                memory.write(&mut instance, 65_000, &[0x5a; 3000]).expect("inside");
            }
            if round % 50 == 17 {
                let memory = handle.get_memory(&instance, "memory").expect("memory");
                memory.data_mut(&mut instance).fill(0x5a);
            }
            if round % 40 == 5 {
                instance.gc().expect("room");
            }
        }
        assert!(image.slots() >= 1, "{name}");
    });
}

#[test]
fn l2_growth_and_its_permissions_are_taken_back() {
    everywhere(|name, engine| {
        let text = r#"(module (memory (export "memory") 1 4)
            (func (export "grow") (result i32) (memory.grow (i32.const 2)))
            (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
            (func (export "store") (param i32) (i32.store (local.get 0) (i32.const -1))))"#;
        let image = image(engine, text);
        let (grow, load) =
            (image.typed_func::<(), i32>("grow").expect(name), image.typed_func::<i32, i32>("load").expect(name));
        let store = image.typed_func::<i32, ()>("store").expect(name);
        for _ in 0..5 {
            let mut instance = image.instantiate(()).expect(name);
            for at in [65_533, 65_536, 100_000, 196_604] {
                for error in [instance.call(&load, at).map(drop), instance.call(&store, at)] {
                    let error = error.expect_err(name);
                    assert_eq!(
                        error.trap().map(aura_runtime::Trap::code),
                        Some(TrapCode::MemoryOutOfBounds),
                        "{name} {at}"
                    );
                }
            }
            assert_eq!(instance.call(&grow, ()).expect(name), 1, "{name}");
            assert_eq!(instance.call(&load, 100_000).expect(name), 0, "{name}: grown memory is zero");
            instance.call(&store, 100_000).expect(name);
            instance.call(&store, 196_604).expect(name);
        }
    });
}

#[test]
fn l5_fuel_deadlines_interrupts_and_handles_end_with_the_instance() {
    for strategy in [aura_runtime::Strategy::Interpreter, aura_runtime::Strategy::Jit] {
        let mut config = aura_runtime::Config::new();
        let engine = Engine::new(config.strategy(strategy).consume_fuel(true)).expect("an engine");
        let module = Module::new(&engine, STATE).expect("valid");
        let image =
            Image::<()>::new(&Linker::new(&engine), &module, ImageConfig::new().fuel(10_000)).expect("an image");
        let (spin, word) =
            (image.typed_func::<(), ()>("spin").expect("spin"), image.typed_func::<i32, i32>("word").expect("word"));
        let mut kept = None;
        for round in 0..20 {
            let mut instance = image.instantiate(()).expect("a slot");
            assert_eq!(instance.get_fuel().expect("fuel is on"), 10_000, "{round}");
            if let Some((func, memory, handle)) = &kept {
                let func: &aura_runtime::TypedFunc<i32, i32> = func;
                let memory: &aura_runtime::Memory = memory;
                assert_eq!(func.call(&mut *instance, 0).expect_err("stale").kind(), ErrorKind::Usage);
                assert_eq!(memory.write(&mut *instance, 0, b"x").expect_err("stale").kind(), ErrorKind::Usage);
                let handle: &aura_runtime::InterruptHandle = handle;
                handle.interrupt();
            }
            assert_eq!(instance.call(&word, 0).expect("no interrupt of the last life"), 0);
            if round % 2 == 0 {
                instance.set_deadline(Duration::from_millis(1));
                std::thread::sleep(Duration::from_millis(3));
            }
            assert!(instance.call(&spin, ()).is_err(), "out of fuel or time");
            let memory = instance.instance().get_memory(&*instance, "memory").expect("memory");
            if round % 4 == 1 {
                kept = Some((instance.func(&word), memory, instance.interrupt_handle()));
            }
        }
    }
}

#[test]
fn grants_are_made_anew_for_each_instance() {
    everywhere(|name, engine| {
        let text =
            r#"(module (import "host" "secret" (func $s (result i32))) (func (export "ask") (result i32) (call $s)))"#;
        let module = Module::new(engine, text).expect("valid");
        let mut linker = Linker::<u32>::new(engine);
        linker
            .capability("host", "secret", |mut caller: Caller<'_, u32>| {
                *caller.data_mut() += 1;
                42
            })
            .expect("fresh");
        let blind = Image::new(&linker, &module, &ImageConfig::new()).expect(name);
        let spec: GrantSpec = "call:secret".parse().expect("a grant");
        let terms = Terms { calls: Some(2), ..Terms::default() };
        let seeing = Image::new(&linker, &module, ImageConfig::new().grant(spec.clone(), terms)).expect(name);
        let ask = blind.typed_func::<(), i32>("ask").expect(name);
        let ask_seeing = seeing.typed_func::<(), i32>("ask").expect(name);
        for _ in 0..4 {
            let mut instance = seeing.instantiate(0).expect(name);
            assert_eq!(instance.call(&ask_seeing, ()).expect(name), 42);
            assert_eq!(instance.call(&ask_seeing, ()).expect(name), 42);
            assert!(instance.call(&ask_seeing, ()).is_err(), "{name}: the quota is used up");
            assert_eq!(instance.slots().len(), 1, "{name}");
            assert_eq!(instance.into_data(), 2, "{name}");
            let mut instance = blind.instantiate(0).expect(name);
            assert!(instance.call(&ask, ()).is_err(), "{name}: blind by default");
            assert_eq!(instance.denials().len(), 1, "{name}");
            let grant = instance.grant(Subject::Store, spec.clone()).expect(name);
            assert_eq!(instance.call(&ask, ()).expect(name), 42, "{name}");
            drop(instance);
            assert!(!grant.is_live(), "{name}");
            let mut instance = blind.instantiate(0).expect(name);
            assert!(instance.denials().is_empty() && instance.slots().is_empty(), "{name}");
            assert!(instance.call(&ask, ()).is_err(), "{name}: blind again");
        }
    });
}

#[test]
fn host_data_is_dropped_once_and_panics_end_with_the_instance() {
    use std::sync::Arc;
    everywhere(|name, engine| {
        let text = r#"(module (import "host" "fail" (func $f (result i32))) (memory (export "memory") 1)
            (func (export "go") (i32.store (i32.const 0) (i32.const 1)) (drop (call $f)))
            (func (export "fine") (result i32) (i32.load (i32.const 0))))"#;
        let module = Module::new(engine, text).expect("valid");
        let mut linker = Linker::<Arc<()>>::new(engine);
        linker.func_wrap("host", "fail", || -> i32 { panic!("on purpose") }).expect("fresh");
        let image = Image::new(&linker, &module, &ImageConfig::new()).expect(name);
        let go = image.typed_func::<(), ()>("go").expect(name);
        let fine = image.typed_func::<(), i32>("fine").expect(name);
        let counted = Arc::new(());
        for _ in 0..10 {
            let mut instance = image.instantiate(counted.clone()).expect(name);
            assert_eq!(instance.call(&fine, ()).expect(name), 0, "{name}");
            assert!(instance.call(&go, ()).is_err() && instance.call(&fine, ()).is_err(), "{name}: poisoned");
            assert_eq!(Arc::strong_count(&counted), 2, "{name}");
            drop(instance);
            assert_eq!(Arc::strong_count(&counted), 1, "{name}");
        }
    });
}

#[test]
fn start_functions_run_each_time_and_failures_leave_nothing() {
    everywhere(|name, engine| {
        let text = r#"(module (import "host" "seed" (func $seed (result i32))) (memory (export "memory") 1)
            (global $g (mut i32) (i32.const 0))
            (func $start (global.set $g (call $seed)) (i32.store (i32.const 16) (global.get $g))
                (if (i32.eqz (i32.rem_u (global.get $g) (i32.const 3))) (then (unreachable))))
            (start $start)
            (func (export "get") (result i32) (i32.sub (global.get $g) (i32.load (i32.const 16)))))"#;
        let module = Module::new(engine, text).expect("valid");
        let mut linker = Linker::<i32>::new(engine);
        linker.func_wrap("host", "seed", |caller: Caller<'_, i32>| *caller.data()).expect("fresh");
        let image = Image::new(&linker, &module, &ImageConfig::new()).expect(name);
        let get = image.typed_func_with::<(), i32>("get", 1).expect(name);
        for seed in 1..30 {
            match image.instantiate(seed) {
                Ok(mut instance) => assert_eq!(instance.call(&get, ()).expect(name), 0, "{name}"),
                Err(error) => assert!(seed % 3 == 0 && error.trap().is_some(), "{name} {seed}: {error}"),
            }
        }
    });
}

#[test]
fn slots_run_out_with_a_clear_error_or_after_waiting() {
    let engine = Engine::default();
    let module = Module::new(&engine, "(module (memory 1))").expect("valid");
    let image = |wait| {
        Image::<()>::new(&Linker::new(&engine), &module, ImageConfig::new().slots_max(2, wait)).expect("an image")
    };
    let bounded = image(None);
    let (first, second) = (bounded.instantiate(()).expect("one"), bounded.instantiate(()).expect("two"));
    let error = bounded.instantiate(()).expect_err("no third");
    assert!(error.kind() == ErrorKind::Resource && error.to_string().contains("all 2 slots"), "{error}");
    drop(first);
    let third = bounded.instantiate(()).expect("one came back");
    drop((second, third));
    let waiting = image(Some(Duration::from_secs(20)));
    let held = [waiting.instantiate(()).expect("one"), waiting.instantiate(()).expect("two")];
    std::thread::scope(|scope| {
        let other = waiting.clone();
        let waits = scope.spawn(move || other.instantiate(()).map(drop));
        std::thread::sleep(Duration::from_millis(20));
        drop(held);
        waits.join().expect("no panic").expect("one came back");
    });
    assert_eq!(waiting.slots(), 2);
    let brief = image(Some(Duration::from_millis(5)));
    let _held = [brief.instantiate(()).expect("one"), brief.instantiate(()).expect("two")];
    assert!(brief.instantiate(()).is_err());
}

#[test]
fn instances_outlive_images_and_move_between_threads() {
    everywhere(|name, engine| {
        let image = image(engine, STATE);
        let spoil = image.typed_func::<(i32, i32), ()>("spoil").expect(name);
        let word = image.typed_func::<i32, i32>("word").expect(name);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for round in 0..50 {
                        let mut instance = image.instantiate(()).expect(name);
                        assert_eq!(instance.call(&word, 4096).expect(name), 0, "{name}");
                        instance.call(&spoil, (4096, round + 1)).expect(name);
                    }
                });
            }
        });
        let moved = image.instantiate(()).expect(name);
        let mut back = std::thread::scope(|scope| {
            let (spoil, word) = (&spoil, &word);
            scope
                .spawn(move || {
                    let mut moved = moved;
                    moved.call(spoil, (4096, 1)).expect("on another thread");
                    assert_eq!(moved.call(word, 4096).expect("there too"), 1);
                    moved
                })
                .join()
                .expect("no panic")
        });
        drop(image);
        assert_eq!(back.call(&word, 4096).expect(name), 1, "{name}: the image is gone, the instance is not");
        assert!(back.instance().get_export(&*back, "global").is_some_and(|e| matches!(e, Extern::Global(_))));
    });
}

#[test]
fn snapshots_begin_where_an_instance_was() {
    everywhere(|name, engine| {
        let image = image(engine, STATE);
        let spoil = image.typed_func::<(i32, i32), ()>("spoil").expect(name);
        let word = image.typed_func::<i32, i32>("word").expect(name);
        let mut instance = image.instantiate(()).expect(name);
        instance.call(&spoil, (5000, 77)).expect(name);
        let handle = instance.instance();
        let expected = seen(&mut instance, handle);
        let snapshot = instance.snapshot(&image, &ImageConfig::new()).expect(name);
        drop(instance);
        for round in 0..20 {
            let mut forked = snapshot.instantiate(()).expect(name);
            let handle = forked.instance();
            assert!(seen(&mut forked, handle) == expected, "{name} {round}");
            assert_eq!(forked.call(&word, 5000).expect(name), 77, "{name}");
            assert!(forked.call(&spoil, (5000, round)).is_err(), "{name}: it spoils until it needs a dropped segment");
            let late = snapshot.typed_func::<(), i32>("late").expect(name);
            assert!(forked.call(&late, ()).is_err(), "{name}: the segments stay dropped");
        }
        let mut fresh = image.instantiate(()).expect(name);
        assert_eq!(fresh.call(&word, 5000).expect(name), 0, "{name}");
        let open = snapshot.instantiate(()).expect(name);
        let error = open.snapshot(&snapshot, ImageConfig::new().open_handles(|()| Some("file `x` is".to_owned())));
        assert!(error.expect_err(name).to_string().contains("file `x` is open"), "{name}");
    });
}

#[test]
fn memories_of_many_pages_go_back_too() {
    // 64 wasm pages: more than are compared; writes on more pages than fault one by one.
    let text = r#"(module (memory (export "memory") 64) (data (i32.const 4000000) "end")
        (func (export "touch") (param $pages i32) (param $value i32) (local $at i32)
            (loop $l
                (i32.store (i32.mul (local.get $at) (i32.const 4096)) (local.get $value))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $at) (local.get $pages)))))
        (func (export "sum") (result i64) (local $at i32) (local $sum i64)
            (loop $l
                (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $l (i32.lt_u (local.get $at) (i32.const 4194304))))
            (local.get $sum)))"#;
    everywhere(|name, engine| {
        let image = image(engine, text);
        let touch = image.typed_func::<(i32, i32), ()>("touch").expect(name);
        let sum = image.typed_func::<(), i64>("sum").expect(name);
        let expected = image.instantiate(()).expect(name).call(&sum, ()).expect(name);
        for (round, pages) in [1, 3, 40, 2, 900, 5, 40, 40, 1000, 1, 70, 1].into_iter().enumerate() {
            let mut instance = image.instantiate(()).expect(name);
            assert_eq!(instance.call(&sum, ()).expect(name), expected, "{name} {round}");
            instance.call(&touch, (pages, -1)).expect(name);
        }
        assert_eq!(image.instantiate(()).expect(name).call(&sum, ()).expect(name), expected, "{name}");
    });
}
