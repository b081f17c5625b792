//! The packages below the engine are used as meant: compiled code lies in memory of our own provider, which no one can
//! write while it runs; linear memories are reservations whose protection `region` can tell.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use aura_runtime::{Bounds, Config, Engine, Linker, Module, OptLevel, Store, Strategy};
use common::{everywhere, instantiate};
use region::Protection;

/// Tests here look at the whole process, one at a time.
static WHOLE_PROCESS: Mutex<()> = Mutex::new(());

/// A line of the list of mappings.
#[derive(Debug)]
struct Mapping {
    start: u64,
    end: u64,
    rights: String,
    file: bool,
}

fn mappings() -> Vec<Mapping> {
    let text = std::fs::read_to_string("/proc/self/maps").expect("Linux tells");
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let rights = fields.next()?.to_owned();
        Some(Mapping { start: number(start)?, end: number(end)?, rights, file: fields.nth(3).is_some() })
    };
    text.lines().map(|line| parse(line).expect("a mapping")).collect()
}

fn writable_code() -> Vec<Mapping> {
    mappings().into_iter().filter(|m| m.rights.contains('w') && m.rights.contains('x')).collect()
}

/// Where anonymous executable memory holds these bytes.
fn places_in_code(bytes: &[u8]) -> Vec<u64> {
    let memory = File::open("/proc/self/mem").expect("opens");
    let mut places = Vec::new();
    for mapping in mappings().iter().filter(|m| m.rights.contains('x') && !m.file) {
        let mut code = vec![0; (mapping.end - mapping.start) as usize];
        if memory.read_exact_at(&mut code, mapping.start).is_err() {
            continue;
        }
        let found = code.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes);
        places.extend(found.map(|(at, _)| mapping.start + at as u64));
    }
    places
}

/// A function that contains a number found nowhere else, and one that calls the host while it is on the stack.
fn marked(number: u64) -> String {
    format!(
        r#"(module (import "h" "look" (func $look))
            (func (export "mark") (param i64) (result i64) (call $look) (i64.xor (local.get 0) (i64.const {number})))
            (func (export "late") (param i64) (result i64) (i64.mul (local.get 0) (i64.const 3))))"#
    )
}

#[test]
fn compiled_code_is_executable_and_never_writable() {
    let _alone = WHOLE_PROCESS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (nth, strategy) in [(0u64, Strategy::Interpreter), (1, Strategy::Jit), (2, Strategy::Auto)] {
        for (level, bounds) in [(OptLevel::None, Bounds::Guard), (OptLevel::Speed, Bounds::Explicit)] {
            let name = format!("{strategy:?}/{level:?}/{bounds:?}");
            let number = 0x1c5a_93d7_6be2_0f40 + nth * 4 + u64::from(level == OptLevel::Speed);
            let mut config = Config::new();
            config.strategy(strategy).opt_level(level).bounds(bounds).tier_up_threshold(2).compile_threads(0);
            let engine = Engine::new(&config).expect("every tier");
            let module = Module::new(&engine, marked(number)).expect("valid");
            let mut linker: Linker<()> = Linker::new(&engine);
            linker.func_wrap("h", "look", || assert!(writable_code().is_empty(), "while code runs")).expect("defines");
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &module).expect("links");
            assert!(places_in_code(&number.to_le_bytes()).is_empty(), "{name}: nothing is compiled before its call");
            let mark = instance.get_typed_func::<u64, u64>(&store, "mark").expect("mark");
            for n in 0..5 {
                assert_eq!(mark.call(&mut store, n).expect("runs"), number ^ n, "{name}");
            }
            let places = places_in_code(&number.to_le_bytes());
            assert_eq!(places.is_empty(), strategy == Strategy::Interpreter, "{name}: {places:x?}");
            // Code that is published later goes beside the code that runs, which stays as it is.
            let late = instance.get_typed_func::<u64, u64>(&store, "late").expect("late");
            for n in 0..5 {
                assert_eq!(late.call(&mut store, n).expect("runs"), 3 * n, "{name}");
            }
            assert!(writable_code().is_empty(), "{name}: {:?}", writable_code());
            for place in &places {
                let address = std::ptr::without_provenance::<u8>(*place as usize);
                let protection = region::query(address).expect("mapped").protection();
                assert_eq!(protection, Protection::READ_EXECUTE, "{name}");
            }
            drop((store, module, linker, engine));
            let left: Vec<u64> = places_in_code(&number.to_le_bytes());
            assert!(left.is_empty(), "{name}: code outlives its module at {left:x?}");
        }
    }
}

#[test]
fn linear_memories_are_reserved_and_protected_by_region() {
    let _alone = WHOLE_PROCESS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, r#"(module (memory (export "m") 2 10))"#);
        let memory = instance.get_memory(&store, "m").expect(name);
        for pages in [2, 5, 10] {
            let more = pages - memory.size(&store);
            memory.grow(&mut store, more).expect(name);
            let bytes = memory.data(&store).as_ptr_range();
            let inside = region::query_range(bytes.start, memory.data_size(&store)).expect("mapped");
            for part in inside {
                assert_eq!(part.expect("mapped").protection(), Protection::READ_WRITE, "{name}");
            }
            let after = region::query(bytes.end).expect("reserved");
            assert_eq!(after.protection(), Protection::NONE, "{name}");
            if name.contains("Guard") {
                let before = region::query(bytes.start.wrapping_sub(1)).expect("reserved");
                assert_eq!(before.protection(), Protection::NONE, "{name}");
                assert!(after.as_range().end - bytes.start as usize >= 4 << 30, "{name}: {:x?}", after.as_range());
            }
        }
        assert!(writable_code().is_empty(), "{name}");
    });
}
