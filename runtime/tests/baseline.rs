//! Machine code for cells of the interpreter: it does what their handlers do, and it is there.

#[path = "common/outcome.rs"]
mod outcome;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aura_runtime::{
    Bounds, Config, Engine, Error, Func, FuncType, Instance, Linker, Module, Store, Strategy, TrapCode, Val, ValType,
    inspect,
};
use outcome::{Outcome, outcome, value};

/// The interpreter by itself, and with machine code from the first and the second entry on, in both bounds modes.
fn engines(configure: impl Fn(&mut Config)) -> Vec<(Option<u32>, Engine)> {
    let mut engines = Vec::new();
    for threshold in [None, Some(0), Some(1)] {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let mut config = Config::new();
            config.strategy(Strategy::Interpreter).bounds(bounds).interpreter_jumps(true).baseline(threshold.is_some());
            config.baseline_threshold(threshold.unwrap_or_default());
            configure(&mut config);
            engines.push((threshold, Engine::new(&config).expect("the configuration is sound")));
        }
    }
    engines
}

fn start(engine: &Engine, wat: &str) -> (Module, Store<()>, Instance) {
    let module = Module::new(engine, wat).expect("the test's module is valid");
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("it instantiates");
    (module, store, instance)
}

fn func(store: &mut Store<()>, instance: Instance, name: &str) -> Func {
    instance.get_func(&mut *store, name).unwrap_or_else(|| panic!("{name} is exported"))
}

/// Runs a script on each engine; all say the same. Returns what they said, and the last module, which has code.
fn same(wat: &str, run: impl Fn(&mut Store<()>, Instance) -> String) -> (String, Module) {
    let mut said: Option<String> = None;
    let mut last = None;
    for (threshold, engine) in engines(|_| {}) {
        let (module, mut store, instance) = start(&engine, wat);
        let now = run(&mut store, instance);
        let first = said.get_or_insert_with(|| now.clone());
        for (line, (expected, found)) in first.lines().zip(now.lines()).enumerate() {
            assert_eq!(expected, found, "line {line}, threshold {threshold:?}");
        }
        assert_eq!(first.len(), now.len(), "threshold {threshold:?}");
        last = Some(module);
    }
    (said.expect("there are engines"), last.expect("there are engines"))
}

/// A result that can be compared, with every NaN the same: which one it is, is not said.
fn canonical(ty: &str, outcome: &Outcome) -> String {
    match outcome {
        Ok(values) => {
            let is_nan = match ty {
                "f32" => f32::from_bits(values[0] as u32).is_nan(),
                "f64" => f64::from_bits(values[0] as u64).is_nan(),
                _ => false,
            };
            if is_nan { "NaN".to_owned() } else { format!("{values:x?}") }
        }
        Err(code) => format!("{code:?}"),
    }
}

