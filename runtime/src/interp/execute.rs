//! The loop: one arm per instruction.
//!
//! The arms say where an instruction is carried out; what they do stands in the other files. Next
//! position and frame base are local variables, so that they stay in machine registers.
//!
//! # Safety
//! Trusts: as [`super::machine`] and [`super::slots`]. The instruction pointer stays inside the code,
//! because lowering ends every path with a branch, a return or a trap.

use aura_host_abi::SlotType;
use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_validator::code::{Inst, Slot};
use aura_validator::ops::{sem, v128};

use super::machine::{Cursor, Machine};
use super::slots::Regs;
use super::{address, atomic, rows};

/// Runs from `cursor` until the outermost function returns, or ends by a trap, a tail call or an exception.
///
/// # Safety
/// `cursor` is at the start of the function that `machine` was entered at.
pub(super) unsafe fn execute(m: &mut Machine, start: Cursor) -> Status {
    let Cursor { mut next, mut regs } = start;

    /// Runs a row; ends the run if it traps.
    macro_rules! row {
        ($row:expr) => {
            // SAFETY: the slots and indices are the running code's.
            if let Err(code) = unsafe { $row } {
                return m.trap(Cursor { next, regs }, code);
            }
        };
    }
    /// Carries something out that cannot fail.
    macro_rules! plain {
        ($what:expr) => {
            // SAFETY: the slots and indices are the running code's.
            unsafe { $what }
        };
    }
    /// Hands the position over and goes on at the one that comes back.
    macro_rules! go {
        (|$cursor:ident| $what:expr) => {{
            let $cursor = Cursor { next, regs };
            // SAFETY: the slots and indices are the running code's.
            match unsafe { $what } {
                Ok(cursor) => Cursor { next, regs } = cursor,
                Err(status) => return status,
            }
        }};
    }

    loop {
        // SAFETY: `next` points into the code; see the head of this file.
        let inst = unsafe { &*next };
        next = next.wrapping_add(1);
        match *inst {
            Inst::Unary { op, dst, a } => row!(rows::unary(regs, op, dst, [a, a, a], m.nans)),
            Inst::Binary { op, dst, a, b } => row!(rows::binary(regs, op, dst, [a, b, b], m.nans)),
            Inst::Ternary { op, dst, a, b, c } => row!(rows::vector(regs, op, dst, [a, b, c], m.nans)),
            Inst::Enter { saved, cost } => {
                let before = m.take_depth(cost);
                plain!(regs.set(saved, before));
                if before < i64::from(cost) {
                    return m.trap(Cursor { next, regs }, TrapCode::StackOverflow);
                }
            }
            Inst::Leave { saved } => m.restore_depth(plain!(regs.get::<i64>(saved))),
            Inst::Wide { op, dst, args } => plain!(rows::wide(regs, op, dst, args)),
            Inst::Load { op, dst, addr, mem } => row!(address::load(regs, op, dst, m.access(mem, addr))),
            Inst::Store { op, addr, value, mem } => row!(address::store(regs, op, value, m.access(mem, addr))),
            Inst::Const32 { ty: _, dst, bits } => plain!(regs.set(dst, bits)),
            Inst::Const64 { ty: _, dst, low, high } => plain!(regs.set(dst, joined(low, high))),
            Inst::Copy { ty, dst, src } => plain!(regs.copy(ty, dst, src)),
            Inst::Select { ty, dst, cond, a, b } => plain!(select(regs, ty, dst, cond, [a, b])),

            Inst::Br { target } => next = m.target(target),
            Inst::BrIf { cond, target } => {
                if plain!(regs.get::<u32>(cond)) != 0 {
                    next = m.target(target);
                }
            }
            Inst::BrIfZero { cond, target } => {
                if plain!(regs.get::<u32>(cond)) == 0 {
                    next = m.target(target);
                }
            }
            Inst::BrTable { index, start, len } => next = plain!(m.table_target(regs, index, start, len)),
            Inst::LoopHeader { .. } => {
                if m.is_interrupted() {
                    go!(|at| m.interrupt(at));
                }
                if m.is_loop_due() {
                    go!(|at| m.at_loop(at));
                }
            }
            Inst::Fuel { cost } => {
                if !m.charge(cost) {
                    return m.trap(Cursor { next, regs }, TrapCode::OutOfFuel);
                }
            }

            Inst::Call { func, call } => go!(|at| m.call(at, func, call)),
            Inst::CallIndirect { table, type_index, index, call } => {
                go!(|at| m.call_indirect(at, table, type_index, index, call));
            }
            Inst::ReturnCall { func, args } => go!(|at| m.return_call(at, func, args)),
            Inst::ReturnCallIndirect { table, type_index, index, args } => {
                go!(|at| m.return_call_indirect(at, table, type_index, index, args));
            }
            Inst::CallRef { type_index: _, func, call } => go!(|at| m.call_ref(at, func, call)),
            Inst::ReturnCallRef { type_index: _, func, args } => go!(|at| m.return_call_ref(at, func, args)),
            Inst::TrapIfNull { ty, src, code } => {
                if plain!(is_null(regs, ty, src)) {
                    return m.trap(Cursor { next, regs }, code);
                }
            }
            Inst::Throw { tag, args } => go!(|at| m.throw(at, tag, args)),
            Inst::ThrowRef { exn } => go!(|at| m.throw_ref(at, exn)),
            Inst::Return { values } => match plain!(m.leave(regs, values)) {
                Some(cursor) => Cursor { next, regs } = cursor,
                None => return Status::Ok,
            },
            Inst::Trap { code } => return m.trap(Cursor { next, regs }, code),

            Inst::GlobalGet { ty, dst, global } => plain!(m.global_get(regs, ty, dst, global)),
            Inst::GlobalSet { ty, global, src } => plain!(m.global_set(regs, ty, global, src)),
            Inst::ConstV128 { dst, index } => plain!(regs.set(dst, v128(m.code().v128s[index as usize]))),
            Inst::ExtractLane { op, lane, dst, a } => plain!(rows::extract_lane(regs, op, lane, dst, a)),
            Inst::ReplaceLane { op, lane, dst, a, b } => plain!(rows::replace_lane(regs, op, lane, dst, [a, b])),
            Inst::Shuffle { dst, a, b, lanes } => {
                plain!(shuffle(regs, dst, a, b, m.code().v128s[lanes as usize]));
            }
            Inst::LoadLane { op, lane, dst, addr, vector, mem } => {
                row!(address::load_lane(regs, op, lane, dst, vector, m.access(mem, addr)));
            }
            Inst::StoreLane { op, lane, addr, vector, mem } => {
                row!(address::store_lane(regs, op, lane, vector, m.access(mem, addr)));
            }
            Inst::AtomicLoad { op, dst, addr, mem } => row!(atomic::load(regs, op, dst, m.access(mem, addr))),
            Inst::AtomicStore { op, addr, value, mem } => row!(atomic::store(regs, op, value, m.access(mem, addr))),
            Inst::AtomicRmw { op, dst, addr, value, mem } => {
                row!(atomic::rmw(regs, op, dst, value, m.access(mem, addr)));
            }
            Inst::AtomicCmpxchg { op, dst, addr, expected, replacement, mem } => {
                row!(atomic::cmpxchg(regs, op, dst, [expected, replacement], m.access(mem, addr)));
            }
            Inst::AtomicFence => std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst),
            ref other => {
                if let Err(status) = plain!(m.bulk(Cursor { next, regs }, other)) {
                    return status;
                }
            }
        }
    }
}

