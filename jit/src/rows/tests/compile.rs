//! One row as a function in executable memory: `fn(args, out) -> trap code or 0`.
//!
//! # Safety
//! [`Compiled`] owns its pages and is made only by [`compile`], whose code reads sixteen bytes for
//! each operand from its first argument and writes at most sixteen to its second; [`Compiled::call`]
//! passes buffers of that size and no less.

use aura_host_abi::{SlotType, TrapCode};
use aura_validator::ops::{Op, Row, RowKind, Value};
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{self, AbiParam, BlockArg, Endianness, InstBuilder, MemFlagsData, Signature, types};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, isa};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder, FunctionBuilderContext};
use region::{Allocation, Protection};

use super::super::{
    RowCx, emit_atomic_cmpxchg, emit_atomic_load, emit_atomic_rmw, emit_atomic_store, emit_extract, emit_load,
    emit_load_lane, emit_numeric, emit_replace, emit_shuffle, emit_store, emit_store_lane, emit_wide,
};
use super::values;

/// What code is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// The least that the JIT runs on.
    Baseline,
    /// The same, without optimisation.
    BaselineUnoptimized,
    /// All that this machine has.
    Native,
}

impl Machine {
    pub(super) const ALL: [Self; 3] = [Self::Baseline, Self::BaselineUnoptimized, Self::Native];

    fn isa(self) -> OwnedTargetIsa {
        let mut flags = settings::builder();
        let level = if self == Self::BaselineUnoptimized { "none" } else { "speed" };
        flags.set("opt_level", level).expect("a level");
        let native = cranelift_native::builder().expect("a machine that Cranelift knows");
        let builder = if self == Self::Native {
            native
        } else {
            let mut baseline = isa::lookup(native.triple().clone()).expect("the same machine");
            if cfg!(target_arch = "x86_64") {
                baseline.enable("has_ssse3").expect("a flag");
                baseline.enable("has_sse41").expect("a flag");
            }
            baseline
        };
        builder.finish(settings::Flags::new(flags)).expect("a code generator")
    }
}

/// How a row is compiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) machine: Machine,
    pub(super) canonical: bool,
    /// All operands are the first one.
    pub(super) aliased: bool,
    /// The second operand is this constant.
    pub(super) constant: Option<Value>,
    pub(super) lane: u8,
    pub(super) shuffle: Option<[u8; 16]>,
    pub(super) random_cases: u32,
}

impl Form {
    pub(super) fn of(machine: Machine) -> Self {
        Self { machine, canonical: false, aliased: false, constant: None, lane: 0, shuffle: None, random_cases: 128 }
    }
}

struct Cx<'f> {
    builder: FunctionBuilder<'f>,
    canonical: bool,
}

impl<'f> RowCx<'f> for Cx<'f> {
    fn ins(&mut self) -> FuncInstBuilder<'_, 'f> {
        self.builder.ins()
    }

    fn trap_if(&mut self, cond: ir::Value, code: TrapCode) {
        let (trap, next) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(trap);
        self.builder.ins().brif(cond, trap, std::iter::empty::<&BlockArg>(), next, std::iter::empty::<&BlockArg>());
        self.builder.seal_block(trap);
        self.builder.seal_block(next);
        self.builder.switch_to_block(trap);
        let code = self.builder.ins().iconst(types::I32, i64::from(code as u8));
        self.builder.ins().return_(&[code]);
        self.builder.switch_to_block(next);
    }

    fn canonical_nans(&self) -> bool {
        self.canonical
    }
}

fn flags() -> MemFlagsData {
    MemFlagsData::trusted().with_endianness(Endianness::Little)
}

fn ir_type(slot: SlotType) -> ir::Type {
    match slot {
        SlotType::I32 => types::I32,
        SlotType::I64 => types::I64,
        SlotType::F32 => types::F32,
        SlotType::F64 => types::F64,
        SlotType::V128 => types::I8X16,
        SlotType::Func | SlotType::Ref => unreachable!("rows have no references"),
    }
}

