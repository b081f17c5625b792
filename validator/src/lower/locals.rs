//! Where each local is: parameters one by one, the others in runs.

use aura_host_abi::{FuncType, SlotType};
use wasmparser::BinaryReader;

use super::stack::Height;
use crate::code::{LocalRun, Operand};
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
        let slot = crate::code::Slot(first.0 + (local - self.starts[run]) as i32 * step);
        Operand { slot, ty }
    }
}
