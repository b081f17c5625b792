//! Random lives of slots: whatever one instance does, and however it ends, the next finds everything as a new one would.
//!
//! `AURA_LIVES=COUNT` runs more cases. A case that fails is printed, and made smaller.

mod common;

use std::sync::Arc;

use aura_runtime::{
    AsContextMut, Caller, Capability, Config, Engine, Error, Extern, Image, ImageConfig, ImageInstance, Instance,
    Linker, Module, SharedBuffer, Store, StoreLimits, Subject, Terms, Val, leakcheck,
};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

/// Fuel of each life.
const FUEL: u64 = 20_000;

/// What the host's panics say.
const ASKED_FOR: &str = "as asked for";

/// A bit of everything that changes, and a way to change each.
const RICH: &str = r#"(module
    (import "host" "begin" (func $begin))
    (import "host" "act" (func $act (param i32) (result i32)))
    (memory (export "memory") 2 40)
    (table $t (export "table") 4 60 funcref)
    (table $e (export "references") 3 30 externref)
    (global $g (export "global") (mut i64) (i64.const 7))
    (global $v (export "vector") (mut v128) (v128.const i64x2 1 2))
    (global $f (export "function") (mut funcref) (ref.func $one))
    (tag $tag (param i64))
    (data (i32.const 8) "hello") (data (i32.const 70000) "far away")
    (data $passive "passive")
    (elem (table $t) (i32.const 1) func $one)
    (elem $later func $one $two)
    (start $begin)
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 0xc5) (local.get 1)))
    (func (export "store") (param i32 i32) (i64.store (local.get 0) (i64.const 0xc5c5c5c5c5c5c5c5)))
    (func (export "grow") (param i32 i32) (drop (memory.grow (local.get 0)))
        (i64.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)) (i64.const -1)))
    (func (export "tables") (param i32 i32)
        (drop (table.grow $t (ref.func $two) (local.get 0))) (drop (table.grow $e (ref.null extern) (local.get 1)))
        (table.fill $t (i32.const 0) (ref.func $two) (i32.const 4)))
    (func (export "globals") (param i32 i32) (global.set $g (i64.extend_i32_u (local.get 0)))
        (global.set $v (v128.const i64x2 -1 -1)) (global.set $f (ref.func $two)))
    (func (export "drop") (param i32 i32)
        (memory.init $passive (local.get 0) (i32.const 0) (i32.const 7)) (data.drop $passive) (elem.drop $later))
    (func (export "trap") (param i32 i32) (unreachable))
    (func (export "throw") (param i32 i32) (throw $tag (i64.const 5)))
    (func (export "spin") (param i32 i32) (loop $l (br $l)))
    (func $deep (export "deep") (param i32 i32) (call $deep (i32.add (local.get 0) (i32.const 1)) (local.get 1)))
    (func (export "host") (param i32 i32) (drop (call $act (local.get 0))))
    (func (export "late") (result i32)
        (memory.init $passive (i32.const 300) (i32.const 0) (i32.const 7))
        (table.init $t $later (i32.const 2) (i32.const 0) (i32.const 2))
        (i32.add (call_indirect $t (result i32) (i32.const 2)) (call_indirect $t (result i32) (i32.const 3)))))"#;

/// How a life begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Beginning {
    #[default]
    Runs,
    /// The start function's host call fails.
    Fails,
    Panics,
    /// The host refuses the image's grant.
    Refused,
}

/// The host's data: how things go.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    beginning: Beginning,
}

