//! The attacks of `hostile_memory.rs` on the other kinds of memories and tables: with indices of 64 bits, with
//! pages of one byte, and several in one module. What is expected is computed here in integers of 128 bits.

#[path = "common/bytes.rs"]
mod bytes;
mod common;
#[path = "common/outcome.rs"]
mod outcome;

use std::fmt::Write as _;

use aura_runtime::{
    Engine, ErrorKind, Extern, Instance, Limits64, Linker, Memory, MemoryType, Module, Store, StoreLimits, TrapCode,
    Val,
};
use bytes::{model_load, pattern};
use common::{engines, instantiate};
use outcome::{Outcome, outcome, value};

const PAGE: u64 = 65536;

/// Runs `test` on every engine and bounds mode, with all kinds of memories switched on.
fn everywhere(test: impl Fn(&str, &Engine)) {
    for (name, engine) in engines(|config| {
        config.wasm_memory64(true).wasm_multi_memory(true).wasm_custom_page_sizes(true);
    }) {
        test(&name, &engine);
    }
}

/// Calls an export; each argument is cut to the width of its parameter.
fn call(store: &mut Store<()>, instance: Instance, export: &str, args: &[u64]) -> Outcome {
    let func = instance.get_func(&*store, export).unwrap_or_else(|| panic!("{export} is exported"));
    let params = func.ty(&*store);
    let args: Vec<Val> = params.params().iter().zip(args).map(|(ty, arg)| value(*ty, (*arg).into())).collect();
    outcome(store, func, &args)
}

/// A kind of memory: its index type, its declaration behind that, and its bytes.
#[derive(Clone, Copy)]
struct Kind {
    index: &'static str,
    limits: &'static str,
    len: u64,
}

const KINDS: [Kind; 8] = [
    Kind { index: "i64", limits: "2", len: 2 * PAGE },
    Kind { index: "i64", limits: "2 3", len: 2 * PAGE },
    Kind { index: "i64", limits: "0", len: 0 },
    Kind { index: "i64", limits: "4999 (pagesize 1)", len: 4999 },
    Kind { index: "i64", limits: "0 0 (pagesize 1)", len: 0 },
    Kind { index: "i32", limits: "13 14 (pagesize 1)", len: 13 },
    Kind { index: "i32", limits: "8192 (pagesize 1)", len: 8192 },
    Kind { index: "i32", limits: "2", len: 2 * PAGE },
];

impl Kind {
    fn is_64(self) -> bool {
        self.index == "i64"
    }

    fn mask(self) -> u64 {
        if self.is_64() { u64::MAX } else { u64::from(u32::MAX) }
    }

    /// The addresses and lengths around which sums overflow, and those around the end.
    fn edges(self) -> Vec<u64> {
        let mut edges = vec![0, 1, 1 << 31, (1 << 31) - 1, 0xffff_ffff, 0xffff_fffe];
        edges.extend([self.len.wrapping_sub(1), self.len, self.len + 1]);
        if self.is_64() {
            edges.extend([1 << 32, (1 << 32) + 1, (1 << 63) - 1, 1 << 63, u64::MAX, u64::MAX - 1]);
        }
        edges.iter().map(|edge| edge & self.mask()).collect()
    }

    fn offsets(self) -> Vec<u64> {
        let mut offsets = vec![0, 1, 12, 65535, 2 * PAGE - 1, 2 * PAGE, (1 << 31) - 1, 1 << 31, (1 << 32) - 1];
        if self.is_64() {
            offsets.extend([1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX - 15, u64::MAX - 1, u64::MAX]);
        }
        offsets
    }
}

/// Loads and stores with the size of the access.
const ACCESSES: [(usize, &str, &str, &str, &str); 7] = [
    (1, "i32.load8_u", "i32", "i32.store8", "(i32.const 0)"),
    (2, "i32.load16_u", "i32", "i32.store16", "(i32.const 0)"),
    (4, "i32.load", "i32", "i32.store", "(i32.const 0)"),
    (8, "i64.load", "i64", "i64.store", "(i64.const 0)"),
    (4, "f32.load", "f32", "f32.store", "(f32.const 0)"),
    (8, "f64.load", "f64", "f64.store", "(f64.const 0)"),
    (16, "v128.load", "v128", "v128.store", "(v128.const i64x2 0 0)"),
];

