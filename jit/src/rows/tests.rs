//! Every row of the table: what it evaluates to is what its compiled form computes.
//!
//! Each operator is compiled alone, for each [`Machine`] and in each form that lowering may treat
//! differently (same operand twice, constant operand, canonical NaNs), and run on every combination
//! of edge values of scalars and on random ones. The invariants of the module above are asserted of
//! each compiled function: no relocation, so no call; no trap but in guarded divisions.

mod compile;
mod values;

use aura_host_abi::{SlotType, TrapCode};
use aura_validator::ops::sem::{self, Lane, Raw};
use aura_validator::ops::{self, Op, Row, RowKind, Value, f32x4, f64x2, v128};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use compile::{Form, Machine, compile};
use values::{NanClass, arguments, cases, edges, same};

fn rows() -> impl Iterator<Item = (Op, Row)> {
    Op::ALL.iter().filter_map(|&op| Some((op, op.row()?)))
}

fn value_rows() -> impl Iterator<Item = (Op, Row)> {
    rows().filter(|(_, row)| matches!(row.kind, RowKind::Numeric | RowKind::Float | RowKind::Trapping))
}

/// Compares random cases; the failing one is printed with its seed.
fn random<S: Strategy>(count: u32, strategy: S, check: impl Fn(S::Value) -> Result<(), String>)
where
    S::Value: std::fmt::Debug,
{
    let mut runner = TestRunner::new(Config { cases: count, failure_persistence: None, ..Config::default() });
    runner.run(&strategy, |case| check(case).map_err(TestCaseError::fail)).unwrap_or_else(|error| panic!("{error}"));
}

/// The result of a float row with canonical NaNs; of another row, as it is.
fn canonical(op: Op, value: Value) -> Value {
    macro_rules! rows {
        ($($op:ident ($($p:ident: $t:ident),*) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => sem::canonical::$r(<$r>::from(value)).into(),)*
                _ => value,
            }
        };
    }
    aura_validator::for_each_float_row!(rows)
}

/// How NaNs in the result of `op` are to be compared.
fn nan_class(op: Op) -> NanClass {
    macro_rules! rows {
        ($($op:ident ($($p:ident: $t:ident),*) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => NanClass::$r,)*
                _ => NanClass::exact,
            }
        };
    }
    aura_validator::for_each_float_row!(rows)
}

/// One call of the compiled form against the row.
fn check(op: Op, form: Form, run: &compile::Compiled, args: &[Value]) -> Result<(), String> {
    let compiled = run.call(args);
    let evaluated = ops::eval(op, args);
    let agree = match (evaluated, compiled) {
        (Ok(value), Ok(bytes)) if form.canonical => values::bytes(canonical(op, value)) == bytes,
        (Ok(value), Ok(bytes)) => same(nan_class(op), args, values::bytes(value), bytes),
        (evaluated, compiled) => evaluated.err() == compiled.err(),
    };
    let context = || format!("{} {form:?} {args:x?}: evaluated {evaluated:x?}, compiled {compiled:x?}", op.name());
    if agree { Ok(()) } else { Err(context()) }
}

fn check_form(op: Op, row: Row, form: Form) {
    let run = compile(op, row, form);
    for args in cases(row.params, form) {
        check(op, form, &run, &args).unwrap_or_else(|message| panic!("{message}"));
    }
    random(form.random_cases, arguments(row.params, form), |args| check(op, form, &run, &args));
}

#[test]
fn rows_compile_to_what_they_evaluate_to() {
    for machine in Machine::ALL {
        for (op, row) in value_rows() {
            check_form(op, row, Form::of(machine));
        }
    }
}

#[test]
fn rows_with_canonical_nans_are_equal_bit_for_bit() {
    for (op, row) in value_rows().filter(|(_, row)| row.kind == RowKind::Float) {
        check_form(op, row, Form { canonical: true, ..Form::of(Machine::Baseline) });
        check_form(op, row, Form { canonical: true, ..Form::of(Machine::Native) });
    }
}