/// Numeric operators: class of operands, class of the result, names, how many operands.
const ROWS: &[(&str, &str, &[&str], usize)] = &[
    ("i32", "i32", &["add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr"], 2),
    ("i64", "i64", &["add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr"], 2),
    ("i32", "i32", &["div_s", "div_u", "rem_s", "rem_u"], 2),
    ("i64", "i64", &["div_s", "div_u", "rem_s", "rem_u"], 2),
    ("i32", "i32", &["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"], 2),
    ("i64", "i32", &["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"], 2),
    ("f32", "f32", &["add", "sub", "mul", "div"], 2),
    ("f64", "f64", &["add", "sub", "mul", "div"], 2),
    ("f32", "i32", &["eq", "ne", "lt", "gt", "le", "ge"], 2),
    ("f64", "i32", &["eq", "ne", "lt", "gt", "le", "ge"], 2),
    ("i32", "i32", &["eqz", "clz", "ctz", "extend8_s", "extend16_s"], 1),
    ("i64", "i64", &["clz", "ctz", "extend8_s", "extend16_s", "extend32_s"], 1),
    ("i64", "i32", &["eqz"], 1),
    ("i64", "i32", &["=i32.wrap_i64"], 1),
    ("i32", "i64", &["=i64.extend_i32_s", "=i64.extend_i32_u"], 1),
    ("f32", "f32", &["neg", "abs"], 1),
    ("f64", "f64", &["neg", "abs"], 1),
    ("i32", "f32", &["=f32.convert_i32_s", "=f32.convert_i32_u", "=f32.reinterpret_i32"], 1),
    ("i32", "f64", &["=f64.convert_i32_s", "=f64.convert_i32_u"], 1),
    ("i64", "f32", &["=f32.convert_i64_s"], 1),
    ("i64", "f64", &["=f64.convert_i64_s", "=f64.reinterpret_i64"], 1),
    ("f32", "i32", &["=i32.trunc_f32_s", "=i32.trunc_f32_u", "=i32.reinterpret_f32"], 1),
    ("f64", "i32", &["=i32.trunc_f64_s", "=i32.trunc_f64_u"], 1),
    ("f32", "i32", &["=i32.trunc_sat_f32_s", "=i32.trunc_sat_f32_u"], 1),
    ("f64", "i32", &["=i32.trunc_sat_f64_s", "=i32.trunc_sat_f64_u"], 1),
    ("f32", "i64", &["=i64.trunc_f32_s", "=i64.trunc_f32_u", "=i64.trunc_sat_f32_s", "=i64.trunc_sat_f32_u"], 1),
    ("f64", "i64", &["=i64.trunc_f64_s", "=i64.trunc_f64_u", "=i64.trunc_sat_f64_s", "=i64.trunc_sat_f64_u"], 1),
    ("f64", "i64", &["=i64.reinterpret_f64"], 1),
];

fn value_type(ty: &str) -> ValType {
    match ty {
        "i32" => ValType::I32,
        "i64" => ValType::I64,
        "f32" => ValType::F32,
        _ => ValType::F64,
    }
}

/// Bits at which operators change what they do.
fn edges(ty: &str) -> Vec<u64> {
    let narrow = |x: f32| u64::from(x.to_bits());
    match ty {
        "i32" => vec![0, 1, 2, 31, 32, 0x7f, 0x80, 0xff, 0x8000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1234_5678],
        "i64" => vec![
            0,
            1,
            63,
            64,
            0x80,
            0xffff_ffff,
            0x8000_0000,
            0x7fff_ffff,
            1 << 63,
            u64::MAX,
            u64::MAX >> 1,
            0x1_2345_6789,
        ],
        "f32" => [0.0, -0.0, 1.0, -0.9, 1.5, -1.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 2147483648.0]
            .into_iter()
            .chain([-2147483648.0, 4294967296.0, 9223372036854775808.0, -9223372036854775808.0, 18446744073709551616.0])
            .map(narrow)
            .collect(),
        _ => [0.0, -0.0, 1.0, -0.9, 1.5, -1.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 2147483647.5]
            .into_iter()
            .chain([2147483648.0, -2147483648.5, -2147483649.0, 4294967295.5, 4294967296.0, 9223372036854775808.0])
            .chain([-9223372036854775808.0, 18446744073709551616.0])
            .map(f64::to_bits)
            .collect(),
    }
}

fn constant(ty: &str, bits: u64) -> String {
    match ty {
        "i32" => format!("(i32.const {:#x})", bits as u32),
        "i64" => format!("(i64.const {bits:#x})"),
        "f32" => format!("(f32.const {:?})", f32::from_bits(bits as u32)).to_lowercase(),
        _ => format!("(f64.const {:?})", f64::from_bits(bits)).to_lowercase(),
    }
}