/// A module with the memory as `m`, first or behind another, and an export for each access at each offset.
fn accesses(kind: Kind, is_second: bool) -> String {
    let Kind { index, limits, .. } = kind;
    let first = if is_second { "(memory 1)" } else { "" };
    let mut wat = format!("(module {first} (memory $m (export \"m\") {index} {limits})\n");
    for offset in kind.offsets() {
        for (_, load, ty, store, zero) in ACCESSES {
            let _ = writeln!(
                wat,
                "(func (export \"{load} {offset}\") (param {index}) (result {ty}) ({load} $m offset={offset} (local.get 0)))
                 (func (export \"{store} {offset}\") (param {index}) ({store} $m offset={offset} (local.get 0) {zero}))"
            );
        }
        for bits in [8, 16, 32, 64] {
            let _ = writeln!(
                wat,
                "(func (export \"load{bits}_lane {offset}\") (param {index}) (result v128)
                    (v128.load{bits}_lane $m offset={offset} 0 (local.get 0) (v128.const i64x2 0 0)))
                 (func (export \"store{bits}_lane {offset}\") (param {index})
                    (v128.store{bits}_lane $m offset={offset} 0 (local.get 0) (v128.const i64x2 0 0)))"
            );
        }
    }
    wat + ")"
}

fn access_grid(kind: Kind, is_second: bool) {
    let wat = accesses(kind, is_second);
    let mut rows: Vec<(usize, String, String)> =
        ACCESSES.iter().map(|(size, load, _, store, _)| (*size, (*load).to_owned(), (*store).to_owned())).collect();
    let lanes = [(1, 8), (2, 16), (4, 32), (8, 64)];
    rows.extend(lanes.map(|(size, bits)| (size, format!("load{bits}_lane"), format!("store{bits}_lane"))));
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        let memory = instance.get_memory(&store, "m").expect(name);
        let bytes = pattern(kind.len);
        memory.write(&mut store, 0, &bytes).expect(name);
        for offset in kind.offsets() {
            for (size, load, store_op) in &rows {
                let mut addresses = kind.edges();
                let end = kind.len.wrapping_sub(*size as u64).wrapping_sub(offset);
                // The last place that fits, its neighbours, and those where the sum wraps to the first bytes.
                addresses.extend([
                    end,
                    end.wrapping_add(1),
                    offset.wrapping_neg(),
                    offset.wrapping_neg().wrapping_add(8),
                ]);
                for address in addresses.iter().map(|address| address & kind.mask()) {
                    let what = format!("{name} {} {} {load} {address:#x} + {offset:#x}", kind.index, kind.limits);
                    let expected = model_load(&bytes, address, offset, *size);
                    assert_eq!(call(&mut store, instance, &format!("{load} {offset}"), &[address]), expected, "{what}");
                    let stored = call(&mut store, instance, &format!("{store_op} {offset}"), &[address]);
                    assert_eq!(stored, expected.clone().map(|_| vec![]), "store of {what}");
                    if expected.is_ok() {
                        let at = (address + offset) as usize;
                        assert!(memory.data(&store)[at..at + size].iter().all(|b| *b == 0), "store of {what}");
                        memory.write(&mut store, at, &bytes[at..at + size]).expect(name);
                    }
                }
            }
        }
        assert_eq!(memory.data(&store), bytes, "{name}: a store outside changed a byte");
    });
}

/// C7 and C9 are in the grid: the last byte of a memory whose length is no multiple of a host page, and no bytes at all.
#[test]
fn c7_c9_c12_c13_index_plus_offset_plus_size_never_wraps_in_any_kind() {
    for kind in KINDS {
        access_grid(kind, false);
    }
}

#[test]
fn c12_c13_the_same_behind_another_memory() {
    for kind in [KINDS[0], KINDS[3], KINDS[5], KINDS[7]] {
        access_grid(kind, true);
    }
}

