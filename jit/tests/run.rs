//! Compiled code runs: values, control, calls and traps, without the engine.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "host functions of the tests read their own slots")]

mod support;

use aura_host_abi::TrapCode;
use aura_host_abi::vm::{VmCtx, VmFuncEntry};
use aura_jit::registry;
use aura_jit::{Bounds, CodeKind, CompilerConfig, Cpu, OptLevel};
use support::{HostFn, Instance, instance};

/// Runs a check under every configuration.
fn everywhere(check: impl Fn(CompilerConfig)) {
    for opt_level in [OptLevel::None, OptLevel::Speed] {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            for cpu in [Cpu::Native, Cpu::Baseline] {
                check(CompilerConfig { opt_level, bounds, deterministic: false, cpu });
            }
        }
    }
}

fn instantiate(config: CompilerConfig, wat: &str) -> Box<Instance> {
    Instance::new(config, wat, false, &[], 65536)
}

#[test]
fn recursion_goes_through_entries() {
    let wat = r#"(module (func $fac (param i64) (result i64)
        (if (result i64) (i64.eqz (local.get 0))
            (then (i64.const 1))
            (else (i64.mul (local.get 0) (call $fac (i64.sub (local.get 0) (i64.const 1))))))))"#;
    everywhere(|config| {
        let mut instance = instantiate(config, wat);
        assert_eq!(instance.call(0, &[20]), Ok(vec![2_432_902_008_176_640_000]));
    });
}

#[test]
fn memory_is_read_and_written() {
    let wat = r#"(module (memory 1)
        (func (param i32 i64) (i64.store offset=8 (local.get 0) (local.get 1)))
        (func (param i32) (result i32) (i32.load16_s offset=9 (local.get 0)))
        (func (param i32 v128) (result v128)
            (v128.load8_lane offset=8 3 (local.get 0) (local.get 1))))"#;
    everywhere(|config| {
        let mut instance = instantiate(config, wat);
        // The upper half of an i32's slot is unspecified.
        assert_eq!(instance.call(0, &[0xdead_beef_0000_0010, 0x1122_3344_9566_7788]), Ok(vec![]));
        assert_eq!(instance.memory[0x18..0x20], 0x1122_3344_9566_7788_u64.to_le_bytes());
        assert_eq!(instance.call(1, &[0x10]).map(|r| r[0] as u32), Ok(0x6677));
        assert_eq!(instance.call(1, &[0x12]).map(|r| r[0] as u32), Ok(0x4495));
        assert_eq!(instance.call(2, &[0x10, 0, 1]), Ok(vec![0x88 << 24, 1]));
    });
}

#[test]
fn memory_size_and_failed_growth_have_the_width_of_the_index() {
    let wat = r#"(module (memory 1)
        (func (result i32) (memory.size))
        (func (param i32) (result i64) (i64.extend_i32_u (memory.grow (local.get 0)))))"#;
    everywhere(|config| {
        let mut instance = instantiate(config, wat);
        assert_eq!(instance.call(0, &[]).map(|r| r[0] as u32), Ok(1));
        assert_eq!(instance.call(1, &[1]), Ok(vec![0xffff_ffff]));
    });
}

#[test]
fn locals_are_zero_and_loops_carry_values() {
    let wat = r#"(module
        (func (param i32) (result i64) (local i64 f64 v128 externref funcref)
            (loop $l
                (local.set 1 (i64.add (local.get 1) (i64.extend_i32_u (local.get 0))))
                (local.set 2 (f64.add (local.get 2) (f64.const 1)))
                (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (i64.add (local.get 1) (i64.add (i64.trunc_f64_s (local.get 2))
                (i64.extend_i32_u (i32.add (v128.any_true (local.get 3))
                    (i32.add (ref.is_null (local.get 4)) (ref.is_null (local.get 5)))))))))"#;
    everywhere(|config| assert_eq!(instantiate(config, wat).call(0, &[10]), Ok(vec![55 + 10 + 2])));
}

#[test]
fn tables_of_branches_reach_each_target() {
    let wat = r#"(module (func (param i32) (result i32)
        (block $c (result i32) (block $b (result i32) (block $a (result i32)
            (br_table $a $b $a $c $b (i32.const 7) (local.get 0)))
            (return (i32.add (i32.const 100))))
            (return (i32.add (i32.const 200))))
        (i32.add (i32.const 300))))"#;
    everywhere(|config| {
        let mut instance = instantiate(config, wat);
        for (index, expected) in [(0, 107), (1, 207), (2, 107), (3, 307), (4, 207), (u64::from(u32::MAX), 207)] {
            assert_eq!(instance.call(0, &[index]).map(|r| r[0] as u32), Ok(expected), "index {index}");
        }
    });
}

