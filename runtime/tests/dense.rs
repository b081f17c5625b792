//! Very many instances at a time: memories that are slices of one mapping ([`aura_runtime::Config::memory_slices`]).

mod common;

use std::sync::{Mutex, PoisonError};

use aura_runtime::{
    Bounds, Config, Engine, Image, ImageConfig, ImageInstance, Instance, Linker, Module, Store, Strategy, TrapCode,
};

const PAGE: u64 = 65536;

/// Writes two pages of the host, and has a look at any address.
const GUEST: &str = r#"(module (memory (export "memory") 1 3)
    (func (export "go") (param i32) (result i32)
        (i32.store (i32.const 64) (local.get 0)) (i32.store (i32.const 8192) (local.get 0)) (i32.load (i32.const 64)))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "fill") (memory.fill (i32.const 0) (i32.const 0xc5) (i32.mul (memory.size) (i32.const 65536))))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

/// What is measured is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn engine(strategy: Strategy, count: usize, pages: u64) -> Engine {
    Engine::new(Config::new().strategy(strategy).memory_slices(count, pages * PAGE)).expect("an engine")
}

fn everywhere(count: usize, pages: u64, test: impl Fn(&str, &Engine)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for strategy in [Strategy::Interpreter, Strategy::Jit, Strategy::Auto] {
        test(&format!("{strategy:?}"), &engine(strategy, count, pages));
    }
}

fn image(engine: &Engine) -> Image<()> {
    let module = Module::new(engine, GUEST).expect("valid");
    Image::new(&Linker::new(engine), &module, &ImageConfig::new()).expect("an image")
}

fn call(instance: &mut ImageInstance<()>, name: &str, value: u32) -> Result<i32, aura_runtime::Error> {
    let func = instance.instance().get_typed_func::<u32, i32>(&*instance, name).expect("an export");
    func.call(instance, value)
}

fn fill(store: &mut Store<()>, instance: Instance) {
    instance.get_typed_func::<(), ()>(&*store, "fill").expect("an export").call(store, ()).expect("fills");
}

/// A field of the process's status, in bytes.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("Linux tells").lines().count()
}

#[test]
fn thousands_are_alive_at_once_in_a_few_mappings_and_16_kib_each() {
    const COUNT: u64 = 4000;
    everywhere(COUNT as usize + 10, 1, |name, engine| {
        let image = image(engine);
        let go = image.typed_func::<u32, i32>("go").expect(name);
        drop((0..300).map(|_| image.instantiate(()).expect(name)).collect::<Vec<_>>());
        let before = (mappings(), status("VmRSS") + status("VmPTE"));
        let mut all = Vec::new();
        for number in 0..COUNT as u32 {
            let mut instance = image.instantiate(()).expect(name);
            assert_eq!(instance.call(&go, number).expect(name), number as i32, "{name}");
            all.push(instance);
        }
        let after = (mappings(), status("VmRSS") + status("VmPTE"));
        for (number, instance) in (0..).zip(&mut all) {
            let byte = call(instance, "load", 8192).expect(name);
            assert_eq!(byte, number & 0xff, "{name}: each has its own bytes");
        }
        assert!(after.0 < before.0 + 200, "{name}: {} mappings more", after.0 - before.0);
        let each = after.1.saturating_sub(before.1) / COUNT;
        assert!(each <= 16 << 10, "{name}: {each} bytes of each instance");
    });
}

#[test]
fn l1_slices_come_back_zeroed() {
    everywhere(2, 3, |name, engine| {
        let module = Module::new(engine, GUEST).expect(name);
        let linker: Linker<()> = Linker::new(engine);
        for round in 0..6 {
            let mut store = Store::new(engine, ());
            let instance = linker.instantiate(&mut store, &module).expect(name);
            let memory = instance.get_memory(&store, "memory").expect(name);
            memory.grow(&mut store, round % 3).expect(name);
            assert!(memory.data(&store).iter().all(|byte| *byte == 0), "{name}, round {round}");
            fill(&mut store, instance);
        }
        let image = image(engine);
        for round in 0..6 {
            let mut instance = image.instantiate(()).expect(name);
            aura_runtime::leakcheck::compare(&instance).expect(name);
            let handle = instance.instance();
            let memory = handle.get_memory(&*instance, "memory").expect(name);
            memory.grow(&mut instance, round % 3).expect(name);
            assert!(memory.data(&*instance).iter().all(|byte| *byte == 0), "{name}, round {round}");
            fill(&mut instance, handle);
        }
        assert_eq!(image.slots(), 1, "{name}");
    });
}