#[test]
fn wide_rows_compile_to_what_they_evaluate_to() {
    for machine in Machine::ALL {
        for (op, row) in rows().filter(|(_, row)| row.kind == RowKind::Wide) {
            for form in [Form::of(machine), Form { aliased: true, ..Form::of(machine) }] {
                let run = compile(op, row, form);
                random(2048, arguments(row.params, form), |args| {
                    let numbers: Vec<i64> = args.iter().map(|&arg| arg.into()).collect();
                    let [low, high] = ops::eval_wide(op, &numbers).map(|half| half as u64);
                    let expected = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
                    agree(op, &args, expected, &run)
                });
            }
        }
    }
}

#[test]
fn v3_the_same_operand_twice() {
    for machine in Machine::ALL {
        for (op, row) in value_rows() {
            let same_class = row.params.windows(2).all(|pair| pair[0] == pair[1]);
            if row.params.len() > 1 && same_class {
                check_form(op, row, Form { aliased: true, ..Form::of(machine) });
            }
        }
    }
}

#[test]
fn v2_division_by_constants() {
    for (op, row) in value_rows().filter(|(op, _)| op.name().contains(".div_") || op.name().contains(".rem_")) {
        for constant in edges(row.params[1]) {
            check_form(op, row, Form { constant: Some(constant), random_cases: 8, ..Form::of(Machine::Native) });
        }
    }
}

#[test]
fn v4_shifts_by_constants() {
    let is_shift = |op: Op| op.name().contains(".sh") || op.name().contains(".rot");
    for (op, row) in value_rows().filter(|&(op, _)| is_shift(op)) {
        for amount in (0..128).chain([-1, i32::MIN, i32::MAX]) {
            let constant = if row.params[1] == SlotType::I64 { Value::I64(amount.into()) } else { Value::I32(amount) };
            check_form(op, row, Form { constant: Some(constant), random_cases: 4, ..Form::of(Machine::Baseline) });
        }
    }
}

/// What the extract row of `op` evaluates to.
fn extracted(op: Op, vector: v128, number: u8) -> Value {
    macro_rules! rows {
        ($($op:ident lanes $lanes:literal ($a:ident: v128; $lane:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => {
                    let ($a, $lane) = (vector, number);
                    Value::from($eval)
                })*
                _ => panic!("{} has no extract row", op.name()),
            }
        };
    }
    aura_validator::for_each_extract_row!(rows)
}