/// A module with two memories and every bulk operation on them.
fn bulk(to: Kind, from: Kind) -> String {
    let (t, f) = (to.index, from.index);
    let len = if to.is_64() && from.is_64() { "i64" } else { "i32" };
    format!(
        r#"(module (memory $to (export "to") {t} {}) (memory $from (export "from") {f} {}) (data $d "0123456789")
            (func (export "fill") (param {t} {t} {t})
                (memory.fill $to (local.get 0) (i32.const 7) (local.get 2)))
            (func (export "copy") (param {t} {f} {len})
                (memory.copy $to $from (local.get 0) (local.get 1) (local.get 2)))
            (func (export "init") (param {t} i32 i32)
                (memory.init $to $d (local.get 0) (local.get 1) (local.get 2))))"#,
        to.limits, from.limits
    )
}

/// Bulk operations between every two kinds of memories, at every edge of address and length: what they do is
/// what the model does, and they trap before they change anything.
#[test]
fn c12_c13_bulk_ranges_never_wrap_between_any_kinds() {
    let kinds = [KINDS[0], KINDS[3], KINDS[5], KINDS[7]];
    for (to, from) in kinds.iter().flat_map(|to| kinds.map(|from| (*to, from))) {
        let wat = bulk(to, from);
        everywhere(|name, engine| {
            let (mut store, instance) = instantiate(engine, &wat);
            let target = instance.get_memory(&store, "to").expect(name);
            let source = instance.get_memory(&store, "from").expect(name);
            let (mut model, bytes) = (vec![0; to.len as usize], pattern(from.len));
            source.write(&mut store, 0, &bytes).expect(name);
            let rows = [
                ("fill", to.mask(), vec![0], vec![7; to.len as usize]),
                ("copy", to.mask() & from.mask(), from.edges(), bytes.clone()),
                ("init", u64::from(u32::MAX), vec![0, 3, 10, 11, u64::from(u32::MAX)], b"0123456789".to_vec()),
            ];
            for (op, len_mask, sources, bytes) in rows {
                for at in to.edges() {
                    for from in &sources {
                        for len in [0, 1, 2, to.len, 1 << 31, 1 << 32, 1 << 63, u64::MAX].map(|len| len & len_mask) {
                            let fits =
                                |at: u64, size: usize| u128::from(at) + u128::from(len) <= u128::from(size as u64);
                            let is_inside = fits(at, model.len()) && fits(*from, bytes.len());
                            let got = call(&mut store, instance, op, &[at, *from, len]);
                            let expected = if is_inside { Ok(vec![]) } else { Err(TrapCode::MemoryOutOfBounds) };
                            let what = format!("{name} {op} to {at:#x} from {from:#x} length {len:#x}");
                            assert_eq!(got, expected, "{what}");
                            if is_inside && len > 0 {
                                let (at, from, len) = (at as usize, *from as usize, len as usize);
                                model[at..at + len].copy_from_slice(&bytes[from..from + len]);
                                assert!(target.data(&store) == model, "{what}");
                            }
                        }
                    }
                }
            }
            assert!(target.data(&store) == model, "{name}: an operation that trapped changed a byte");
        });
    }
}