/// Functions of two operands that compute a row with its operands in slots, in the accumulator or in the cell, and its result where it is
/// read from there, from its slot, or by a branch.
fn forms(ty: &str, result: &str, op: &str, operands: usize) -> Vec<String> {
    let held = |n: usize| format!("(global.get $g{n})");
    let slot = |n: usize| format!("(local.get {n})");
    let pairs = match operands {
        1 => vec![vec![slot(0)], vec![held(0)]],
        _ => {
            let some = edges(ty).into_iter().step_by(3).map(|bits| constant(ty, bits)).collect::<Vec<_>>();
            let mut pairs =
                vec![vec![slot(0), slot(1)], vec![held(0), slot(1)], vec![slot(0), held(1)], vec![slot(0), slot(0)]];
            for one in &some {
                pairs.extend([vec![slot(0), one.clone()], vec![held(0), one.clone()], vec![one.clone(), slot(1)]]);
                pairs.push(vec![one.clone(), held(1)]);
            }
            pairs
        }
    };
    let mut forms = Vec::new();
    for pair in pairs {
        let row = format!("({op} {})", pair.join(" "));
        forms.push(row.clone());
        forms.push(format!("(local.set 2 {row}) (local.get 2) (drop) (local.get 2)"));
        if result == "i32" {
            forms.push(format!("(if (result i32) {row} (then (i32.const 10)) (else (i32.const 20)))"));
            forms.push(format!("(block (br_if 0 {row}) (return (i32.const 30))) (i32.const 40)"));
        }
    }
    forms
}

#[test]
fn rows_are_what_handlers_compute_wherever_operands_are() {
    for &(ty, result, names, operands) in ROWS {
        for name in names {
            let op = name.strip_prefix('=').map_or_else(|| format!("{ty}.{name}"), str::to_owned);
            let forms = forms(ty, result, &op, operands);
            let mut wat =
                format!("(module (global $g0 (mut {ty}) ({ty}.const 0)) (global $g1 (mut {ty}) ({ty}.const 0))");
            for (n, form) in forms.iter().enumerate() {
                let _ = write!(
                    wat,
                    "(func (export \"{n}\") (param {ty} {ty}) (result {result}) (local {result})
                     (global.set $g0 (local.get 0)) (global.set $g1 (local.get 1)) {form})"
                );
            }
            wat.push(')');
            let (_, module) = same(&wat, |store, instance| {
                let mut text = String::new();
                for (n, form) in forms.iter().enumerate() {
                    let function = func(store, instance, &n.to_string());
                    for a in edges(ty) {
                        // With a constant among them, one operand is enough.
                        let others = if form.contains(".const") { vec![a] } else { edges(ty) };
                        for b in others {
                            let args = [a, b].map(|bits| value(value_type(ty), bits.into()));
                            let found = outcome(&mut *store, function, &args);
                            let _ = writeln!(text, "{form} {a:x} {b:x}: {}", canonical(result, &found));
                        }
                    }
                }
                text
            });
            // Four cells at least for the globals, the row and the return.
            let with_code = inspect::cells_with_code(&module, 0).expect("it has code");
            assert!(with_code >= 4, "{op}: {with_code} cells with code");
        }
    }
}

/// Loads and stores: name, class, bytes.
const ACCESSES: &[(&str, &str, u64)] = &[
    ("i32.load", "i32", 4),
    ("i64.load", "i64", 8),
    ("f32.load", "f32", 4),
    ("f64.load", "f64", 8),
    ("i32.load8_s", "i32", 1),
    ("i32.load8_u", "i32", 1),
    ("i32.load16_s", "i32", 2),
    ("i32.load16_u", "i32", 2),
    ("i64.load8_s", "i64", 1),
    ("i64.load8_u", "i64", 1),
    ("i64.load16_s", "i64", 2),
    ("i64.load16_u", "i64", 2),
    ("i64.load32_s", "i64", 4),
    ("i64.load32_u", "i64", 4),
    ("i32.store", "i32", 4),
    ("i64.store", "i64", 8),
    ("f32.store", "f32", 4),
    ("f64.store", "f64", 8),
    ("i32.store8", "i32", 1),
    ("i32.store16", "i32", 2),
    ("i64.store8", "i64", 1),
    ("i64.store16", "i64", 2),
    ("i64.store32", "i64", 4),
];

const PAGE: u64 = 65536;