#[test]
fn l2_a_slice_ends_where_its_memory_ends() {
    everywhere(3, 2, |name, engine| {
        let image = image(engine);
        let (mut first, mut second) = (image.instantiate(()).expect(name), image.instantiate(()).expect(name));
        let handle = second.instance();
        fill(&mut second, handle);
        for address in [65536, 65537, 131_071, 131_072, 196_608, u32::MAX] {
            let error = call(&mut first, "load", address).expect_err(name);
            assert_eq!(error.trap().expect("a trap").code(), TrapCode::MemoryOutOfBounds, "{name} {address}");
        }
        // Declared are three pages, and a slice has two.
        assert_eq!(call(&mut first, "grow", 2).expect(name), -1, "{name}");
        assert_eq!(call(&mut first, "grow", 1).expect(name), 1, "{name}");
        assert_eq!(call(&mut first, "load", 131_071).expect(name), 0, "{name}");
        assert!(call(&mut first, "load", 131_072).is_err(), "{name}");
        assert_eq!(call(&mut first, "grow", 1).expect(name), -1, "{name}");
        drop(first);
        let mut next = image.instantiate(()).expect(name);
        assert!(call(&mut next, "load", 65536).is_err(), "{name}: growth was taken back");
    });
}

#[test]
fn too_many_and_too_large_are_errors_that_say_what_to_do() {
    everywhere(3, 1, |name, engine| {
        let image = image(engine);
        let all: Vec<_> = (0..3).map(|_| image.instantiate(()).expect(name)).collect();
        let error = image.instantiate(()).expect_err(name).to_string();
        assert!(error.contains("all 3 slices") && error.contains("drop an instance"), "{name}: {error}");
        let module = Module::new(engine, "(module (memory 2))").expect(name);
        let error = Linker::new(engine).instantiate(&mut Store::new(engine, ()), &module).expect_err(name).to_string();
        assert!(error.contains("131072 bytes") && error.contains("Config::memory_slices"), "{name}: {error}");
        drop(all);
        let mut again = image.instantiate(()).expect(name);
        let memory = again.instance().get_memory(&*again, "memory").expect(name);
        let error = memory.add_window(&mut again, PAGE).expect_err(name).to_string();
        assert!(error.contains("slices"), "{name}: {error}");
        assert_eq!(call(&mut again, "go", 7).expect(name), 7, "{name}");
    });
    let mut config = Config::new();
    config.memory_slices(1, PAGE).bounds(Bounds::Guard);
    assert!(Engine::new(&config).expect_err("contradicts itself").to_string().contains("Bounds::Explicit"));
}

#[test]
fn large_images_and_snapshots_are_copied_into_slices() {
    let data = "x".repeat(400_000);
    let text = GUEST
        .replace("1 3)", "8 9)")
        .replace("(func (export \"go\")", &format!("(data (i32.const 4000) \"{data}\") (func (export \"go\")"));
    everywhere(8, 9, |name, engine| {
        let module = Module::new(engine, &text).expect(name);
        let image: Image<()> = Image::new(&Linker::new(engine), &module, &ImageConfig::new()).expect(name);
        for _ in 0..3 {
            let mut two = [image.instantiate(()).expect(name), image.instantiate(()).expect(name)];
            for instance in &mut two {
                assert_eq!(call(instance, "load", 404_000 - 1).expect(name), i32::from(b'x'), "{name}");
                assert_eq!(call(instance, "load", 404_000).expect(name), 0, "{name}");
                let handle = instance.instance();
                fill(instance, handle);
            }
        }
        let mut instance = image.instantiate(()).expect(name);
        call(&mut instance, "go", 9).expect(name);
        let snapshot = instance.snapshot(&image, &ImageConfig::new()).expect(name);
        for _ in 0..3 {
            let mut fork = snapshot.instantiate(()).expect(name);
            assert_eq!(call(&mut fork, "load", 64).expect(name), 9, "{name}");
            assert_eq!(call(&mut fork, "load", 403_999).expect(name), i32::from(b'x'), "{name}");
            let handle = fork.instance();
            fill(&mut fork, handle);
        }
    });
}