/// The same with tables of both index types.
#[test]
fn c12_c13_table_ranges_never_wrap_in_64_bits() {
    let edges = |is_64: bool| {
        let mut edges = vec![0, 1, 9, 10, 11, 1 << 31, 0xffff_ffff];
        if is_64 {
            edges.extend([1 << 32, 1 << 61, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX]);
        }
        edges
    };
    for (t, f) in [("i64", "i64"), ("i64", "i32"), ("i32", "i64")] {
        let len = if (t, f) == ("i64", "i64") { "i64" } else { "i32" };
        let wat = format!(
            r#"(module (table $to (export "to") {t} 10 funcref) (table $from {f} 10 funcref) (elem $e func $f $f $f $f $f)
            (func $f (export "f")) (type $t (func))
            (func (export "fill") (param {t} {t} {t}) (table.fill $to (local.get 0) (ref.null func) (local.get 2)))
            (func (export "copy") (param {t} {f} {len})
                (table.copy $to $from (local.get 0) (local.get 1) (local.get 2)))
            (func (export "init") (param {t} i32 i32) (table.init $to $e (local.get 0) (local.get 1) (local.get 2)))
            (func (export "get") (param {t} i32 i32) (drop (table.get $to (local.get 0))))
            (func (export "set") (param {t} i32 i32) (table.set $to (local.get 0) (ref.func $f)))
            (func (export "call") (param {t} i32 i32) (call_indirect $to (type $t) (local.get 0))))"#
        );
        everywhere(|name, engine| {
            let (mut store, instance) = instantiate(engine, &wat);
            let (to_64, from_64) = (t == "i64", f == "i64");
            let rows = [
                ("fill", to_64, None),
                ("copy", to_64 && from_64, Some((10, from_64))),
                ("init", false, Some((5, false))),
            ];
            for (op, len_64, source) in rows {
                for to in edges(to_64) {
                    for from in source.map_or(vec![0], |(_, is_64)| edges(is_64)) {
                        for len in edges(len_64) {
                            let fits = |at: u64, size: u128| u128::from(at) + u128::from(len) <= size;
                            let is_inside = fits(to, 10) && source.is_none_or(|(size, _)| fits(from, size));
                            let expected = if is_inside { Ok(vec![]) } else { Err(TrapCode::TableOutOfBounds) };
                            let got = call(&mut store, instance, op, &[to, from, len]);
                            assert_eq!(got, expected, "{name} {t} {f} {op} {to:#x} {from:#x} {len:#x}");
                        }
                    }
                }
            }
            for index in edges(to_64) {
                let outside = |code| if index < 10 { Ok(vec![]) } else { Err(code) };
                let set = call(&mut store, instance, "set", &[index, 0, 0]);
                assert_eq!(set, outside(TrapCode::TableOutOfBounds), "{name} set {index:#x}");
                let get = call(&mut store, instance, "get", &[index, 0, 0]);
                assert_eq!(get, outside(TrapCode::TableOutOfBounds), "{name} get {index:#x}");
                let called = call(&mut store, instance, "call", &[index, 0, 0]);
                assert_eq!(called, outside(TrapCode::UndefinedElement), "{name} call {index:#x}");
            }
        });
    }
}

/// The -1 of a growth that failed has 64 bits, and is an address outside also where an offset wraps it to the first bytes.
#[test]
fn c5_c6_failure_values_have_the_width_of_the_index() {
    let mut wat = String::from(
        "(module (memory (export \"m\") i64 1 1) (memory $b i64 3 5 (pagesize 1)) (table $t i64 1 1 funcref)\n",
    );
    let fails = [
        ("table", "(table.grow $t (ref.null func) (i64.const 1))"),
        ("wide", "(table.grow $t (ref.null func) (i64.const 0x100000000))"),
        ("memory", "(memory.grow (i64.const 1))"),
        ("huge", "(memory.grow (i64.const -1))"),
        ("wraps", "(memory.grow (i64.const 0x1000000000000))"),
        ("bytes", "(memory.grow $b (i64.const 3))"),
    ];
    for (what, fail) in fails {
        for offset in 0..=16 {
            let _ = writeln!(
                wat,
                "(func (export \"load {what} {offset}\") (result i32) (i32.load8_u offset={offset} {fail}))
                 (func (export \"store {what} {offset}\") (i64.store offset={offset} {fail} (i64.const -1)))
                 (func (export \"get {what} {offset}\") (drop (table.get $t {fail})))"
            );
        }
        let _ = writeln!(wat, "(func (export \"{what}\") (result i64) {fail})");
    }
    wat.push(')');
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, &wat);
        for (what, _) in fails {
            for offset in 0..=16 {
                for access in ["load", "store"] {
                    let got = call(&mut store, instance, &format!("{access} {what} {offset}"), &[]);
                    assert_eq!(got, Err(TrapCode::MemoryOutOfBounds), "{name} {access} {what} {offset}");
                }
                let got = call(&mut store, instance, &format!("get {what} {offset}"), &[]);
                assert_eq!(got, Err(TrapCode::TableOutOfBounds), "{name} {what}");
            }
            assert_eq!(call(&mut store, instance, what, &[]), Ok(vec![u64::MAX.into()]), "{name} {what}");
        }
        let memory = instance.get_memory(&store, "m").expect(name);
        assert!(memory.data(&store).iter().all(|byte| *byte == 0), "{name}");
    });
}

/// Sizes and growth of 64 bits are whole numbers of 64 bits, whatever the register held before.
#[test]
fn c6_sizes_of_64_bits_have_no_dirt_above() {
    let wat = r#"(module (import "h" "dirty" (func $dirty (result i64)))
        (memory $m i64 2 9) (memory $b i64 5 20 (pagesize 1)) (table $t i64 3 30 funcref)
        (func $after (param i64 i64) (result i64) (local.get 1))
        (func (export "m") (result i64) (call $after (call $dirty) (memory.size $m)))
        (func (export "b") (result i64) (call $after (call $dirty) (memory.size $b)))
        (func (export "t") (result i64) (call $after (call $dirty) (table.size $t)))
        (func (export "grow m") (result i64) (call $after (call $dirty) (memory.grow $m (i64.const 1))))
        (func (export "grow b") (result i64) (call $after (call $dirty) (memory.grow $b (i64.const 1))))
        (func (export "grow t") (result i64)
            (call $after (call $dirty) (table.grow $t (ref.null func) (i64.const 1))))
        (func (export "high m") (result i64) (i64.shr_u (memory.size $m) (i64.const 32)))
        (func (export "high t") (result i64) (i64.shr_u (table.size $t) (i64.const 32))))"#;
    everywhere(|name, engine| {
        let module = Module::new(engine, wat).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.func_wrap("h", "dirty", || -1_i64).expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module).expect(name);
        for (export, size) in [("m", 2), ("b", 5), ("t", 3)] {
            for turn in 0..3_u128 {
                assert_eq!(call(&mut store, instance, export, &[]), Ok(vec![size + turn]), "{name} {export}");
                let grown = call(&mut store, instance, &format!("grow {export}"), &[]);
                assert_eq!(grown, Ok(vec![size + turn]), "{name} grow {export}");
            }
        }
        for export in ["high m", "high t"] {
            assert_eq!(call(&mut store, instance, export, &[]), Ok(vec![0]), "{name} {export}");
        }
    });
}