#[test]
fn accesses_end_where_the_memory_does_wherever_their_address_is() {
    for &(op, ty, size) in ACCESSES {
        let is_load = op.contains("load");
        let addresses =
            ["(local.get 0)", "(global.get $g)", "(i32.add (local.get 0) (local.get 1))"].map(str::to_owned);
        let fixed =
            [0, PAGE - size, PAGE - size + 1, PAGE, 0x7fff_ffff, 0xffff_ffff].map(|at| format!("(i32.const {at:#x})"));
        let sums = ["(i32.add (global.get $g) (local.get 1))".to_owned()];
        let values = ["(local.get 2)", "(global.get $v)", "(VALUE)"];
        let mut forms = Vec::new();
        for address in addresses.iter().chain(&sums).chain(&fixed) {
            for offset in [0, 8, PAGE - size, PAGE - size + 1, 0x7fff_fff0, 0x7fff_ffff, 0xffff_ffff] {
                if is_load {
                    forms.push(format!("({op} offset={offset} {address})"));
                    forms.push(format!("(local.set 2 ({op} offset={offset} {address})) (local.get 2)"));
                } else {
                    for value in values {
                        let value = if value == "(VALUE)" { format!("({ty}.const 77)") } else { value.to_owned() };
                        forms.push(format!("({op} offset={offset} {address} {value}) (local.get 2)"));
                    }
                }
            }
        }
        let mut wat = format!(
            "(module (memory (export \"m\") 1) (global $g (mut i32) (i32.const 0)) (global $v (mut {ty}) ({ty}.const 0))"
        );
        for (n, form) in forms.iter().enumerate() {
            let _ = write!(
                wat,
                "(func (export \"{n}\") (param i32 i32 {ty}) (result {ty})
                 (global.set $g (local.get 0)) (global.set $v (local.get 2)) {form})"
            );
        }
        wat.push(')');
        let starts =
            [0, 1, PAGE - size, PAGE - size + 1, PAGE - 1, PAGE, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000 - PAGE];
        same(&wat, |store, instance| {
            let pattern: Vec<u8> = (0..PAGE).map(|n| (n * 157) as u8).collect();
            let memory = instance.get_memory(&mut *store, "m").expect("it is exported");
            let mut text = String::new();
            for (n, form) in forms.iter().enumerate() {
                let function = func(store, instance, &n.to_string());
                memory.write(&mut *store, 0, &pattern).expect("it is as long");
                for (turn, start) in (0..).zip(starts) {
                    let args =
                        [Val::I32(start as i32), Val::I32(3), value(value_type(ty), 0x4142_4344_4546_4748 + turn)];
                    let found = outcome(&mut *store, function, &args);
                    let _ = writeln!(text, "{form} {start:x}: {}", canonical(ty, &found));
                }
                let bytes = memory.data(&*store);
                let changed = bytes.iter().zip(&pattern).enumerate().filter(|(_, (now, before))| now != before);
                let _ = writeln!(text, "{form}: {:x?}", changed.collect::<Vec<_>>());
            }
            text
        });
    }
}