#[test]
fn globals_keep_all_classes() {
    let wat = r#"(module
        (global $a (mut i32) (i32.const 0)) (global $v (mut v128) (v128.const i64x2 0 0)) (global $r (mut funcref) (ref.null func))
        (func (param i32 v128) (result i32 v128 i32)
            (global.set $a (local.get 0)) (global.set $v (local.get 1))
            (global.get $a) (global.get $v) (ref.is_null (global.get $r))))"#;
    everywhere(|config| {
        let result = instantiate(config, wat).call(0, &[5, 6, 7]).expect("no trap");
        assert_eq!((result[0] as u32, &result[1..3], result[3] as u32), (5, &[6, 7][..], 1));
    });
}

/// Adds its two arguments in 64 bits, notes where it was called from, and fails if the first is 0.
extern "C" fn host_add(vmctx: *mut VmCtx, entry: *const VmFuncEntry, slots: *mut u64) -> u32 {
    let slots = unsafe { std::slice::from_raw_parts_mut(slots, 2) };
    let instance = instance(vmctx);
    assert_eq!(unsafe { (*entry).index() }, 0);
    instance.seen.extend([instance.activation.exit_pc as u64, instance.activation.exit_fp as u64]);
    if slots[0] as u32 == 0 {
        *instance.store.trap.get_mut() = TrapCode::HostError as u32;
        return 1;
    }
    slots[0] = u64::from(slots[0] as u32) + slots[1];
    0
}

const CALLS_HOST: &str = r#"(module (import "" "" (func $add (param i32 i64) (result i64)))
    (func (param i32) (result i64) (i64.mul (call $add (local.get 0) (i64.const 30)) (i64.const 2)))
    (func (param i32) (result i64) (call 1 (local.get 0))))"#;

#[test]
fn imports_are_called_in_slots_and_their_failure_ends_the_call() {
    everywhere(|config| {
        let mut instance = Instance::new(config, CALLS_HOST, false, &[host_add as HostFn], 0);
        assert_eq!(instance.call(1, &[5]), Ok(vec![70]));
        assert_eq!(instance.call(1, &[0]), Err(TrapCode::HostError));
        assert_eq!(instance.call(0, &[1]), Ok(vec![62]));
    });
}

#[test]
fn the_exit_record_leads_through_the_frames_of_compiled_code() {
    everywhere(|config| {
        let mut instance = Instance::new(config, CALLS_HOST, false, &[host_add as HostFn], 0);
        assert_eq!(instance.call(1, &[5]), Ok(vec![70]));
        let pc = instance.seen[0] as usize;
        let at = registry::lookup(pc - 1).expect("the caller is compiled code");
        assert_eq!((at.module, at.kind), (7, CodeKind::Function(0)));
        let bytes = instance.module.bytes();
        let bytes = bytes.get(0..bytes.len()).expect("all bytes");
        let offset = at.module_offset.expect("a call comes from an operator") as usize;
        assert_eq!(bytes[offset..offset + 2], [0x10, 0], "the operator is `call 0`");
    });
}

const INDIRECT: &str = r#"(module (table 8 funcref) (type $t (func (result i32)))
    (func (param i32) (result i32) (call_indirect (type $t) (local.get 0)))
    (func (type $t) (i32.const 42))
    (func (result i64) (i64.const 1))
    (func (param i32) (result i32) (ref.is_null (table.get 0 (local.get 0))))
    (func (param i32) (table.set 0 (local.get 0) (ref.func 1)))
    (func (result i32) (table.size 0))
    (func (result i32) (table.grow 0 (ref.null func) (i32.const 1)))
    (elem declare func 1))"#;

#[test]
fn indirect_calls_check_bounds_null_and_type() {
    everywhere(|config| {
        let mut instance = instantiate(config, INDIRECT);
        instance.set_element(0, 1);
        instance.set_element(1, 2);
        assert_eq!(instance.call(0, &[0]).map(|r| r[0] as u32), Ok(42));
        assert_eq!(instance.call(0, &[1]), Err(TrapCode::IndirectCallTypeMismatch));
        assert_eq!(instance.call(0, &[2]), Err(TrapCode::UninitializedElement));
        assert_eq!(instance.call(0, &[8]), Err(TrapCode::UndefinedElement));
        assert_eq!(instance.call(0, &[0xffff_ffff]), Err(TrapCode::UndefinedElement));
    });
}

#[test]
fn tables_are_read_and_written_inside_their_bounds() {
    everywhere(|config| {
        let mut instance = instantiate(config, INDIRECT);
        assert_eq!(instance.call(3, &[7]).map(|r| r[0] as u32), Ok(1));
        assert_eq!(instance.call(4, &[7]), Ok(vec![]));
        assert_eq!(instance.call(3, &[7]).map(|r| r[0] as u32), Ok(0));
        assert_eq!(instance.call(0, &[7]).map(|r| r[0] as u32), Ok(42));
        assert_eq!(instance.call(3, &[8]), Err(TrapCode::TableOutOfBounds));
        assert_eq!(instance.call(4, &[8]), Err(TrapCode::TableOutOfBounds));
        assert_eq!(instance.call(5, &[]).map(|r| r[0] as u32), Ok(8));
        assert_eq!(instance.call(6, &[]).map(|r| r[0] as u32), Ok(u32::MAX));
    });
}