/// Pages of one byte: the length grows byte by byte, over borders of host pages, and what comes new is zero.
#[test]
fn c9_bytes_behind_a_memory_of_small_pages_are_outside_until_it_grows() {
    for index in ["i32", "i64"] {
        let wat = format!(
            r#"(module (memory (export "m") {index} 4090 8200 (pagesize 1))
                (func (export "load") (param {index}) (result i32) (i32.load8_u (local.get 0)))
                (func (export "load2") (param {index}) (result i32) (i32.load16_u (local.get 0)))
                (func (export "store") (param {index}) (i32.store8 (local.get 0) (i32.const 255)))
                (func (export "fill") (param {index} {index})
                    (memory.fill (local.get 0) (i32.const 255) (local.get 1)))
                (func (export "size") (result {index}) (memory.size))
                (func (export "grow") (param {index}) (result {index}) (memory.grow (local.get 0))))"#
        );
        everywhere(|name, engine| {
            let (mut store, instance) = instantiate(engine, &wat);
            let outside = Err(TrapCode::MemoryOutOfBounds);
            let all = if index == "i64" { u64::MAX } else { u64::from(u32::MAX) };
            let mut len = 4090;
            while len < 8200 {
                let delta = if (4080..4110).contains(&len) || len > 8185 { 1 } else { 97.min(8200 - len) };
                assert_eq!(call(&mut store, instance, "load", &[len]), outside, "{name} {len}");
                assert_eq!(call(&mut store, instance, "load2", &[len - 1]), outside, "{name} {len}");
                assert_eq!(call(&mut store, instance, "store", &[len]), outside, "{name} {len}");
                assert_eq!(call(&mut store, instance, "fill", &[len - 1, 2]), outside, "{name} {len}");
                assert_eq!(call(&mut store, instance, "grow", &[8201 - len]), Ok(vec![all.into()]), "{name} {len}");
                assert_eq!(call(&mut store, instance, "grow", &[delta]), Ok(vec![len.into()]), "{name} {len}");
                assert_eq!(call(&mut store, instance, "load", &[len]), Ok(vec![0]), "{name} {len}");
                assert_eq!(call(&mut store, instance, "fill", &[len, delta]), Ok(vec![]), "{name} {len}");
                len += delta;
                assert_eq!(call(&mut store, instance, "size", &[]), Ok(vec![len.into()]), "{name} {len}");
            }
            assert_eq!(call(&mut store, instance, "load", &[8199]), Ok(vec![255]), "{name}");
        });
    }
}