/// # Safety
/// The slot is one of the running code and holds a reference.
#[inline(always)]
pub(super) unsafe fn is_null(regs: Regs, ty: SlotType, src: Slot) -> bool {
    if ty == SlotType::Func {
        // SAFETY: said by the caller.
        return unsafe { regs.get::<u64>(src) } == 0;
    }
    // SAFETY: said by the caller.
    unsafe { regs.get::<u32>(src) == 0 }
}

fn joined(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// # Safety
/// The slots are those of the running code.
#[inline(always)]
unsafe fn select(regs: Regs, ty: SlotType, dst: Slot, cond: Slot, [a, b]: [Slot; 2]) {
    // SAFETY: said by the caller.
    let chosen = if unsafe { regs.get::<u32>(cond) } != 0 { a } else { b };
    // SAFETY: said by the caller.
    unsafe { regs.copy(ty, dst, chosen) };
}

/// # Safety
/// The slots are those of the running code.
unsafe fn shuffle(regs: Regs, dst: Slot, a: Slot, b: Slot, lanes: [u8; 16]) {
    // SAFETY: said by the caller.
    let a: v128 = unsafe { regs.get(a) };
    // SAFETY: said by the caller.
    let b: v128 = unsafe { regs.get(b) };
    // SAFETY: said by the caller.
    unsafe { regs.set(dst, sem::shuffle(a, b, lanes)) };
}
