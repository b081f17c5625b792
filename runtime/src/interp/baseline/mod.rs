//! Machine code for cells.
//!
//! A function that is warm gets it: where there is a template ([`emit`]), the cell's handler is replaced by code of its own, which knows
//! its operands and goes on in the code of the cell behind. All other cells keep their handlers, and those lead from cell to
//! cell as ever. So frames, traps, calls, exceptions and what the collector sees are what they are without it, and who is in
//! the function goes on in code with the next cell that it comes to.
//!
//! Code is written for one function after the other, and published when there is enough of it, or when one of them was warm once
//! more: pages are dear.
//!
//! # Safety
//! Trusts: a form lives as long as its module, and so does the code. Gives: code is written to fresh pages and is executable, and no
//! more writable, before a cell leads there.

mod access;
mod asm;
mod emit;
mod flow;
mod numbers;
mod open;
mod table;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aura_jit::{KeptCode, KeptFunction};

pub(in crate::interp) use emit::Cell;
pub(crate) use emit::{EmitOptions, Emitter};
use emit::{Place, Placed};

use super::dispatch::Handler;
use super::form::Word;

/// Whether there is such code in this build.
pub(crate) const AVAILABLE: bool = cfg!(all(target_arch = "x86_64", aura_sibling_calls));

/// So many bytes of code are published.
const BATCH_BYTES: usize = 16 << 10;

/// The code of one module.
#[derive(Debug)]
pub(crate) struct Area {
    memory: KeptCode,
    batch: Mutex<Batch>,
}

struct Batch {
    emitter: Emitter,
    /// The functions that were written.
    written: HashMap<u32, Written>,
    /// The batch that is being filled.
    number: u32,
    /// There is no more room.
    is_full: bool,
}

#[derive(Clone, Copy)]
struct Written {
    /// The batch that it is in.
    batch: u32,
    /// How many of its cells have code.
    cells: usize,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Area {
    /// Room for so many bytes of the code of a module with that token, if there is some.
    pub(crate) fn new(token: u64, bytes: usize, options: EmitOptions) -> Option<Self> {
        let memory = KeptCode::new(token, bytes).ok()?;
        let batch = Batch { emitter: Emitter::new(options), written: HashMap::new(), number: 0, is_full: false };
        Some(Self { memory, batch: Mutex::new(batch) })
    }

    /// Writes code of a function by `emit`, and publishes it if there is enough of it, or `at_once`, or if it was written before. Says
    /// whether it waits.
    pub(crate) fn add(&self, own_func: u32, at_once: bool, emit: impl FnOnce(&mut Emitter)) -> bool {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.is_full {
            return false;
        }
        let written = batch.written.get(&own_func).copied();
        match written {
            Some(Written { batch: number, .. }) if number < batch.number => return false,
            Some(_) => {}
            None => {
                let before = batch.emitter.with_code();
                emit(&mut batch.emitter);
                let cells = batch.emitter.with_code() - before;
                let number = batch.number;
                batch.written.insert(own_func, Written { batch: number, cells });
            }
        }
        if written.is_none() && !at_once && batch.emitter.len() < BATCH_BYTES {
            return true;
        }
        batch.is_full = publish(&self.memory, &batch.emitter).is_none();
        batch.emitter.clear();
        batch.number += 1;
        false
    }
}

impl Area {
    /// How many cells of a function have code that is published; nothing if it has none.
    pub(crate) fn cells_with_code(&self, own_func: u32) -> Option<usize> {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let Written { batch: number, cells } = *batch.written.get(&own_func)?;
        // The last batch is the one for which there was no room.
        (number < batch.number - u32::from(batch.is_full)).then_some(cells)
    }
}

/// Makes code executable and has the cells lead there. Nothing if there is no room.
fn publish(memory: &KeptCode, emitter: &Emitter) -> Option<()> {
    let mut base = 0;
    let fill = |code: &mut [u8]| -> Result<Vec<KeptFunction>, ()> {
        base = code.as_ptr().addr();
        code.copy_from_slice(emitter.bytes());
        for &(gap, target) in &emitter.jumps {
            let from = base as i64 + gap.end();
            let distance = i32::try_from((target as i64).wrapping_sub(from)).map_err(|_| ())?;
            gap.fill(code, distance);
        }
        Ok(Vec::new())
    };
    memory.publish(emitter.bytes().len(), fill).ok()??;
    for &Placed { cell, to } in &emitter.cells {
        let handler = match to {
            Place::Alone(handler) => handler,
            Place::Code(offset) => {
                let code = std::ptr::with_exposed_provenance::<()>(base + offset as usize);
                // SAFETY: the code there has the convention of handlers, and is executable from now on.
                unsafe { std::mem::transmute::<*const (), Handler>(code) }
            }
        };
        // SAFETY: the cell is one of a form of the module, and the code, or the handler, carries it out.
        unsafe { Word::set_handler(std::ptr::with_exposed_provenance(cell), handler) };
    }
    Some(())
}
