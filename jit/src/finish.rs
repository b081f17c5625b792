//! The end of a compilation: from a built CLIF function to bytes and tables.
//!
//! Invariant: a [`CompiledFunction`] needs no relocation, and each of its tables is sorted by offset.

use std::num::NonZeroU8;

use aura_host_abi::TrapCode;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{FinalizedMachCallSite, FinalizedMachExceptionHandler};

use crate::compiler::CompileError;
use crate::emit::NEVER;

/// Machine code that is not executable yet, and what is known of its instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledFunction {
    pub bytes: Box<[u8]>,
    /// Instructions that may fault, by offset, and what their fault means.
    pub traps: Box<[(u32, TrapCode)]>,
    /// From which offset on the code belongs to which offset in the module's bytes.
    pub srclocs: Box<[(u32, u32)]>,
    /// Calls whose exceptions are handled here, by the offsets of their return addresses.
    pub handlers: Box<[CallHandler]>,
    /// Bytes of the frame below the frame pointer, outgoing arguments included.
    pub frame_size: u32,
    pub alignment: u32,
    pub stack_maps: StackMaps,
}

/// Bytes of a line of the processor's cache of instructions.
const LINE: usize = 64;

impl CompiledFunction {
    /// Where the function is to begin, at `end` or behind it: with a line of the cache; or, where it has a single loop, so that this
    /// loop does, as far as the function's alignment allows: a loop that fits one line is not to take two. Which of several
    /// loops runs most is not known.
    ///
    /// ```text
    /// end ─▶ │ nothing │ function ... │ line: loop header ... │
    /// ```
    #[must_use]
    pub fn start_behind(&self, end: usize) -> usize {
        let Some(header) = self.only_loop() else { return end.next_multiple_of(LINE.max(self.alignment as usize)) };
        let alignment = self.alignment as usize;
        let start = end.next_multiple_of(alignment);
        match (start + header) % LINE {
            into_line if into_line < alignment => start,
            into_line => start + (LINE - into_line).next_multiple_of(alignment),
        }
    }

    /// What the address is to be a multiple of from which [`CompiledFunction::start_behind`] counts.
    pub(crate) fn boundary(&self) -> u64 {
        self.alignment.max(LINE as u32).into()
    }

    /// The offset of the function's loop if it has one and no more: of the read that may fault where an interrupt stops it.
    fn only_loop(&self) -> Option<usize> {
        let mut headers =
            self.traps.iter().filter(|(_, code)| *code == TrapCode::Interrupted).map(|header| header.0 as usize);
        headers.next().filter(|_| headers.next().is_none())
    }
}

/// Where a function's frame keeps references to objects while it waits for a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackMaps {
    /// Offsets behind calls, and the end of each one's places.
    pub(crate) calls: Box<[(u32, u32)]>,
    /// Bytes below the frame pointer.
    pub(crate) places: Box<[u32]>,
}

impl StackMaps {
    /// The places at the call that returns to `offset`.
    pub(crate) fn at(&self, offset: u32) -> &[u32] {
        let Ok(index) = self.calls.binary_search_by_key(&offset, |call| call.0) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.calls[before].1);
        &self.places[start as usize..self.calls[index].1 as usize]
    }

    fn new(maps: &[(u32, u32, ir::UserStackMap)]) -> Self {
        let (mut calls, mut places) = (Vec::new(), Vec::new());
        for (offset, frame, map) in maps {
            for (ty, at) in map.entries() {
                assert_eq!(ty, ir::types::I32, "references are 32 bits");
                places.push(frame - at);
            }
            calls.push((*offset, places.len() as u32));
        }
        Self { calls: calls.into(), places: places.into() }
    }
}

/// Where exceptions of a call land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallHandler {
    /// Offset of the call's return address.
    pub return_at: u32,
    /// Offset of the code that gets the exception, in the first payload register of the convention.
    pub land_at: u32,
    /// How far below the frame pointer the stack pointer is there.
    pub frame_size: u32,
}

