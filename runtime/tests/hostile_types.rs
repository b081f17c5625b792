//! Type sections made to cost: very many types, groups as large as a section, chains of references and
//! of supertypes. Each is refused by the name of a limit, or handled in bounded time and memory.

use std::time::{Duration, Instant};

use aura_runtime::{Config, Engine, ErrorKind, Features, Module, Strategy};

/// What a debug build on a busy machine may take for a section of the greatest size.
const BOUND: Duration = Duration::from_secs(30);

fn leb(mut number: u64, into: &mut Vec<u8>) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        into.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            return;
        }
    }
}

/// A heap type that is an index: signed, so that the sign bit must stay clear.
fn index(number: u64, into: &mut Vec<u8>) {
    let mut number = number;
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 && byte & 0x40 == 0 {
            return into.push(byte);
        }
        into.push(byte | 0x80);
    }
}

/// A module of a type section alone, of `count` entries.
fn module(count: u64, entries: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut section = Vec::new();
    leb(count, &mut section);
    entries(&mut section);
    let mut bytes = b"\0asm\x01\0\0\0\x01".to_vec();
    leb(section.len() as u64, &mut bytes);
    bytes.extend(section);
    bytes
}

/// `(struct (field (mut (ref null $to))))`
fn struct_of_reference(to: u64, into: &mut Vec<u8>) {
    into.extend([0x5f, 1, 0x63]);
    index(to, into);
    into.push(1);
}

/// A function type with as many parameters as bits of `number`, so that numbers have different types.
fn func_of(number: u64, into: &mut Vec<u8>) {
    wide_func_of(number, 20, into);
}

/// The same with `params` parameters, so that the type weighs more.
fn wide_func_of(number: u64, params: u8, into: &mut Vec<u8>) {
    into.extend([0x60, params]);
    into.extend((0..params).map(|param| if number >> (param % 30) & 1 == 0 { 0x7f } else { 0x7e }));
    into.push(0);
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.strategy(Strategy::Interpreter).features(Features::IMPLEMENTED);
    Engine::new(&config).expect("an engine")
}

/// Loads a module within the bound. Says the limit that refused it, if one did.
fn load(what: &str, engine: &Engine, bytes: &[u8]) -> Result<Module, String> {
    let start = Instant::now();
    let loaded = Module::from_binary(engine, bytes);
    let took = start.elapsed();
    assert!(took < BOUND, "{what}: {} bytes took {took:?}", bytes.len());
    loaded.map_err(|error| {
        assert!(matches!(error.kind(), ErrorKind::Limit | ErrorKind::Invalid | ErrorKind::Resource), "{what}: {error}");
        error.to_string()
    })
}

#[test]
fn h1_a_million_types_are_refused_by_the_limit() {
    for count in [100_001, 1_000_000] {
        let bytes = module(count, |section| (0..count).for_each(|n| func_of(n, section)));
        let error = load("a million types", &engine(), &bytes).expect_err("above the limit");
        assert!(error.contains("types"), "{error}");
    }
    // A count alone costs nothing.
    let start = Instant::now();
    Module::from_binary(&engine(), &module(u64::from(u32::MAX), |_| {})).expect_err("a count without types");
    assert!(start.elapsed() < Duration::from_secs(1), "a count took {:?}", start.elapsed());
}

#[test]
fn h1_as_many_types_as_the_limit_are_handled() {
    let bytes = module(100_000, |section| (0..100_000).for_each(|n| func_of(n, section)));
    let engine = engine();
    load("types up to the limit", &engine, &bytes).expect("within the limit");
    load("the same again", &engine, &bytes).expect("equal types are one");
}

#[test]
fn h1_a_million_types_in_one_group_are_refused_by_the_limit() {
    for count in [100_001_u64, 1_000_000] {
        let bytes = module(1, |section| {
            section.push(0x4e);
            leb(count, section);
            (0..count).for_each(|n| struct_of_reference((n + 1) % count, section));
        });
        let error = load("a group of a million", &engine(), &bytes).expect_err("above the limit");
        assert!(error.contains("types") || error.contains("limit"), "{error}");
    }
}

/// A ring: every type is equal to every other only if the whole group is.
#[test]
fn h1_the_greatest_group_of_types_that_refer_to_each_other_is_handled() {
    let count = 100_000_u64;
    let engine = engine();
    for turn in 0..2 {
        let bytes = module(1, |section| {
            section.push(0x4e);
            leb(count, section);
            (0..count).for_each(|n| struct_of_reference((n + 1 + turn) % count, section));
        });
        load("a ring of types", &engine, &bytes).expect("within the limit");
    }
}

/// Each type refers to the one before it: comparing two of them must not walk the chain.
#[test]
fn h1_chains_of_references_are_handled() {
    let count = 50_000_u64;
    let bytes = module(count, |section| {
        section.extend([0x5f, 0]);
        (1..count).for_each(|n| struct_of_reference(n - 1, section));
    });
    let engine = engine();
    load("a chain", &engine, &bytes).expect("within the limit");
    load("a chain again", &engine, &bytes).expect("within the limit");
}

/// Supertypes above supertypes: the list of a type's ancestors is as long as the chain.
#[test]
fn h1_chains_of_supertypes_are_bounded() {
    let chain = |count: u64| {
        module(count, |section| {
            section.extend([0x50, 0, 0x5f, 0]);
            for n in 1..count {
                section.extend([0x50, 1]);
                leb(n - 1, section);
                section.extend([0x5f, 0]);
            }
        })
    };
    load("supertypes", &engine(), &chain(60)).expect("an ordinary depth");
    for count in [200, 10_000, 100_000] {
        let error = load("supertypes", &engine(), &chain(count)).expect_err("too deep");
        assert!(error.contains("depth") || error.contains("limit"), "{error}");
    }
}

/// Modules whose types differ, loaded one after another: an engine's registry has a bound.
#[test]
fn h1_an_engine_meets_its_bound_of_types_and_not_the_end_of_memory() {
    let engine = engine();
    let mut refused = None;
    for round in 0..30_u64 {
        let bytes = module(90_000, |section| (0..90_000).for_each(|n| wide_func_of(round * 90_000 + n, 60, section)));
        if let Err(error) = load("many modules", &engine, &bytes) {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("30 such modules weigh more than an engine takes");
    assert!(error.contains("types"), "{error}");
    // The engine goes on with the types it has.
    Module::new(&engine, "(module (func (export \"f\")))").expect("a small module");
}