/// Calls with so many arguments, of own functions and of elements.
#[test]
fn calls_hand_over_arguments_and_results() {
    let counts = [0, 1, 2, 3, 4, 5, 9, 16, 17, 30];
    for ty in ["i32", "i64", "f32", "f64"] {
        let (add, mut wat) = (format!("{ty}.add"), String::from("(module (table 40 funcref)"));
        for n in counts {
            let sum = (0..n).fold(format!("({ty}.const 1)"), |sum, k| format!("({add} (local.get {k}) {sum})"));
            let args = (0..n).map(|k| format!("({add} (local.get 0) ({ty}.const {k}))")).collect::<String>();
            let _ = write!(
                wat,
                "(type $t{n} (func {params} (result {ty}))) (elem (i32.const {n}) $f{n})
                 (func $f{n} (type $t{n}) {sum})
                 (func $nothing{n} {params} {drops})
                 (func (export \"own{n}\") (param {ty}) (result {ty})
                     (call $nothing{n} {args}) ({add} (call $f{n} {args}) (call $f{n} {args})))
                 (func (export \"element{n}\") (param {ty} i32) (result {ty}) (call_indirect (type $t{n}) {args} (local.get 1)))",
                params = format!("(param {ty})").repeat(n),
                drops = (0..n).map(|k| format!("(drop (local.get {k}))")).collect::<String>(),
            );
        }
        wat.push(')');
        same(&wat, |store, instance| {
            let mut text = String::new();
            for n in counts {
                let (own, element) =
                    (func(store, instance, &format!("own{n}")), func(store, instance, &format!("element{n}")));
                for x in [0, 1, 77] {
                    let x = value(value_type(ty), if ty == "f32" { 0x3f80_0000 + x } else { x });
                    let _ = writeln!(text, "{n} {:x?}", outcome(&mut *store, own, &[x]));
                    // The right one, another type, null, none.
                    for index in [n, if n == 1 { 2 } else { 1 }, 39, 40, usize::MAX] {
                        let found = outcome(&mut *store, element, &[x, Val::I32(index as i32)]);
                        let _ = writeln!(text, "{n} {index} {found:x?}");
                    }
                }
            }
            text
        });
    }
}

#[test]
fn imported_functions_and_other_instances_are_called() {
    let lib = r#"(module (memory 1) (global $n (mut i32) (i32.const 5))
        (func (export "next") (param i32) (result i32)
            (global.set $n (i32.add (global.get $n) (local.get 0)))
            (i32.store (i32.const 0) (global.get $n)) (i32.load (i32.const 0))))"#;
    let user = r#"(module (import "lib" "next" (func $next (param i32) (result i32)))
        (import "host" "twice" (func $twice (param i64) (result i64)))
        (memory 2) (table 3 funcref) (type $t (func (param i32) (result i32)))
        (elem (i32.const 0) $next $own) (func $own (type $t) (i32.mul (local.get 0) (i32.const 3)))
        (func (export "run") (param i32 i32) (result i32)
            (i32.store (i32.const 70000) (local.get 0))
            (drop (call $next (i32.const 1)))
            (drop (call $twice (i64.const 4)))
            (i32.add (call_indirect (type $t) (local.get 0) (local.get 1))
                (i32.add (i32.load (i32.const 70000)) (i32.wrap_i64 (call $twice (i64.const 21)))))))"#;
    let mut said = Vec::new();
    for (threshold, engine) in engines(|_| {}) {
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "twice", |x: i64| x * 2).expect("a new name");
        let lib = linker.instantiate(&mut store, &Module::new(&engine, lib).expect("valid")).expect("it links");
        let next = func(&mut store, lib, "next");
        linker.define(&store, "lib", "next", next).expect("a new name");
        let instance = linker.instantiate(&mut store, &Module::new(&engine, user).expect("valid")).expect("it links");
        let run = func(&mut store, instance, "run");
        let found: Vec<_> = (0..12).map(|n| outcome(&mut store, run, &[Val::I32(n), Val::I32(n % 4)])).collect();
        said.push((threshold, found));
    }
    assert!(said.iter().all(|(_, found)| *found == said[0].1), "{said:?}");
}

fn trap_of(error: &Error) -> String {
    error.trap().map_or_else(|| error.to_string(), |trap| format!("{:?} {:?}", trap.code(), trap.frames()))
}

#[test]
fn traps_are_where_they_are_and_the_stack_ends_where_it_does() {
    let wat = r#"(module (memory 1) (global $depth (export "depth") (mut i32) (i32.const 0)) (table 2 funcref)
        (type $t (func (param i32)))
        (func $deep (export "deep") (param $n i32) (global.set $depth (local.get $n)) (call $deep (i32.add (local.get $n) (i32.const 1))))
        (func $wide (export "wide") (param $n i32) (local i64 i64 i64 i64 i64 i64)
            (global.set $depth (local.get $n)) (call $wide (i32.add (local.get $n) (i32.const 1))))
        (func $inner (param i32)
            (drop (i32.div_s (i32.const 7) (local.get 0)))
            (drop (i32.load offset=65520 (local.get 0)))
            (drop (i32.trunc_f64_s (f64.div (f64.const 1) (f64.sub (f64.convert_i32_s (local.get 0)) (f64.const 3)))))
            (if (i32.eq (local.get 0) (i32.const 4)) (then unreachable))
            (call_indirect (type $t) (local.get 0) (local.get 0)))
        (func $middle (param i32) (drop (i32.const 1)) (call $inner (local.get 0)) (nop))
        (func (export "run") (param i32) (call $middle (local.get 0)) (call $middle (local.get 0))))"#;
    let (said, _) = same(wat, |store, instance| {
        let mut text = String::new();
        for _ in 0..3 {
            for n in [0, 1, 2, 3, 4, 5, 6, 100_000] {
                let run = func(store, instance, "run");
                let error = run.call(&mut *store, &[Val::I32(n)], &mut []).expect_err("it traps");
                let _ = writeln!(text, "{n}: {}", trap_of(&error));
            }
            for name in ["deep", "wide"] {
                let function = func(store, instance, name);
                assert_eq!(outcome(&mut *store, function, &[Val::I32(0)]), Err(TrapCode::StackOverflow));
                let depth = instance.get_global(&mut *store, "depth").expect("it is exported").get(&mut *store);
                let _ = writeln!(text, "{name} {depth:?}");
            }
        }
        text
    });
    let codes = ["IntegerDivideByZero", "MemoryOutOfBounds", "IntegerOverflow", "Unreachable", "UninitializedElement"];
    for code in codes.into_iter().chain(["UndefinedElement"]) {
        assert!(said.contains(code), "{code} in {said}");
    }
}