/// Compiles what `context` holds.
pub(crate) fn compile(context: &mut Context, isa: &dyn TargetIsa) -> Result<CompiledFunction, CompileError> {
    let compiled = context
        .compile(isa, &mut ControlPlane::default())
        .map_err(|error| CompileError::Internal(format!("{:?}", error.inner)))?;
    let buffer = &compiled.buffer;
    if let Some(reloc) = buffer.relocs().first() {
        return Err(CompileError::Internal(format!("code has a relocation: {:?}", reloc.target)));
    }
    let frame_size = buffer.frame_layout().map(|frame| frame.frame_to_fp_offset);
    let frame_size = frame_size.ok_or_else(|| CompileError::Internal("code has no frame layout".to_owned()))?;
    Ok(CompiledFunction {
        bytes: buffer.data().into(),
        traps: buffer.traps().iter().filter_map(|trap| Some((trap.offset, trap_code(trap.code)?))).collect(),
        srclocs: srclocs(buffer.get_srclocs_sorted().iter().map(|at| (at.start, at.loc))),
        handlers: buffer.call_sites().filter_map(|site| call_handler(&site)).collect(),
        frame_size,
        alignment: buffer.alignment.max(isa.function_alignment().minimum),
        stack_maps: StackMaps::new(buffer.user_stack_maps()),
    })
}

fn call_handler(site: &FinalizedMachCallSite<'_>) -> Option<CallHandler> {
    let land_at = site.exception_handlers.iter().find_map(|handler| match *handler {
        FinalizedMachExceptionHandler::Default(at) => Some(at),
        _ => None,
    })?;
    let frame_size = site.frame_offset.expect("a call with handlers knows its frame");
    Some(CallHandler { return_at: site.ret_addr, land_at, frame_size })
}

/// What a fault with this code means; `None` for the traps behind calls that never return.
fn trap_code(code: ir::TrapCode) -> Option<TrapCode> {
    match code {
        NEVER => None,
        ir::TrapCode::STACK_OVERFLOW => Some(TrapCode::StackOverflow),
        ir::TrapCode::INTEGER_OVERFLOW => Some(TrapCode::IntegerOverflow),
        ir::TrapCode::HEAP_OUT_OF_BOUNDS => Some(TrapCode::MemoryOutOfBounds),
        ir::TrapCode::INTEGER_DIVISION_BY_ZERO => Some(TrapCode::IntegerDivideByZero),
        ir::TrapCode::BAD_CONVERSION_TO_INTEGER => Some(TrapCode::InvalidConversionToInteger),
        code => TrapCode::from_u8(NonZeroU8::get(code.as_raw())),
    }
}

/// Turns ranges into starts. Code of which Cranelift does not know the operator (it makes new operators
/// when it simplifies, and folds loads into them) belongs to the operator before it.
fn srclocs(ranges: impl Iterator<Item = (u32, ir::SourceLoc)>) -> Box<[(u32, u32)]> {
    let mut starts: Vec<(u32, u32)> = Vec::new();
    for (start, loc) in ranges.filter(|(_, loc)| !loc.is_default()) {
        match starts.last_mut() {
            Some(last) if last.0 == start => last.1 = loc.bits(),
            Some(last) if last.1 == loc.bits() => {}
            _ => starts.push((start, loc.bits())),
        }
    }
    starts.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looping(alignment: u32, headers: &[u32]) -> CompiledFunction {
        CompiledFunction {
            bytes: [0x90; 256].into(),
            traps: headers.iter().map(|&at| (at, TrapCode::Interrupted)).collect(),
            srclocs: Box::default(),
            handlers: Box::default(),
            frame_size: 0,
            alignment,
            stack_maps: StackMaps::default(),
        }
    }

    #[test]
    fn a_single_loop_begins_with_a_line() {
        for end in 0..200 {
            let start = looping(1, &[0x34]).start_behind(end);
            assert!((end..end + LINE).contains(&start));
            assert_eq!((start + 0x34) % LINE, 0);
        }
    }

    #[test]
    fn alignment_comes_before_the_line() {
        for (end, alignment) in (0..200).flat_map(|end| [2, 16, 32, 64, 128].map(|alignment| (end, alignment))) {
            let start = looping(alignment, &[0x37]).start_behind(end);
            assert!(start >= end && start.is_multiple_of(alignment as usize));
            assert!((start + 0x37) % LINE < (alignment as usize).min(LINE));
        }
    }

    #[test]
    fn others_begin_with_a_line_themselves() {
        for headers in [&[][..], &[10, 0x34]] {
            assert_eq!(looping(1, headers).start_behind(0), 0);
            assert_eq!(looping(1, headers).start_behind(13), LINE);
            assert_eq!(looping(128, headers).start_behind(65), 128);
        }
    }
}