/// One thing that a life does.
#[derive(Clone, Debug)]
enum Act {
    /// A call of this export.
    Call(&'static str, u32, u32),
    /// A call of the host's function that fails, or panics.
    Host(u32),
    HostWrites(u64, u8),
    HostGrows(u64),
    SetGlobal(i64),
    SetReference(u64),
    Grants {
        revoked: bool,
    },
    Lends {
        seed: u64,
        held: bool,
    },
    Deadline,
    Spoils(u64),
}

const EXPORTS: [&str; 11] =
    ["fill", "store", "grow", "tables", "globals", "drop", "trap", "throw", "spin", "deep", "host"];

fn act() -> impl Strategy<Value = Act> {
    let small = prop_oneof![0_u32..20, 0_u32..140_000, Just(u32::MAX)];
    prop_oneof![
        6 => (proptest::sample::select(&EXPORTS[..]), small.clone(), small).prop_map(|(name, a, b)| Act::Call(name, a, b)),
        1 => (0_u32..3).prop_map(Act::Host),
        1 => (0_u64..131_000, any::<u8>()).prop_map(|(at, byte)| Act::HostWrites(at, byte)),
        1 => (0_u64..20).prop_map(Act::HostGrows),
        1 => any::<i64>().prop_map(Act::SetGlobal),
        1 => (0_u64..3).prop_map(Act::SetReference),
        1 => any::<bool>().prop_map(|revoked| Act::Grants { revoked }),
        2 => (any::<u64>(), any::<bool>()).prop_map(|(seed, held)| Act::Lends { seed: seed >> 8, held }),
        1 => Just(Act::Deadline),
        1 => any::<u64>().prop_map(Act::Spoils),
    ]
}

fn life() -> impl Strategy<Value = (Beginning, Vec<Act>)> {
    let beginning = prop_oneof![
        6 => Just(Beginning::Runs),
        1 => Just(Beginning::Fails),
        1 => Just(Beginning::Panics),
        1 => Just(Beginning::Refused),
    ];
    (beginning, proptest::collection::vec(act(), 0..8))
}

fn linker(engine: &Engine) -> Linker<Host> {
    let mut linker = Linker::new(engine);
    let begin = |caller: Caller<'_, Host>| match caller.data().beginning {
        Beginning::Runs | Beginning::Refused => Ok(()),
        Beginning::Fails => Err(Error::host("no")),
        Beginning::Panics => std::panic::panic_any(ASKED_FOR),
    };
    linker.func_wrap("host", "begin", begin).expect("once");
    let act = |how: u32| match how % 3 {
        0 => Ok(how),
        1 => Err(Error::host("no")),
        _ => std::panic::panic_any(ASKED_FOR),
    };
    linker.func_wrap("host", "act", act).expect("once");
    linker
}

fn attach(host: &mut Host, _: &Arc<Capability>) -> Result<(), Error> {
    if host.beginning == Beginning::Refused { Err(Error::host("not this one")) } else { Ok(()) }
}

/// All that the host can see of an instance, in words: every export, usage, grants, denials, fuel.
fn seen<T: std::fmt::Debug>(store: &mut Store<T>, instance: Instance) -> Vec<String> {
    let mut seen = Vec::new();
    for (name, export) in instance.exports(&*store) {
        seen.push(match export {
            Extern::Memory(memory) => {
                let bytes = memory.data(&*store);
                let written: Vec<_> = (0..).zip(bytes).filter(|(_, byte)| **byte != 0).collect();
                format!("{name}: {} bytes, {written:?}", memory.data_size(&*store))
            }
            Extern::Table(table) => {
                let size = table.size(&*store);
                let filled: Vec<_> = (0..size).filter(|&at| !is_null(table.get(&mut *store, at))).collect();
                format!("{name}: {size} elements, {filled:?}")
            }
            Extern::Global(global) => match global.get(&mut *store) {
                value @ (Val::FuncRef(_) | Val::ExternRef(_)) => format!("{name}: null {}", is_null(Some(value))),
                value => format!("{name}: {value:?}"),
            },
            _ => name,
        });
    }
    seen.push(format!("{:?} {:?}", store.usage(), store.get_fuel().expect("fuel is on")));
    seen.push(format!("{:?} {}", store.denials(), store.denials_without_slot()));
    seen
}

fn is_null(value: Option<Val>) -> bool {
    matches!(value, Some(Val::FuncRef(None) | Val::ExternRef(None)))
}

/// A case's images: one that lives are led in, and how a new instance looks.
struct Fixture {
    image: Image<Host>,
    buffer: SharedBuffer,
    fresh: Vec<String>,
    late: i32,
}

impl Fixture {
    fn new(engine: &Engine, protects: bool, window: u64) -> Self {
        let module = Module::new(engine, RICH).expect("valid");
        let mut config = ImageConfig::new();
        config.fuel(FUEL).on_grant(attach).grant("args".parse().expect("a grant"), Terms::default());
        config.protect_pages(protects).window(window);
        let linker = linker(engine);
        let image = Image::new(&linker, &module, &config).expect("an image");
        // What an ordinary store has, with fuel as the image gives it.
        let mut store = Store::new(engine, Host::default());
        store.set_fuel(u64::MAX).expect("fuel is on");
        let instance = linker.instantiate(&mut store, &module).expect("links");
        if window > 0 {
            let memory = instance.get_memory(&store, "memory").expect("memory");
            memory.add_window(&mut store, window).expect("room");
        }
        store.set_fuel(FUEL - Self::start_fuel(&image)).expect("fuel is on");
        let fresh = seen(&mut store, instance);
        let late =
            instance.get_typed_func::<(), i32>(&store, "late").expect("late").call(&mut store, ()).expect("runs");
        let buffer = SharedBuffer::from_bytes(&vec![leakcheck::CANARY; leakcheck::LENT_MIN as usize]).expect("room");
        Self { image, buffer, fresh, late }
    }