#[test]
fn locals_begin_as_zeros_where_others_were_before() {
    let counts = [1, 2, 5, 8, 9, 24, 25, 40];
    let mut wat = String::from("(module");
    for n in counts {
        let sum = (0..n).fold(String::from("(i64.const 0)"), |sum, k| format!("(i64.or (local.get {k}) {sum})"));
        let sets = (0..n).map(|k| format!("(local.set {k} (i64.const {}))", k + 1)).collect::<String>();
        let locals = "i64 ".repeat(n);
        let _ = write!(
            wat,
            "(func $zeros{n} (result i64) (local {locals}) {sum})
             (func $dirty{n} (local {locals}) {sets} (drop {sum}))
             (func (export \"{n}\") (result i64) (call $dirty{n}) (call $zeros{n}))"
        );
    }
    wat.push(')');
    let (said, module) = same(&wat, |store, instance| {
        let line = |n: usize| {
            let function = func(store, instance, &n.to_string());
            format!("{n}: {:?}, {:?}\n", outcome(&mut *store, function, &[]), outcome(&mut *store, function, &[]))
        };
        counts.map(line).concat()
    });
    assert_eq!(said, counts.map(|n| format!("{n}: Ok([0]), Ok([0])\n")).concat());
    assert!((0..3 * counts.len() as u32).all(|own_func| inspect::cells_with_code(&module, own_func).is_some()));
}

const WORK: &str = r#"(module (memory 1) (global $g (mut i64) (i64.const 0))
    (func $add (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
    (func (export "run") (param $n i32) (result i64) (local $k i32)
        (loop $outer
            (local.set $k (i32.const 0))
            (loop $inner
                (global.set $g (call $add (global.get $g) (i64.extend_i32_u (local.get $k))))
                (i64.store (i32.shl (local.get $k) (i32.const 3)) (global.get $g))
                (br_if $inner (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 5))))
            (block $d (block $c (block $b (block $a (br_table $a $b $c $d (local.get $n)))
                (global.set $g (i64.xor (global.get $g) (i64.const 7))))
                (global.set $g (i64.mul (global.get $g) (i64.const 3))))
                (global.set $g (i64.sub (global.get $g) (i64.const 9))))
            (br_if $outer (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (global.get $g)))"#;

#[test]
fn fuel_is_charged_to_the_same_block() {
    let mut said = Vec::new();
    for (threshold, engine) in engines(|config| {
        config.consume_fuel(true).deterministic(true);
    }) {
        let mut lines = Vec::new();
        for fuel in (0..400).chain([5000]) {
            let (_, mut store, instance) = start(&engine, WORK);
            store.set_fuel(fuel).expect("it counts fuel");
            let run = func(&mut store, instance, "run");
            let mut results = [Val::I64(0)];
            let found = run.call(&mut store, &[Val::I32(6)], &mut results);
            let found = found.map_or_else(|error| trap_of(&error), |()| format!("{results:?}"));
            lines.push(format!("{fuel}: {found}, {:?} left", store.get_fuel().expect("it counts fuel")));
        }
        said.push((threshold, lines));
    }
    for (threshold, lines) in &said {
        for (line, expected) in lines.iter().zip(&said[0].1) {
            assert_eq!(line, expected, "{threshold:?}");
        }
    }
    assert!(said[0].1.last().expect("a run").contains("I64("), "enough fuel is enough: {:?}", said[0].1.last());
}

#[test]
fn what_never_ends_is_interrupted() {
    let wat = r#"(module
        (func (export "loop") (loop (br 0)))
        (func $down (param i32) (result i32)
            (if (result i32) (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 0))))
        (func (export "calls") (local i32) (loop (drop (call $down (i32.const 100))) (br 0))))"#;
    for (threshold, engine) in engines(|_| {}) {
        let (_, mut store, instance) = start(&engine, wat);
        for name in ["loop", "calls", "loop"] {
            let function = func(&mut store, instance, name);
            let before = Instant::now();
            store.set_deadline(Duration::from_millis(30));
            assert_eq!(outcome(&mut store, function, &[]), Err(TrapCode::Interrupted), "{threshold:?} {name}");
            assert!(before.elapsed() >= Duration::from_millis(30), "{threshold:?} {name}: not before its time");
        }
    }
}

/// Exceptions go through frames with code, and references in them are seen by the collector.
#[test]
fn exceptions_and_references_pass_through_frames() {
    let wat = r#"(module (tag $e (param i32)) (type $cell (struct (field (mut i32))))
        (func $make (param i32) (result (ref $cell)) (struct.new $cell (local.get 0)))
        (func $inner (param i32) (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 3))) (then (throw $e (local.get 0)))))
        (func $middle (param i32) (result i32) (local $kept (ref null $cell))
            (local.set $kept (call $make (local.get 0)))
            (drop (call $make (i32.const 9)))
            (call $inner (local.get 0))
            (struct.get $cell 0 (local.get $kept)))
        (func (export "run") (param $n i32) (result i32) (local $sum i32)
            (loop $again
                (local.set $sum (i32.add (local.get $sum)
                    (block $caught (result i32)
                        (br $caught (try_table (result i32) (catch $e $caught) (call $middle (local.get $n)))))))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $sum)))"#;
    let mut said = Vec::new();
    for (threshold, engine) in engines(|config| {
        config.gc_stress(true);
    }) {
        let (module, mut store, instance) = start(&engine, wat);
        let run = func(&mut store, instance, "run");
        let found: Vec<_> = [1, 7, 40].map(|n| outcome(&mut store, run, &[Val::I32(n)])).into();
        assert_eq!(inspect::cells_with_code(&module, 2).is_some(), threshold.is_some());
        said.push(found);
    }
    assert_eq!(said[0], [Ok(vec![1]), Ok(vec![28]), Ok(vec![820])]);
    assert!(said.iter().all(|found| *found == said[0]), "{said:?}");
}