/// Imported memories come first: each operation on an index must be on the memory of that index.
#[test]
fn d2_index_spaces_of_memories_do_not_shift() {
    let mut wat = String::from(
        r#"(module (import "h" "a" (memory $m0 1 4)) (import "h" "b" (memory $m1 i64 2 5))
            (memory $m2 (export "m2") 3 6) (memory $m3 (export "m3") i64 4 (pagesize 1)) (data $d "abcd")
            (data (memory $m1) (i64.const 16) "one") (data (memory $m2) (i32.const 16) "two") (export "m0" (memory $m0))
            (export "m1" (memory $m1))"#,
    );
    let indices = ["i32", "i64", "i32", "i64"];
    for (m, index) in indices.iter().enumerate() {
        let _ = writeln!(
            wat,
            r#"(func (export "store{m}") (param {index} i32) (i32.store8 $m{m} (local.get 0) (local.get 1)))
            (func (export "load{m}") (param {index}) (result i32) (i32.load8_u $m{m} (local.get 0)))
            (func (export "size{m}") (result {index}) (memory.size $m{m}))
            (func (export "grow{m}") (result {index}) (memory.grow $m{m} ({index}.const 1)))
            (func (export "fill{m}") (memory.fill $m{m} ({index}.const 1) (i32.const 0x2{m}) ({index}.const 2)))
            (func (export "init{m}") (memory.init $m{m} $d ({index}.const 0) (i32.const {m}) (i32.const 1)))"#
        );
        for (n, other) in indices.iter().enumerate() {
            let len = if (*index, *other) == ("i64", "i64") { "i64" } else { "i32" };
            let _ = writeln!(
                wat,
                "(func (export \"copy{m}{n}\") (memory.copy $m{m} $m{n} ({index}.const 3) ({other}.const 0) ({len}.const 1)))"
            );
        }
    }
    wat.push(')');
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        let memory = |min, max, memory64| MemoryType {
            limits: Limits64 { min, max: Some(max) },
            memory64,
            shared: false,
            page_size_log2: 16,
        };
        let a = Memory::new(&mut store, memory(1, 4, false)).expect(name);
        let b = Memory::new(&mut store, memory(2, 5, true)).expect(name);
        let mut linker: Linker<()> = Linker::new(engine);
        linker.define(&mut store, "h", "a", Extern::Memory(a)).expect(name);
        linker.define(&mut store, "h", "b", Extern::Memory(b)).expect(name);
        let instance = linker.instantiate(&mut store, &Module::new(engine, &wat).expect(name)).expect(name);
        let memories: Vec<Memory> =
            (0..4).map(|m| instance.get_memory(&store, &format!("m{m}")).expect(name)).collect();
        let mut models: Vec<Vec<u8>> = [1, 2, 3].iter().map(|pages| vec![0; pages * PAGE as usize]).collect();
        models.push(vec![0; 4]);
        models[1][16..19].copy_from_slice(b"one");
        models[2][16..19].copy_from_slice(b"two");
        let run = |store: &mut Store<()>, export: String, args: &[u64]| -> Vec<u128> {
            call(store, instance, &export, args).unwrap_or_else(|trap| panic!("{name} {export}: {trap}"))
        };
        for (m, model) in (0..4_u8).zip(&mut models) {
            run(&mut store, format!("store{m}"), &[2, 0x10 + u64::from(m)]);
            model[2] = 0x10 + m;
            run(&mut store, format!("fill{m}"), &[]);
            model[1..3].fill(0x20 + m);
            run(&mut store, format!("init{m}"), &[]);
            model[0] = b"abcd"[usize::from(m)];
        }
        for (m, n) in (0..4).flat_map(|m| (0..4).map(move |n| (m, n))) {
            run(&mut store, format!("copy{m}{n}"), &[]);
            models[m][3] = models[n][0];
            assert_eq!(run(&mut store, format!("load{m}"), &[3]), [models[n][0].into()], "{name} {m} {n}");
            assert_eq!(run(&mut store, format!("load{m}"), &[1]), [0x20 + m as u128], "{name} {m} {n}");
        }
        for (m, memory) in memories.iter().enumerate() {
            assert!(memory.data(&store) == models[m], "{name} memory {m}");
            let size = m as u128 + 1;
            assert_eq!(run(&mut store, format!("size{m}"), &[]), [size], "{name}");
            assert_eq!(run(&mut store, format!("grow{m}"), &[]), [size], "{name}");
            assert_eq!(run(&mut store, format!("size{m}"), &[]), [size + 1], "{name}");
        }
        assert_eq!((a.size(&store), b.size(&store)), (2, 3), "{name}");
    });
}