    fn start_fuel(image: &Image<Host>) -> u64 {
        FUEL - image.instantiate(Host::default()).expect("begins").get_fuel().expect("fuel is on")
    }

    /// That an instance made now is as a new one.
    fn check(&self) -> Result<(), TestCaseError> {
        let mut instance = self.image.instantiate(Host::default()).expect("begins");
        leakcheck::compare(&instance).map_err(TestCaseError::fail)?;
        let handle = instance.instance();
        prop_assert_eq!(&seen(&mut instance, handle), &self.fresh);
        prop_assert_eq!(instance.slots().len(), 1, "the image's grant alone");
        let late = handle.get_typed_func::<(), i32>(&*instance, "late").expect("late");
        prop_assert_eq!(late.call(&mut *instance, ()).expect("runs"), self.late, "segments are there again");
        Ok(())
    }

    fn live(&self, beginning: Beginning, acts: &[Act]) -> Result<(), TestCaseError> {
        let made = self.image.instantiate(Host { beginning });
        prop_assert_eq!(made.is_ok(), beginning == Beginning::Runs);
        let Ok(mut instance) = made else { return Ok(()) };
        let mut held = Vec::new();
        for act in acts {
            self.act(&mut instance, act, &mut held)?;
        }
        drop(instance);
        prop_assert!(held.iter().all(|lent: &leakcheck::Lent| !lent.loan.is_live()));
        Ok(())
    }

    fn act(
        &self,
        instance: &mut ImageInstance<Host>,
        act: &Act,
        held: &mut Vec<leakcheck::Lent>,
    ) -> Result<(), TestCaseError> {
        let handle = instance.instance();
        match *act {
            Act::Call(name, a, b) => {
                let func = handle.get_typed_func::<(u32, u32), ()>(&*instance, name).expect("an export");
                // Traps, exceptions and ends of fuel are what this is for.
                let _ = func.call(instance, (a, b));
            }
            Act::Host(how) => {
                let func = handle.get_typed_func::<(u32, u32), ()>(&*instance, "host").expect("an export");
                let result = func.call(instance, (how, 0));
                prop_assert!(how == 0 || result.is_err());
            }
            Act::HostWrites(at, byte) => {
                let memory = handle.get_memory(&*instance, "memory").expect("memory");
                memory.write(instance, at as usize, &[byte; 70]).expect("inside");
            }
            Act::HostGrows(pages) => {
                let memory = handle.get_memory(&*instance, "memory").expect("memory");
                let _ = memory.grow(instance, pages);
            }
            Act::SetGlobal(value) => {
                let global = handle.get_global(&*instance, "global").expect("global");
                global.set(instance, Val::I64(value)).expect("mutable");
            }
            Act::SetReference(at) => {
                let value = aura_runtime::ExternRef::new(&mut *instance, "a value").expect("room");
                let table = handle.get_table(&*instance, "references").expect("a table");
                table.set(instance, at, Val::ExternRef(Some(value))).expect("inside");
            }
            Act::Grants { revoked } => {
                let grant = instance.grant(Subject::Store, "stdio".parse().expect("a grant")).expect("granted");
                if revoked {
                    grant.revoke();
                }
            }
            Act::Lends { seed, held: is_held } => {
                let lent = leakcheck::lend(instance, &self.buffer, seed).map_err(TestCaseError::fail)?;
                held.extend(lent.filter(|_| is_held));
            }
            Act::Deadline => instance.set_deadline(std::time::Duration::ZERO),
            Act::Spoils(seed) => leakcheck::spoil(instance, seed),
        }
        Ok(())
    }
}

/// Panics that are asked for say nothing.
fn hush() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&ASKED_FOR) {
            others(info);
        }
    }));
}

fn cases(default: u32) -> Cases {
    let count = std::env::var("AURA_LIVES").ok().map(|text| text.parse().expect("AURA_LIVES is a number"));
    Cases { cases: count.unwrap_or(default), failure_persistence: None, ..Cases::default() }
}