/// Code of a function that is warm waits for others, but not long; without thresholds, too.
#[test]
fn warm_functions_get_code_by_themselves() {
    let mut config = Config::new();
    config.strategy(Strategy::Interpreter).interpreter_jumps(true).baseline(true);
    let engine = Engine::new(&config).expect("the configuration is sound");
    let (module, mut store, instance) = start(&engine, WORK);
    let run = func(&mut store, instance, "run");
    assert_eq!(inspect::cells_with_code(&module, 1), None, "it did not run yet");
    let first = outcome(&mut store, run, &[Val::I32(3)]);
    for _ in 0..10_000 {
        assert!(outcome(&mut store, run, &[Val::I32(3)]).is_ok());
    }
    for own_func in [0, 1] {
        assert!(inspect::cells_with_code(&module, own_func).is_some_and(|cells| cells > 1), "{own_func}");
    }
    let (_, mut store, instance) = start(&engine, WORK);
    let run = func(&mut store, instance, "run");
    assert_eq!(outcome(&mut store, run, &[Val::I32(3)]), first);
}

#[test]
fn nothing_is_made_unless_it_is_asked_for() {
    for (strategy, asked) in [(Strategy::Interpreter, None), (Strategy::Auto, Some(false)), (Strategy::Jit, Some(true))]
    {
        let mut config = Config::new();
        config.strategy(strategy).interpreter_jumps(true).baseline_threshold(0);
        if let Some(asked) = asked {
            config.baseline(asked);
        }
        let engine = Engine::new(&config).expect("the configuration is sound");
        let (module, mut store, instance) = start(&engine, WORK);
        let run = func(&mut store, instance, "run");
        assert!(outcome(&mut store, run, &[Val::I32(3)]).is_ok());
        assert_eq!(inspect::cells_with_code(&module, 1), None, "{strategy:?}");
    }
}