/// Calls between instances whose first memories differ use each its own.
#[test]
fn d2_the_first_memory_is_that_of_the_running_instance() {
    let inner = r#"(module (memory i64 1) (memory 1) (data (memory 1) (i32.const 5) "\2a")
        (func (export "f") (param i64) (result i32)
            (i64.store8 (local.get 0) (i64.const 7))
            (i32.add (i32.load8_u 1 (i32.const 5)) (i32.load8_u (local.get 0)))))"#;
    let outer = r#"(module (import "inner" "f" (func $f (param i64) (result i32)))
        (memory 1 (pagesize 1)) (memory i64 2)
        (func (export "g") (param i64) (result i32) (local $sum i32)
            (i32.store8 (i32.const 0) (i32.const 100))
            (local.set $sum (call $f (local.get 0)))
            (i64.store8 1 (i64.const 70000) (i64.const 1))
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u 1 (i64.const 70000))))
            (i32.add (local.get $sum) (i32.load8_u (i32.const 0)))))"#;
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        let mut linker: Linker<()> = Linker::new(engine);
        let first = linker.instantiate(&mut store, &Module::new(engine, inner).expect(name)).expect(name);
        let inner = first.get_export(&store, "f").expect(name);
        linker.define(&mut store, "inner", "f", inner).expect(name);
        let second = linker.instantiate(&mut store, &Module::new(engine, outer).expect(name)).expect(name);
        for _ in 0..4 {
            assert_eq!(call(&mut store, second, "g", &[60_000]), Ok(vec![42 + 7 + 1 + 100]), "{name}");
        }
        assert_eq!(call(&mut store, second, "g", &[PAGE]), Err(TrapCode::MemoryOutOfBounds), "{name}");
    });
}

/// Minimums that no machine has are errors; maximums are promises that need not be kept.
#[test]
fn d3_huge_memories_and_tables_of_64_bits_are_clean_errors() {
    let refused = [
        "(module (memory i64 0x1000000000000))",
        "(module (memory i64 0x1000000000001))",
        "(module (memory i64 0xffffffffffffffff (pagesize 1)))",
        "(module (memory i64 0x1000000000 (pagesize 1)) (memory i64 0x1000000001 (pagesize 1)))",
        "(module (memory i64 0x100001))",
        "(module (memory 0xffffffff (pagesize 1)) (memory i64 0xfffffffffff))",
        "(module (table i64 0x2000000000000000 funcref))",
        "(module (table i64 0xffffffffffffffff externref))",
    ];
    let kinds = [ErrorKind::Invalid, ErrorKind::Limit, ErrorKind::Resource];
    everywhere(|name, engine| {
        for text in refused {
            let mut store = Store::new(engine, ());
            let linker = Linker::new(engine);
            let made = Module::new(engine, text).and_then(|module| linker.instantiate(&mut store, &module));
            let error = made.expect_err(text);
            assert!(kinds.contains(&error.kind()), "{name} {text}: {error}");
        }
        let wat = r#"(module (memory $a i64 1 0x1000000000000) (memory $b i64 0 0xffffffffffffffff (pagesize 1))
            (table $t i64 0 0xffffffffffffffff funcref)
            (func (export "a") (param i64) (result i64) (memory.grow $a (local.get 0)))
            (func (export "b") (param i64) (result i64) (memory.grow $b (local.get 0)))
            (func (export "t") (param i64) (result i64) (table.grow $t (ref.null func) (local.get 0))))"#;
        let (mut store, instance) = instantiate(engine, wat);
        for delta in [1 << 40, (1 << 48) - 1, 1 << 48, 1 << 61, 1 << 63, u64::MAX] {
            for export in ["a", "b", "t"] {
                let got = call(&mut store, instance, export, &[delta]);
                assert_eq!(got, Ok(vec![u64::MAX.into()]), "{name} {export} {delta:#x}");
            }
        }
        assert_eq!(call(&mut store, instance, "a", &[1]), Ok(vec![1]), "{name}");
        assert_eq!(call(&mut store, instance, "b", &[10]), Ok(vec![0]), "{name}");
    });
}