/// Images as they can be configured: pages protected or compared, with a window or without.
fn fixtures(engine: &Engine) -> Vec<Fixture> {
    [(true, 0), (false, 0), (true, 1 << 18)]
        .into_iter()
        .map(|(protects, window)| Fixture::new(engine, protects, window))
        .collect()
}

#[test]
fn l1_l2_l5_whatever_a_life_does_the_next_is_new() {
    hush();
    let configure = |config: &mut Config| {
        config.consume_fuel(true).max_wasm_stack(64 << 10);
    };
    for (name, engine) in common::engines(configure) {
        let fixtures = fixtures(&engine);
        let lives = (0..fixtures.len(), proptest::collection::vec(life(), 1..8));
        let result = TestRunner::new(cases(48)).run(&lives, |(which, lives)| {
            let fixture = &fixtures[which];
            for (beginning, acts) in &lives {
                fixture.live(*beginning, acts)?;
                fixture.check()?;
            }
            Ok(())
        });
        if let Err(failed) = result {
            panic!("{name}: {failed}");
        }
    }
}

/// Modules of any kind, whose exports are called with the fuel that they get.
fn smith(seed: u64) -> Option<Vec<u8>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes: Vec<u8> = (0..2000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let config = wasm_smith::Config {
        max_imports: 0,
        export_everything: true,
        gc_enabled: false,
        threads_enabled: false,
        memory64_enabled: seed.is_multiple_of(2),
        custom_page_sizes_enabled: false,
        shared_everything_threads_enabled: false,
        wide_arithmetic_enabled: false,
        max_memory32_bytes: 1 << 20,
        max_memory64_bytes: 1 << 20,
        max_table_elements: 100,
        disallow_traps: false,
        ..wasm_smith::Config::default()
    };
    let module = wasm_smith::Module::new(config, &mut arbitrary::Unstructured::new(&bytes)).ok()?;
    Some(module.to_bytes())
}

/// Leads some lives of one module; false if it is not one that could be an image.
fn lead(engine: &Engine, wasm: &[u8], name: &str) -> bool {
    let Ok(module) = Module::from_binary(engine, wasm) else { return false };
    let limits = StoreLimits { memory_bytes: 8 << 20, table_elements: 10_000, ..StoreLimits::default() };
    let mut config = ImageConfig::new();
    config.fuel(FUEL).limits(limits);
    let linker: Linker<()> = Linker::new(engine);
    // Segments that do not fit, and limits that are passed, fail here.
    let Ok(image) = Image::new(&linker, &module, &config) else { return false };
    let first = image.instantiate(()).map(|mut new| {
        let handle = new.instance();
        seen(&mut new, handle)
    });
    let buffer = SharedBuffer::from_bytes(&vec![leakcheck::CANARY; leakcheck::LENT_MIN as usize]).expect("room");
    for life in 0..6 {
        let made = image.instantiate(());
        assert_eq!(made.is_ok(), first.is_ok(), "{name}: a start function ends as it did");
        let (Ok(mut instance), Ok(first)) = (made, &first) else { continue };
        let handle = instance.instance();
        assert_eq!(seen(&mut instance, handle), *first, "{name}, life {life}");
        let _lent = leakcheck::lend(&mut instance, &buffer, life << 7).expect(name);
        for (_, export) in handle.exports(&*instance) {
            let Some(func) = export.into_func() else { continue };
            let ty = func.ty(&*instance);
            let args: Vec<_> = ty.params().iter().map(|ty| Val::default_for(*ty)).collect();
            let mut results: Vec<_> = ty.results().iter().map(|ty| Val::default_for(*ty)).collect();
            let _ = func.call(instance.as_context_mut(), &args, &mut results);
        }
        leakcheck::spoil(&mut instance, life * 77);
    }
    true
}

#[test]
fn l1_random_modules_leave_nothing_to_the_next() {
    let count = std::env::var("AURA_LIVES").map_or(40, |text| text.parse().expect("AURA_LIVES is a number"));
    let configure = |config: &mut Config| {
        config.consume_fuel(true).max_wasm_stack(64 << 10);
    };
    for (name, engine) in common::engines(configure) {
        let led = (0..count).filter_map(|seed| Some((seed, smith(seed)?)));
        let led = led.filter(|(seed, wasm)| lead(&engine, wasm, &format!("{name}, seed {seed}"))).count();
        assert!(led as u64 >= count / 3, "{name}: only {led} of {count} seeds made an image");
    }
}