/// Threads share a module whose cells get other handlers while they run.
#[test]
fn threads_run_what_gets_code_meanwhile() {
    for _ in 0..20 {
        let mut config = Config::new();
        config.strategy(Strategy::Interpreter).interpreter_jumps(true).baseline(true);
        let engine = Engine::new(&config).expect("the configuration is sound");
        let module = Module::new(&engine, WORK).expect("it is valid");
        let work = || {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).expect("it instantiates");
            let run = instance.get_func(&mut store, "run").expect("it is exported");
            (1..200).map(|n| outcome(&mut store, run, &[Val::I32(n % 7 + 1)])).collect::<Vec<_>>()
        };
        let all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert!(all.iter().all(|one| *one == all[0]));
    }
}

/// Functions that are too large get none, and many get as much as there is room for.
#[test]
fn large_functions_and_many_are_run() {
    let body = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.const 1)))".repeat(40_000);
    let table = "0 ".repeat(40_000);
    let mut wat = format!(
        "(module (func (export \"large\") (param i32) (result i32) {body} (local.get 0))
         (func (export \"table\") (param i32) (result i32) (block (block (br_table {table} (local.get 0))) (br_table {table} (local.get 0)))
             (i32.const 5))"
    );
    for n in 0..2000 {
        let _ = write!(
            wat,
            "(func $f{n} (param i32) (result i32) (i32.add (local.get 0) (i32.const {n})))
             (func (export \"{n}\") (param i32) (result i32) (call $f{n} (call $f{n} (local.get 0))))"
        );
    }
    wat.push(')');
    let (_, module) = same(&wat, |store, instance| {
        let mut text = String::new();
        for _ in 0..2 {
            for name in ["large", "table"].map(str::to_owned).into_iter().chain((0..2000).map(|n| n.to_string())) {
                let function = func(store, instance, &name);
                let _ = writeln!(text, "{name}: {:?}", outcome(&mut *store, function, &[Val::I32(7)]));
            }
        }
        text
    });
    assert_eq!((0..2).map(|n| inspect::cells_with_code(&module, n)).collect::<Vec<_>>(), [None, None]);
    assert!((2..4002).all(|n| inspect::cells_with_code(&module, n).is_some()));
}

#[test]
fn host_functions_of_tables_are_called() {
    let wat = r#"(module (import "host" "f" (func $f (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $f)
        (type $t (func (param i32) (result i32)))
        (func (export "run") (param i32) (result i32) (call_indirect (type $t) (local.get 0) (i32.const 0))))"#;
    for (_, engine) in engines(|_| {}) {
        let mut store = Store::new(&engine, ());
        let ty = FuncType::new([ValType::I32], [ValType::I32]);
        let host = Func::new(&mut store, ty, |_, args, results| {
            let Val::I32(x) = args[0] else { panic!("of the type") };
            if x == 3 {
                return Err(Error::host("three"));
            }
            results[0] = Val::I32(x * 2);
            Ok(())
        });
        let module = Module::new(&engine, wat).expect("it is valid");
        let instance = Instance::new(&mut store, &module, &[host.into()]).expect("it instantiates");
        let run = func(&mut store, instance, "run");
        for n in [1, 2, 4, 5] {
            assert_eq!(outcome(&mut store, run, &[Val::I32(n)]), Ok(vec![n as u128 * 2]));
        }
        let error = run.call(&mut store, &[Val::I32(3)], &mut [Val::I32(0)]).expect_err("the host says so");
        assert!(error.to_string().contains("three"), "{error}");
    }
}
