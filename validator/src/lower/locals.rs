//! Where each local is: parameters one by one, the others in runs; and which of them are read before they are written.

use aura_host_abi::{FuncType, SlotType};
use wasmparser::BinaryReader;

use super::stack::Height;
use crate::code::{LocalRun, Operand, Slot};
use crate::parse::convert::Kinds;

/// Parameters and locals of a function.
#[derive(Debug)]
pub(super) struct Locals {
    pub(super) params: Box<[Operand]>,
    pub(super) runs: Box<[LocalRun]>,
    /// Index of each run's first local.
    starts: Box<[u32]>,
    /// The slots that parameters and locals take.
    pub(super) height: Height,
}

impl Locals {
    /// Reads the locals' declaration of a validated body.
    ///
    /// # Errors
    /// None for a validated body.
    pub(super) fn read(ty: &FuncType, kinds: Kinds<'_>, reader: &mut BinaryReader<'_>) -> wasmparser::Result<Self> {
        let mut height = Height::default();
        let operand = |ty: SlotType, height: &mut Height| Operand { slot: height.take(ty), ty };
        let params: Box<[_]> = ty.params().iter().map(|t| operand(t.slot_type(), &mut height)).collect();
        let (mut runs, mut starts) = (Vec::new(), Vec::new());
        let mut next = params.len() as u32;
        for _ in 0..reader.read_var_u32()? {
            let count: u32 = reader.read()?;
            let ty: wasmparser::ValType = reader.read()?;
            if count == 0 {
                continue;
            }
            let ty = kinds.val_type(ty).expect("the body validated").slot_type();
            starts.push(next);
            runs.push(LocalRun { ty, first: height.take_run(ty, count), count });
            next += count;
        }
        Ok(Self { params, runs: runs.into(), starts: starts.into(), height })
    }

    /// The local with this index.
    ///
    /// # Panics
    /// If there is none, which validation excludes.
    pub(super) fn get(&self, local: u32) -> Operand {
        if let Some(&param) = self.params.get(local as usize) {
            return param;
        }
        let run = self.starts.partition_point(|&start| start <= local) - 1;
        let LocalRun { ty, first, .. } = self.runs[run];
        let step = if ty == SlotType::Ref { -1 } else { ty.slots() as i32 };
        let slot = Slot(first.0 + (local - self.starts[run]) as i32 * step);
        Operand { slot, ty }
    }

    /// What stands for a local in [`Assigned`]; none for a parameter, and for those that are too many.
    pub(super) fn bit(&self, local: u32) -> u64 {
        let number = local.checked_sub(self.params.len() as u32).filter(|&number| number < Assigned::MAX);
        number.map_or(0, |number| 1 << number)
    }

    /// The locals that need their zeros, references aside: those that are read before they are written, and all
    /// beyond the first [`Assigned::MAX`].
    pub(super) fn zeroed(&self, assigned: Assigned) -> Box<[LocalRun]> {
        let mut zeroed: Vec<LocalRun> = Vec::new();
        for (&start, &LocalRun { ty, first, count }) in self.starts.iter().zip(&self.runs) {
            if ty == SlotType::Ref {
                continue;
            }
            let start = start - self.params.len() as u32;
            let counted = Assigned::MAX.saturating_sub(start).min(count);
            let read = (0..counted).filter(|n| assigned.read & 1 << (start + n) != 0).map(|n| (n, 1));
            let beyond = (counted < count).then_some((counted, count - counted));
            for (n, count) in read.chain(beyond) {
                let first = Slot(first.0 + (n * ty.slots()) as i32);
                match zeroed.last_mut() {
                    Some(last) if last.ty == ty && last.first.0 + (last.count * ty.slots()) as i32 == first.0 => {
                        last.count += count;
                    }
                    _ => zeroed.push(LocalRun { ty, first, count }),
                }
            }
        }
        zeroed.into()
    }
}

/// Which of the first locals that are no parameters have been written on every way to here, and which were ever read before that.
///
/// At a label it is what all ways there have in common. At a loop's header these are the ways into the loop: on those
/// back to it, at least as much was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Assigned {
    pub(super) here: u64,
    read: u64,
}

impl Assigned {
    pub(super) const MAX: u32 = u64::BITS;

    pub(super) fn write(&mut self, local: u64) {
        self.here |= local;
    }

    pub(super) fn read(&mut self, local: u64) {
        self.read |= local & !self.here;
    }
}