#[test]
fn operators_trap_with_their_code() {
    let wat = r#"(module
        (func (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
        (func (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
        (func (unreachable)))"#;
    everywhere(|config| {
        let mut instance = instantiate(config, wat);
        assert_eq!(instance.call(0, &[7, 2]).map(|r| r[0] as u32), Ok(3));
        assert_eq!(instance.call(0, &[7, 0]), Err(TrapCode::IntegerDivideByZero));
        assert_eq!(instance.call(0, &[0x8000_0000, 0xffff_ffff]), Err(TrapCode::IntegerOverflow));
        assert_eq!(instance.call(1, &[f64::NAN.to_bits()]), Err(TrapCode::InvalidConversionToInteger));
        assert_eq!(instance.call(2, &[]), Err(TrapCode::Unreachable));
    });
}

#[test]
fn services_get_operands_zero_extended_and_their_failure_traps() {
    let wat = r#"(module (memory 1)
        (func (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
        (func (memory.copy (i32.const 1) (i32.const 2) (i32.const 3))))"#;
    everywhere(|config| {
        let mut instance = instantiate(config, wat);
        assert_eq!(instance.call(0, &[u64::MAX, u64::MAX - 1, 1 << 32 | 9]), Ok(vec![]));
        assert_eq!(instance.seen, [0, 0xffff_ffff, 0xffff_fffe, 9]);
        assert_eq!(instance.call(1, &[]), Err(TrapCode::MemoryOutOfBounds));
    });
}

#[test]
fn endless_recursion_overflows_the_stack() {
    let wat = "(module (func (param i64) (result i64) (i64.add (call 0 (local.get 0)) (i64.const 1))))";
    everywhere(|config| {
        let mut instance = instantiate(config, wat);
        assert_eq!(instance.call(0, &[1]), Err(TrapCode::StackOverflow));
        assert_eq!(instance.call(0, &[1]), Err(TrapCode::StackOverflow));
    });
}

#[test]
fn every_loop_reads_the_page_that_an_interrupt_takes_away() {
    let wat = "(module (func (loop $l (br $l)))
        (func (param i32) (loop $a (loop $b (br_if $b (local.get 0)) (br $a)))))";
    everywhere(|config| {
        for (func, loops) in [(0, 1), (1, 2)] {
            let traps = support::compile(config, wat, func).traps;
            let reads = traps.iter().filter(|trap| trap.1 == TrapCode::Interrupted).count();
            assert_eq!(reads, loops, "{config:?}: {traps:?}");
        }
    });
}

#[test]
fn fuel_runs_out() {
    everywhere(|config| {
        let mut instance = Instance::new(config, "(module (func (loop $l (br $l))))", true, &[], 0);
        *instance.store.fuel.get_mut() = 1000;
        assert_eq!(instance.call(0, &[]), Err(TrapCode::OutOfFuel));
        assert!(*instance.store.fuel.get_mut() < 0);
    });
}

/// Calls with as many arguments and results as a type may have: T10 of the list of hostile inputs.
#[test]
fn t10_a_thousand_parameters_and_results_of_all_classes() {
    // Directly through the stub, and through a compiled call, whose frame holds them all twice.
    check_many(1000, 0);
    check_many(800, 1);
}

fn check_many(count: usize, func: u32) {
    let classes = ["i32", "i64", "f32", "f64", "v128", "externref"];
    let list = |word: &str| {
        let types: Vec<_> = (0..count).map(|i| classes[i % classes.len()]).collect();
        format!("({word} {})", types.join(" "))
    };
    let gets: String = (0..count).map(|i| format!("(local.get {i})")).collect();
    let (params, results) = (list("param"), list("result"));
    let caller = if func == 1 { format!("(func {params} {results} (call $f {gets}))") } else { String::new() };
    let wat = format!("(module (func $f {params} {results} {gets}) {caller})");
    let config = CompilerConfig { opt_level: OptLevel::None, ..CompilerConfig::default() };
    let mut instance = instantiate(config, &wat);
    let slots = instance.ty(func).param_slots();
    let args: Vec<u64> = (1..=slots as u64).map(|i| i << 32 | i).collect();
    let results = instance.call(func, &args).expect("no trap");
    let mut slot = 0;
    for i in 0..count {
        let class = classes[i % classes.len()];
        let width = if class == "v128" { 2 } else { 1 };
        for at in slot..slot + width {
            let is_narrow = matches!(class, "i32" | "f32" | "externref");
            let mask = if is_narrow { u64::from(u32::MAX) } else { u64::MAX };
            assert_eq!(results[at] & mask, args[at] & mask, "value {i}");
        }
        slot += width;
    }
    assert_eq!(slot, slots);
}