fn constant(cx: &mut Cx<'_>, value: Value) -> ir::Value {
    match value {
        Value::I32(x) => cx.builder.ins().iconst(types::I32, i64::from(x as u32)),
        Value::I64(x) => cx.builder.ins().iconst(types::I64, x),
        Value::F32(x) => cx.builder.ins().f32const(Ieee32::with_bits(x.to_bits())),
        Value::F64(x) => cx.builder.ins().f64const(Ieee64::with_bits(x.to_bits())),
        Value::V128(_) => unreachable!("no test has vector constants"),
    }
}

fn operand(cx: &mut Cx<'_>, args: ir::Value, form: Form, index: usize, slot: SlotType) -> ir::Value {
    match form.constant {
        Some(value) if index == 1 => constant(cx, value),
        _ => cx.builder.ins().load(ir_type(slot), flags(), args, 16 * index as i32),
    }
}

/// Emits the row; memory is the operand after those of the row.
fn emit(cx: &mut Cx<'_>, op: Op, row: Row, form: Form, args: ir::Value) -> ir::Value {
    let mut operands: Vec<_> =
        row.params.iter().enumerate().map(|(i, &slot)| operand(cx, args, form, i, slot)).collect();
    if form.aliased {
        let first = operands[0];
        operands.fill(first);
    }
    let memory = 16 * operands.len() as i32;
    let load = |cx: &mut Cx<'_>, ty| cx.builder.ins().load(ty, flags(), args, memory);
    if let Some(mask) = form.shuffle {
        return emit_shuffle(cx, mask, operands[0], operands[1]);
    }
    match row.kind {
        RowKind::Numeric | RowKind::Float | RowKind::Trapping => emit_numeric(cx, op, &operands),
        RowKind::Wide => {
            let last = operands[operands.len() - 1];
            let mut args = [last; 4];
            args[..operands.len()].copy_from_slice(&operands);
            let [low, high] = emit_wide(cx, op, args);
            let both = cx.builder.ins().splat(types::I64X2, low);
            cx.builder.ins().insertlane(both, high, 1)
        }
        RowKind::Extract { .. } => emit_extract(cx, op, form.lane, operands[0]),
        RowKind::Replace { .. } => emit_replace(cx, op, form.lane, operands[0], operands[1]),
        RowKind::Load => emit_load(cx, op, |cx, loaded| loaded.emit(cx.builder.ins(), flags(), args, memory)),
        RowKind::Store => emit_store(cx, op, operands[0]),
        RowKind::LoadLane { .. } => emit_load_lane(cx, op, form.lane, operands[0], load),
        RowKind::StoreLane { .. } => emit_store_lane(cx, op, form.lane, operands[0]),
        RowKind::AtomicLoad | RowKind::AtomicStore | RowKind::AtomicRmw | RowKind::AtomicCmpxchg => {
            let address = cx.builder.ins().iadd_imm_s(args, i64::from(memory));
            emit_atomic(cx, op, row, &operands, address)
        }
    }
}

/// Emits an atomic row on the memory at `address`; the result of a store is what it stored.
fn emit_atomic(cx: &mut Cx<'_>, op: Op, row: Row, operands: &[ir::Value], address: ir::Value) -> ir::Value {
    match row.kind {
        RowKind::AtomicLoad => emit_atomic_load(cx, op, |cx, ty| cx.builder.ins().atomic_load(ty, flags(), address)),
        RowKind::AtomicStore => {
            let value = emit_atomic_store(cx, op, operands[0]);
            cx.builder.ins().atomic_store(flags(), value, address);
            value
        }
        RowKind::AtomicRmw => emit_atomic_rmw(cx, op, operands[0], |cx, ty, rmw, value| {
            cx.builder.ins().atomic_rmw(ty, flags(), rmw, address, value)
        }),
        _ => emit_atomic_cmpxchg(cx, op, [operands[0], operands[1]], |cx, [expected, replacement]| {
            cx.builder.ins().atomic_cas(flags(), address, expected, replacement)
        }),
    }
}