/// What the replace row of `op` evaluates to.
fn replaced(op: Op, vector: v128, scalar: Value, number: u8) -> Value {
    macro_rules! rows {
        ($($op:ident lanes $lanes:literal ($a:ident: v128, $b:ident: $t:ident; $lane:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
            match op {
                $(Op::$op => {
                    let ($a, $b, $lane) = (vector, <$t>::from(scalar), number);
                    Value::from($eval)
                })*
                _ => panic!("{} has no replace row", op.name()),
            }
        };
    }
    aura_validator::for_each_replace_row!(rows)
}

#[test]
fn lanes_are_extracted_and_replaced() {
    for machine in Machine::ALL {
        for (op, row) in rows() {
            let (RowKind::Extract { lanes } | RowKind::Replace { lanes }) = row.kind else { continue };
            for lane in 0..lanes {
                let form = Form { lane, ..Form::of(machine) };
                let run = compile(op, row, form);
                random(64, arguments(row.params, form), |args| {
                    let expected = match args[..] {
                        [vector] => extracted(op, vector.into(), lane),
                        [vector, scalar] => replaced(op, vector.into(), scalar, lane),
                        _ => unreachable!("lane rows have one or two operands"),
                    };
                    agree(op, &args, values::bytes(expected), &run)
                });
            }
        }
    }
}

fn agree(op: Op, args: &[Value], expected: [u8; 16], run: &compile::Compiled) -> Result<(), String> {
    let compiled = run.call(args);
    let message = || format!("{} {args:x?}: evaluated {expected:x?}, compiled {compiled:x?}", op.name());
    if compiled == Ok(expected) { Ok(()) } else { Err(message()) }
}

#[test]
fn shuffles_take_the_bytes_they_name() {
    let mut masks: Vec<[u8; 16]> = vec![
        std::array::from_fn(|i| i as u8),
        std::array::from_fn(|i| i as u8 + 16),
        std::array::from_fn(|i| 15 - i as u8),
        std::array::from_fn(|i| if i % 2 == 0 { i as u8 } else { i as u8 + 16 }),
        std::array::from_fn(|i| (i as u8 + 5) % 32),
    ];
    masks.extend((0..32).map(|lane| [lane; 16]));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let random_mask = prop::array::uniform16(0u8..32);
    masks.extend((0..64).map(|_| random_mask.new_tree(&mut runner).expect("a mask").current()));
    let row = Op::V128And.row().expect("a row of two vectors");
    for machine in Machine::ALL {
        for aliased in [false, true] {
            for &mask in &masks {
                let form = Form { shuffle: Some(mask), aliased, ..Form::of(machine) };
                let run = compile(Op::I8x16Shuffle, row, form);
                random(16, arguments(row.params, form), |args| {
                    let expected = sem::shuffle(args[0].into(), args[1].into(), mask);
                    agree(Op::I8x16Shuffle, &args, expected.0, &run)
                });
            }
        }
    }
}

#[test]
fn loads_and_stores_convert_as_their_rows_do() {
    for machine in Machine::ALL {
        for (op, row) in rows() {
            let form = Form::of(machine);
            match row.kind {
                RowKind::Load => {
                    // The operand stands for the bytes in memory.
                    let run = compile(op, row, form);
                    random(128, arguments(&[SlotType::V128], form), |args| {
                        agree(op, &args, values::bytes(ops::load(op, &values::bytes(args[0]))), &run)
                    });
                }
                RowKind::Store => {
                    let run = compile(op, row, form);
                    random(128, arguments(row.params, form), |args| {
                        let mut memory = [0; 16];
                        ops::store(op, args[0], &mut memory);
                        agree(op, &args, memory, &run)
                    });
                }
                _ => {}
            }
        }
    }
}

/// `vector` with a lane from `memory`, or the lane as memory has it, by the rows' lane type.
fn lane_access(op: Op, vector: v128, memory: [u8; 16], lane: u8) -> [u8; 16] {
    fn load<L: Lane>(vector: v128, memory: [u8; 16], lane: u8) -> [u8; 16] {
        sem::replace(vector, lane, sem::extract::<L>(v128(memory), 0)).0
    }
    fn store<L: Lane>(vector: v128, lane: u8) -> [u8; 16] {
        sem::zero_above(sem::extract::<L>(vector, lane)).0
    }
    macro_rules! loads {
        ($($op:ident [$raw:ident] lanes $lanes:literal;)*) => {
            match op {
                $(Op::$op => Some((load::<$raw>(vector, memory, lane), <$raw as Raw>::SIZE)),)*
                _ => None,
            }
        };
    }
    macro_rules! stores {
        ($($op:ident [$raw:ident] lanes $lanes:literal;)*) => {
            match op {
                $(Op::$op => Some((store::<$raw>(vector, lane), <$raw as Raw>::SIZE)),)*
                _ => None,
            }
        };
    }
    let (bytes, size) = aura_validator::for_each_load_lane_row!(loads)
        .or_else(|| aura_validator::for_each_store_lane_row!(stores))
        .expect("a lane of memory");
    assert_eq!(size, usize::from(op.row().expect("a row").access_bytes));
    bytes
}

#[test]
fn lanes_are_loaded_and_stored() {
    for machine in Machine::ALL {
        for (op, row) in rows() {
            let (RowKind::LoadLane { lanes } | RowKind::StoreLane { lanes }) = row.kind else { continue };
            for lane in 0..lanes {
                let form = Form { lane, ..Form::of(machine) };
                let run = compile(op, row, form);
                random(32, arguments(&[SlotType::V128, SlotType::V128], form), |args| {
                    let expected = lane_access(op, args[0].into(), values::bytes(args[1]), lane);
                    agree(op, &args, expected, &run)
                });
            }
        }
    }
}

/// The first `bytes` bytes, as a number.
fn low(value: [u8; 16], bytes: u8) -> u64 {
    let mask = u64::MAX >> (64 - 8 * u32::from(bytes));
    u128::from_le_bytes(value) as u64 & mask
}

/// What an atomic row leaves in memory, from what was there and its operands.
fn changed(op: Op, row: Row, old: u64, operands: &[u64]) -> u64 {
    match (row.kind, operands) {
        (RowKind::AtomicLoad, []) => old,
        (RowKind::AtomicStore, &[new]) => new,
        (RowKind::AtomicRmw, &[operand]) => ops::read_modify_write(op, old, operand),
        (RowKind::AtomicCmpxchg, &[expected, new]) => {
            if old == expected {
                new
            } else {
                old
            }
        }
        other => unreachable!("no atomic row: {other:?}"),
    }
}

#[test]
fn atomic_rows_give_what_was_there_and_leave_what_they_evaluate_to() {
    let is_atomic = |row: &Row| {
        matches!(row.kind, RowKind::AtomicLoad | RowKind::AtomicStore | RowKind::AtomicRmw | RowKind::AtomicCmpxchg)
    };
    for machine in Machine::ALL {
        for (op, row) in rows().filter(|(_, row)| is_atomic(row)) {
            let run = compile(op, row, Form::of(machine));
            let bytes = row.access_bytes;
            let check = |args: &[Value]| {
                let numbers: Vec<_> = args.iter().map(|&arg| low(values::bytes(arg), bytes)).collect();
                let (&old, operands) = numbers.split_last().expect("memory comes last");
                let (result, memory) = run.call_on(args).expect("atomic rows do not trap by themselves");
                let after = memory[operands.len()];
                assert_eq!(after[usize::from(bytes)..], values::bytes(args[operands.len()])[usize::from(bytes)..]);
                let seen = (low(result, 8), low(after, bytes));
                let returned = if row.kind == RowKind::AtomicStore { operands[0] } else { old };
                let expected = (returned, changed(op, row, old, operands));
                let message = || format!("{} {args:x?}: expected {expected:x?}, got {seen:x?}", op.name());
                if seen == expected { Ok(()) } else { Err(message()) }
            };
            let params: Vec<_> = row.params.iter().copied().chain([SlotType::V128]).collect();
            random(128, arguments(&params, Form::of(machine)), |args| check(&args));
            if row.kind == RowKind::AtomicCmpxchg {
                // What is there is what is expected, whatever the expected value has above it.
                random(64, arguments(&params, Form::of(machine)), |mut args| {
                    let wide = u128::from_le_bytes(values::bytes(args[0])) | !0 << 64;
                    args[2] = Value::V128(v128(wide.to_le_bytes()));
                    check(&args)
                });
            }
        }
    }
}

#[test]
fn known_values_of_128_bits() {
    for (op, args, expected) in [
        (Op::I64Add128, &[-1, 0, 1, 0][..], [0, 1]),
        (Op::I64Add128, &[-1, -1, 1, 0], [0, 0]),
        (Op::I64Sub128, &[0, 0, 1, 0], [-1, -1]),
        (Op::I64Sub128, &[0, 1, 1, 0], [-1, 0]),
        (Op::I64MulWideS, &[-1, -1], [1, 0]),
        (Op::I64MulWideS, &[i64::MIN, i64::MIN], [0, 1 << 62]),
        (Op::I64MulWideS, &[i64::MIN, 1], [i64::MIN, -1]),
        (Op::I64MulWideU, &[-1, -1], [1, -2]),
    ] {
        assert_eq!(ops::eval_wide(op, args), expected, "{} {args:?}", op.name());
    }
}

#[test]
fn known_values() {
    for (op, args, expected) in [
        (Op::I32DivS, [Value::I32(i32::MIN), Value::I32(-1)], Err(TrapCode::IntegerOverflow)),
        (Op::I32RemS, [Value::I32(i32::MIN), Value::I32(-1)], Ok(Value::I32(0))),
        (Op::I64RemS, [Value::I64(i64::MIN), Value::I64(-1)], Ok(Value::I64(0))),
        (Op::I64RemU, [Value::I64(1), Value::I64(0)], Err(TrapCode::IntegerDivideByZero)),
        (Op::F32Min, [Value::F32(0.0), Value::F32(-0.0)], Ok(Value::F32(-0.0))),
        (Op::F32Max, [Value::F32(-0.0), Value::F32(0.0)], Ok(Value::F32(0.0))),
    ] {
        let run = compile(op, op.row().expect("a row"), Form::of(Machine::Baseline));
        assert_eq!(run.call(&args), expected.map(values::bytes), "{}", op.name());
        assert_eq!(ops::eval(op, &args), expected, "{}", op.name());
    }
}
