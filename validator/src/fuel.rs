//! What running costs: the one table that both tiers charge from.
//!
//! Lowering adds up the costs of a basic block's operators into one [`crate::code::Inst::Fuel`].
//! What depends on a length known only at run time is charged by the engine services, by the
//! constants below.

use crate::ops::Op;

/// Bytes that one unit of fuel pays for in `memory.copy`, `memory.fill` and `memory.init`, and in making an object of known size.
pub const BULK_BYTES_PER_FUEL: u64 = 64;

/// Elements that one unit of fuel pays for in bulk operations of tables and arrays, and in making an array whose length is
/// an operand.
pub const BULK_ELEMENTS_PER_FUEL: u64 = 8;

/// What it costs that an exception reaches the handlers around a place, besides one unit for each handler.
pub const HANDLERS: u32 = 4;

/// The cost of a frame that is open, in units of [`crate::code::Inst::Enter`]: the bytes of its slots, and what the
/// frames of either tier take besides, stubs between tiers included.
#[must_use]
pub const fn frame_cost(slots: u32) -> u32 {
    const BESIDES_SLOTS: u32 = 256;
    slots.saturating_mul(8).saturating_add(BESIDES_SLOTS)
}

/// The cost of running an operator once. Every branch and call costs something, so that whatever
/// repeats is charged.
#[must_use]
pub const fn fuel_cost(op: Op) -> u32 {
    match op {
        Op::Nop | Op::Block | Op::Loop | Op::TryTable | Op::Try | Op::Else | Op::End | Op::Drop | Op::LocalGet => 0,
        Op::Call | Op::ReturnCall => 4,
        Op::CallIndirect
        | Op::ReturnCallIndirect
        | Op::CallRef
        | Op::ReturnCallRef
        | Op::MemoryGrow
        | Op::TableGrow => 8,
        Op::Throw | Op::ThrowRef | Op::Rethrow => 16,
        Op::StructNew | Op::StructNewDefault | Op::ArrayNew | Op::ArrayNewDefault | Op::ArrayNewFixed => 8,
        Op::ArrayNewData | Op::ArrayNewElem => 8,
        Op::ArrayFill | Op::ArrayCopy | Op::ArrayInitData | Op::ArrayInitElem => 4,
        Op::MemoryCopy | Op::MemoryFill | Op::MemoryInit | Op::TableCopy | Op::TableFill | Op::TableInit => 4,
        Op::MemoryAtomicWait32 | Op::MemoryAtomicWait64 | Op::MemoryAtomicNotify => 8,
        Op::I32DivS | Op::I32DivU | Op::I32RemS | Op::I32RemU => 4,
        Op::I64DivS | Op::I64DivU | Op::I64RemS | Op::I64RemU => 4,
        Op::F32Div | Op::F64Div | Op::F32x4Div | Op::F64x2Div => 4,
        Op::F32Sqrt | Op::F64Sqrt | Op::F32x4Sqrt | Op::F64x2Sqrt => 4,
        _ => 1,
    }
}