fn build(op: Op, row: Row, form: Form, isa: &OwnedTargetIsa) -> Context {
    let mut context = Context::new();
    let mut signature = Signature::new(CallConv::triple_default(isa.triple()));
    let pointer = AbiParam::new(isa.pointer_type());
    signature.params.extend([pointer, pointer]);
    signature.returns.push(AbiParam::new(types::I32));
    context.func.signature = signature;
    let mut frontend = FunctionBuilderContext::new();
    let mut cx = Cx { builder: FunctionBuilder::new(&mut context.func, &mut frontend), canonical: form.canonical };
    let entry = cx.builder.create_block();
    cx.builder.append_block_params_for_function_params(entry);
    cx.builder.switch_to_block(entry);
    cx.builder.seal_block(entry);
    let (args, out) = (cx.builder.block_params(entry)[0], cx.builder.block_params(entry)[1]);
    let result = emit(&mut cx, op, row, form, args);
    cx.builder.ins().store(flags(), result, out, 0);
    let ok = cx.builder.ins().iconst(types::I32, 0);
    cx.builder.ins().return_(&[ok]);
    cx.builder.finalize(isa.frontend_config());
    context
}

/// A compiled row.
pub(super) struct Compiled {
    code: Allocation,
}

/// Compiles the row of `op`, and holds it to the invariants of emitted rows.
pub(super) fn compile(op: Op, row: Row, form: Form) -> Compiled {
    thread_local! {
        static ISAS: [OwnedTargetIsa; 3] = Machine::ALL.map(Machine::isa);
    }
    let isa = ISAS.with(|isas| isas[form.machine as usize].clone());
    let mut context = build(op, row, form, &isa);
    let compiled = match context.compile(&*isa, &mut ControlPlane::default()) {
        Ok(compiled) => compiled,
        Err(error) => panic!("{} {form:?}: {:?}\n{}", op.name(), error.inner, error.func.display()),
    };
    assert!(compiled.buffer.relocs().is_empty(), "{} calls something", op.name());
    let divides = op.name().contains(".div_") || op.name().contains(".rem_");
    assert!(divides || compiled.buffer.traps().is_empty(), "{} can trap by itself", op.name());
    Compiled { code: executable(compiled.code_buffer()) }
}

fn executable(code: &[u8]) -> Allocation {
    let mut pages = region::alloc(code.len(), Protection::READ_WRITE).expect("memory");
    // SAFETY: the pages are fresh, writable, and at least as long as the code; nothing else points into them.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), pages.as_mut_ptr(), code.len()) };
    let (start, len) = (pages.as_ptr::<u8>(), pages.len());
    // SAFETY: the pages are whole, ours, and not written from here on.
    unsafe { region::protect(start, len, Protection::READ_EXECUTE) }.expect("executable memory");
    pages
}

impl Compiled {
    /// Runs the row: the sixteen bytes of its result (those above it zero), or its trap.
    pub(super) fn call(&self, args: &[Value]) -> Result<[u8; 16], TrapCode> {
        self.call_on(args).map(|(result, _)| result)
    }

    /// As [`Compiled::call`], with what the operands' memory then holds.
    pub(super) fn call_on(&self, args: &[Value]) -> Result<([u8; 16], [[u8; 16]; 4]), TrapCode> {
        let mut operands = [[0; 16]; 4];
        for (operand, &arg) in operands.iter_mut().zip(args) {
            *operand = values::bytes(arg);
        }
        let mut out = [0; 16];
        // SAFETY: the pages hold a function of this type (see the head of the file).
        let run = unsafe {
            std::mem::transmute::<*const u8, extern "C" fn(*mut [u8; 16], *mut [u8; 16]) -> u32>(self.code.as_ptr())
        };
        let code = run(operands.as_mut_ptr(), &mut out);
        match u8::try_from(code).ok().and_then(TrapCode::from_u8) {
            Some(code) => Err(code),
            None => Ok((out, operands)),
        }
    }
}
