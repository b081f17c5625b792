//! What the compiler refuses, and that it says so instead of trying.

mod support;

use std::fmt::Write;

use aura_host_abi::{SlotType, TrapCode};
use aura_jit::budget::{Estimate, MAX_INSTRUCTIONS};
use aura_jit::{CompileError, CompilerConfig, OptLevel};
use aura_validator::Code;
use aura_validator::code::{FrameLayout, Inst, LocalRun, Slot};
use support::{compiler, lower, module};

fn compile(wat: &str) -> Result<aura_jit::CompiledFunction, CompileError> {
    let module = module(wat);
    let config = CompilerConfig { opt_level: OptLevel::None, ..CompilerConfig::default() };
    compiler(config).compile(&module, 0, &lower(&module, 0, false))
}

/// C10 of the list of hostile inputs: locals times loops is what block parameters come to.
#[test]
fn c10_many_locals_in_many_loops_are_refused() {
    let mut wat = String::from("(module (func (local");
    wat.push_str(&" i64".repeat(40_000));
    wat.push(')');
    for i in 0..10_000 {
        write!(wat, "(loop (local.set {i} (i64.const 1)) (br_if 0 (i32.const 0)))").expect("a string");
    }
    wat.push_str("))");
    match compile(&wat) {
        Err(CompileError::TooLarge { estimate, limit, .. }) => assert!(estimate > limit),
        other => panic!("refused for its size: {other:?}"),
    }
}

/// Few bytes, and hours for a register allocator: each loop carries each local.
#[test]
fn c10_many_locals_carried_by_nested_loops_are_refused() {
    let nested = |locals: usize, loops: usize| {
        let mut wat = String::from("(module (func (param i32) (local");
        wat.push_str(&" i64".repeat(locals));
        wat.push(')');
        wat.push_str(&"(loop ".repeat(loops));
        for i in 1..=locals {
            write!(wat, "(local.set {i} (i64.add (local.get {i}) (i64.const 1)))").expect("a string");
        }
        wat.push_str(&"(br_if 0 (local.get 0)))".repeat(loops));
        wat.push_str("))");
        compile(&wat)
    };
    match nested(300, 60) {
        Err(CompileError::TooLarge { what, estimate, limit }) => {
            assert_eq!((what, estimate > limit), ("loop cost", true));
        }
        other => panic!("refused for its loops: {other:?}"),
    }
    assert!(nested(50, 20).is_ok());
}

#[test]
fn the_bound_on_instructions_has_two_sides() {
    let code = |insts: u64| Code {
        insts: vec![Inst::Trap { code: TrapCode::Unreachable }; insts as usize],
        ..Code::default()
    };
    assert!(Estimate::of(&code(MAX_INSTRUCTIONS)).check().is_ok());
    let error = Estimate::of(&code(MAX_INSTRUCTIONS + 1)).check().expect_err("one too many").to_string();
    assert!(error.contains("too large to compile"), "{error}");
}

#[test]
fn locals_alone_cost_little() {
    let run = LocalRun { ty: SlotType::I64, first: Slot(0), count: 50_000 };
    let frame =
        FrameLayout { locals: [run].into(), local_slots: 50_000, value_slots: 50_000, ..FrameLayout::default() };
    assert!(Estimate::of(&Code { frame, ..Code::default() }).check().is_ok());
}

/// Vectors that all live across a call need a place each.
#[test]
fn a_large_frame_is_refused() {
    let wat = |count: usize| {
        let mut wat = String::from("(module (func (result v128) (local");
        wat.push_str(&" v128".repeat(count));
        wat.push(')');
        for i in 0..count {
            write!(wat, "(local.set {i} (call 0))").expect("a string");
        }
        wat.push_str("(v128.const i64x2 0 0)");
        for i in 0..count {
            write!(wat, "(i8x16.add (local.get {i}))").expect("a string");
        }
        wat.push_str("))");
        wat
    };
    match compile(&wat(2100)) {
        Err(CompileError::FrameTooLarge { bytes }) => assert!(bytes > aura_jit::MAX_FRAME),
        other => panic!("refused for its frame: {other:?}"),
    }
    assert!(compile(&wat(1900)).is_ok());
}

#[test]
fn a_compiler_serves_several_threads() {
    let module = module("(module (func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))");
    let compiler = compiler(CompilerConfig::default());
    let code = lower(&module, 0, false);
    let expected = compiler.compile(&module, 0, &code).expect("it compiles");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(compiler.compile(&module, 0, &code).expect("it compiles"), expected);
                }
            });
        }
    });
}

/// A table of branches with one target for very many entries, and one with many targets.
#[test]
fn c11_large_tables_of_branches_compile() {
    let zeros = " 0".repeat(60_000);
    assert!(compile(&format!("(module (func (param i32) (block (br_table{zeros} 0 (local.get 0)))))")).is_ok());
    let mut wat = String::from("(module (func (param i32) (result i32)");
    wat.push_str(&"(block ".repeat(900));
    let labels: String = (0..900).map(|i| format!(" {i}")).collect();
    write!(wat, "(br_table{labels} (local.get 0))").expect("a string");
    for i in 0..900 {
        write!(wat, ") (return (i32.const {i}))").expect("a string");
    }
    wat.push_str("))");
    assert!(compile(&wat).is_ok());
}
