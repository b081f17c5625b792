//! Instructions that have no handler of their own: carried out as `Code` says them.
//!
//! Their cells hold a pointer to the instruction. The arms say where it is carried out; what that does
//! stands in the other files.
//!
//! # Safety
//! Trusts: as [`super::machine`] and [`super::slots`].

use std::sync::atomic::{Ordering, fence};

use aura_host_abi::trap::Status;
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{Inst, Slot};
use aura_validator::ops::{sem, v128};

use super::machine::{Cursor, Machine};
use super::slots::Regs;
use super::{address, atomic, rows};

impl Machine {
    /// Carries out an instruction; returns where to go on.
    ///
    /// # Safety
    /// `cursor` is behind the cell of the instruction, which is one of the running code.
    pub(super) unsafe fn general(&mut self, cursor: Cursor, inst: &Inst) -> Result<Cursor, Status> {
        let (m, regs) = (self, cursor.regs);
        /// Carries something out that cannot fail, and goes on.
        macro_rules! plain {
            ($what:expr) => {{
                // SAFETY: said by the caller: slots and indices are the running code's.
                unsafe { $what };
                Ok(cursor)
            }};
        }
        /// Goes on where what is carried out says.
        macro_rules! go {
            ($what:expr) => {
                // SAFETY: as above.
                unsafe { $what }
            };
        }
        /// Carries out a row; ends the run if it traps.
        macro_rules! row {
            ($row:expr) => {
                // SAFETY: as above.
                match unsafe { $row } {
                    Ok(()) => Ok(cursor),
                    Err(code) => Err(m.trap(cursor, code)),
                }
            };
        }
        match *inst {
            Inst::Unary { op, dst, a } => row!(rows::vector(regs, op, dst, [a, a, a], m.nans)),
            Inst::Binary { op, dst, a, b } => row!(rows::vector(regs, op, dst, [a, b, b], m.nans)),
            Inst::Ternary { op, dst, a, b, c } => row!(rows::vector(regs, op, dst, [a, b, c], m.nans)),
            Inst::Wide { op, dst, args } => plain!(rows::wide(regs, op, dst, args)),
            Inst::ExtractLane { op, lane, dst, a } => plain!(rows::extract_lane(regs, op, lane, dst, a)),
            Inst::ReplaceLane { op, lane, dst, a, b } => plain!(rows::replace_lane(regs, op, lane, dst, [a, b])),
            Inst::Shuffle { dst, a, b, lanes } => plain!(shuffle(regs, dst, a, b, m.code().v128s[lanes as usize])),
            Inst::ConstV128 { dst, index } => plain!(regs.set(dst, v128(m.code().v128s[index as usize]))),
            Inst::Copy { ty, dst, src } => plain!(regs.copy(ty, dst, src)),
            Inst::Select { ty, dst, cond, a, b } => plain!(select(regs, ty, dst, cond, [a, b])),
            Inst::GlobalGet { ty, dst, global } => plain!(m.global_get(regs, ty, dst, global)),
            Inst::GlobalSet { ty, global, src } => plain!(m.global_set(regs, ty, global, src)),

            Inst::Load { op, dst, addr, mem } => row!(address::load(regs, op, dst, m.access(mem, addr))),
            Inst::Store { op, addr, value, mem } => row!(address::store(regs, op, value, m.access(mem, addr))),
            Inst::LoadLane { op, lane, dst, addr, vector, mem } => {
                row!(address::load_lane(regs, op, lane, dst, vector, m.access(mem, addr)))
            }
            Inst::StoreLane { op, lane, addr, vector, mem } => {
                row!(address::store_lane(regs, op, lane, vector, m.access(mem, addr)))
            }
            Inst::AtomicLoad { op, dst, addr, mem } => row!(atomic::load(regs, op, dst, m.access(mem, addr))),
            Inst::AtomicStore { op, addr, value, mem } => row!(atomic::store(regs, op, value, m.access(mem, addr))),
            Inst::AtomicRmw { op, dst, addr, value, mem } => {
                row!(atomic::rmw(regs, op, dst, value, m.access(mem, addr)))
            }
            Inst::AtomicCmpxchg { op, dst, addr, expected, replacement, mem } => {
                row!(atomic::cmpxchg(regs, op, dst, [expected, replacement], m.access(mem, addr)))
            }
            Inst::AtomicFence => {
                fence(Ordering::SeqCst);
                Ok(cursor)
            }

            Inst::Enter { saved, cost } => row!(m.enter_frame(regs, saved, cost)),
            Inst::Leave { saved } => plain!(m.restore_depth(regs.get::<i64>(saved))),
            Inst::TrapIfNull { ty, src, code } => row!(if is_null(regs, ty, src) { Err(code) } else { Ok(()) }),

            Inst::Call { func, call } => go!(m.call(cursor, func, call)),
            Inst::CallIndirect { table, type_index, index, call } => {
                go!(m.call_indirect(cursor, table, type_index, index, call))
            }
            Inst::CallRef { type_index: _, func, call } => go!(m.call_ref(cursor, func, call)),
            Inst::ReturnCall { func, args } => go!(m.return_call(cursor, func, args)),
            Inst::ReturnCallIndirect { table, type_index, index, args } => {
                go!(m.return_call_indirect(cursor, table, type_index, index, args))
            }
            Inst::ReturnCallRef { type_index: _, func, args } => go!(m.return_call_ref(cursor, func, args)),
            Inst::Throw { tag, args } => go!(m.throw(cursor, tag, args)),
            Inst::ThrowRef { exn } => go!(m.throw_ref(cursor, exn)),

            ref other => go!(m.bulk(cursor, other)).map(|()| cursor),
        }
    }

    /// # Safety
    /// The slot is one of the running code.
    unsafe fn enter_frame(&mut self, regs: Regs, saved: Slot, cost: u32) -> Result<(), TrapCode> {
        let before = self.take_depth(cost);
        // SAFETY: said by the caller.
        unsafe { regs.set(saved, before) };
        if before < i64::from(cost) { Err(TrapCode::StackOverflow) } else { Ok(()) }
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

/// # Safety
/// The slots are those of the running code.
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