/// A memory of 64-bit addresses never moves: what it can grow to is settled, by the least of what its module declares,
/// the configuration's ceiling and the store's limit.
#[test]
fn d3_d8_a_memory_of_64_bits_grows_to_the_least_of_its_bounds() {
    let wat = r#"(module (memory (export "m") i64 1 8)
        (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0))))"#;
    for (ceiling, limit, pages) in [(5 * PAGE + 1, 1 << 40, 5), (1 << 36, 4 * PAGE, 4), (1 << 36, 1 << 36, 8)] {
        for (name, engine) in engines(|config| {
            config.wasm_memory64(true).memory64_ceiling(ceiling);
        }) {
            let mut store = Store::new(&engine, ());
            store.set_limits(StoreLimits { memory_bytes: limit, ..StoreLimits::default() });
            let module = Module::new(&engine, wat).expect(&name);
            let instance = Linker::new(&engine).instantiate(&mut store, &module).expect(&name);
            let memory = instance.get_memory(&store, "m").expect(&name);
            let base = memory.data(&store).as_ptr();
            for size in 1..pages {
                assert_eq!(call(&mut store, instance, "grow", &[1]), Ok(vec![size]), "{name} {ceiling} {limit}");
            }
            assert_eq!(call(&mut store, instance, "grow", &[1]), Ok(vec![u64::MAX.into()]), "{name} {ceiling} {limit}");
            assert_eq!(memory.data(&store).as_ptr(), base, "{name}: the memory moved");
        }
    }
}

/// Memories and tables of one index type are no import for the other; nor are those of one page size.
#[test]
fn d2_kinds_are_told_apart_when_they_are_linked() {
    let imports = [
        ("memory32", "(memory 1)"),
        ("memory64", "(memory i64 1)"),
        ("bytes32", "(memory 1 (pagesize 1))"),
        ("bytes64", "(memory i64 1 (pagesize 1))"),
        ("table32", "(table 1 funcref)"),
        ("table64", "(table i64 1 funcref)"),
    ];
    let mut exporter = String::from("(module ");
    for (name, ty) in imports {
        exporter.push_str(&ty.replacen(' ', &format!(" (export \"{name}\") "), 1));
    }
    exporter.push(')');
    everywhere(|name, engine| {
        let mut store = Store::new(engine, ());
        let mut linker: Linker<()> = Linker::new(engine);
        let instance = linker.instantiate(&mut store, &Module::new(engine, &exporter).expect(name)).expect(name);
        for (export, _) in imports {
            let value = instance.get_export(&store, export).expect(name);
            linker.define(&mut store, "h", export, value).expect(name);
        }
        for (export, _) in imports {
            for (wanted, ty) in imports {
                let module = Module::new(engine, format!("(module (import \"h\" \"{export}\" {ty}))")).expect(name);
                let linked = linker.instantiate(&mut store, &module);
                match linked {
                    Ok(_) => assert_eq!(export, wanted, "{name}"),
                    Err(error) => {
                        assert_ne!(export, wanted, "{name}: {error}");
                        assert_eq!(error.kind(), ErrorKind::Link, "{name} {export} {wanted}: {error}");
                    }
                }
            }
        }
    });
}

/// A branch that is mispredicted reads nothing beyond a memory that is checked by comparing: every kind but the usual one.
#[test]
#[cfg(target_arch = "x86_64")]
fn c14_checked_addresses_of_every_kind_are_masked_against_speculation() {
    let wat = "(module (memory i64 1) (memory 1 (pagesize 1)) (table i64 4 16 funcref)
        (func (param i64) (result i32) (i32.load offset=8 (local.get 0)))
        (func (param i64) (i32.store offset=0x100000000 (local.get 0) (i32.const 1)))
        (func (param i32) (result i32) (i32.load8_u 1 (local.get 0)))
        (func (param i64) (result funcref) (table.get (local.get 0)))
        (func (param i64) (call_indirect (local.get 0))))";
    everywhere(|name, engine| {
        if name.starts_with("Interpreter") {
            return;
        }
        let module = Module::new(engine, wat).expect(name);
        for func in 0..5 {
            let text = aura_runtime::inspect::asm_text(&module, func).expect(name);
            assert!(text.contains("cmov"), "{name} function {func}: {text}");
        }
    });
}
