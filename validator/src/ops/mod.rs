//! The operator table: what each numeric, lane and memory operator computes and emits.
//!
//! One row per operator, in groups of one grammar each. A row says operand classes, result class,
//! what it evaluates to (Rust; used by the interpreter and by constant expressions) and what it
//! emits (CLIF; used by the JIT). Whoever needs the rows calls `for_each_*_row!` with a macro of its
//! own and expands the half it wants; the other half is dropped. Names are wasmparser's, whose
//! operator macro also generates [`Op`], so that a misspelt row does not compile.
//!
//! Adding an operator: write its row. The property test over rows compares both halves.
//!
//! ```text
//! numeric:   I32Add (a: i32, b: i32) -> i32 { a.wrapping_add(b) } clif |e| { e.ins().iadd(a, b) };
//! float:     F32Add (a: f32, b: f32) -> f32 { a + b } clif |e| { e.ins().fadd(a, b) };
//! trapping:  I32DivU (a: i32, b: i32) -> i32 { ...: Result<i32, TrapCode> } clif |e| { ... };
//! wide:      I64MulWideU (a, b) { ...: [i64; 2] } clif |e| { ...: [Value; 2] };
//! extract:   I32x4ExtractLane lanes 4 (a: v128; lane) -> i32 { ... } clif |e| { ... };
//! replace:   I32x4ReplaceLane lanes 4 (a: v128, b: i32; lane) -> v128 { ... } clif |e| { ... };
//! load:      I32Load8S [i8] (x) -> i32 { i32::from(x) } clif |e| { e.ins().sextend(types::I32, x) };
//! store:     I32Store8 (x: i32) [u8] { x as u8 } clif |e| { e.ins().ireduce(types::I8, x) };
//! load_lane, store_lane:  V128Load8Lane [u8] lanes 16;
//! atomic_load:    I32AtomicLoad8U [u8] -> i32;
//! atomic_store:   I32AtomicStore8 (i32) [u8];
//! atomic_rmw:     I32AtomicRmw8AddU [u8] (old, x: i32) { old.wrapping_add(x) } clif Add;
//! atomic_cmpxchg: I32AtomicRmw8CmpxchgU [u8] (i32);
//! ```
//!
//! The result of a float row may be a NaN: `f32`, `f64`, or a vector named by its shape (`f32x4`,
//! `f64x2`: other names of [`v128`]). `sem::canonical::$result` makes it canonical.
//!
//! `for_each_numeric_row!(name extra)` becomes `name! { extra rows }`: what follows the name comes
//! before the rows. The evaluating half is hygienic and needs nothing in scope but the
//! types [`v128`], [`f32x4`] and [`f64x2`]; the emitting half uses the helpers of the JIT's `rows` module, where alone it expands.

mod eval;
mod op;
mod rows_atomic;
mod rows_float;
mod rows_int;
mod rows_lanes;
mod rows_memory;
mod rows_simd_float;
mod rows_simd_int;
pub mod sem;
mod sem_simd;
mod signature;

pub use eval::{Value, eval, eval_wide, load, read_modify_write, store};
pub use op::Op;
pub use sem::{f32x4, f64x2, v128};
pub use signature::{Row, RowKind};
