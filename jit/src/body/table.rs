//! Tables: elements inline, everything else by services.
//!
//! Invariant: an element's address was compared with the table's length and is null on any path,
//! speculative ones included, on which the compare failed.

use std::mem::offset_of;

use aura_host_abi::services::Service;
use aura_host_abi::vm::VmTable;
use aura_host_abi::{SlotType, TrapCode};
use aura_validator::code::{Inst, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::Body;
use crate::emit::{offset, plain};
use crate::signature::clif_type;

impl Body<'_> {
    pub(super) fn table(&mut self, inst: &Inst) {
        match *inst {
            Inst::TableGet { ty, dst, table, index } => {
                let at = self.element_address(table, index, TrapCode::TableOutOfBounds);
                let value = self.emit.ins().load(clif_type(ty), plain(), at, 0);
                self.set(ty, dst, value);
            }
            Inst::TableSet { ty, table, index, value } => {
                let at = self.element_address(table, index, TrapCode::TableOutOfBounds);
                let value = self.element(ty, value);
                self.emit.ins().store(plain(), value, at, 0);
            }
            Inst::TableSize { dst, table } => {
                let length = self.table_field(table, offset_of!(VmTable, length));
                self.set_index(self.is_table64(table), dst, length);
            }
            Inst::TableGrow { ty, dst, table, init, delta } => {
                let is_64 = self.is_table64(table);
                let init = self.element(ty, init);
                let delta = self.get_index(is_64, delta);
                let table = self.emit.iconst64(u64::from(table));
                let old = self.emit.call_service(Service::table_grow, &[table, init, delta]);
                self.set_index(is_64, dst, old);
            }
            ref inst => self.table_bulk(inst),
        }
    }

    fn table_bulk(&mut self, inst: &Inst) {
        match *inst {
            Inst::TableFill { ty, table, at, value, len } => {
                let is_64 = self.is_table64(table);
                let (at, len) = (self.get_index(is_64, at), self.get_index(is_64, len));
                let value = self.element(ty, value);
                let table = self.emit.iconst64(u64::from(table));
                self.emit.call_status(Service::table_fill, &[table, at, value, len]);
            }
            Inst::TableCopy { dst_table, src_table, dst, src, len } => {
                let (dst_64, src_64) = (self.is_table64(dst_table), self.is_table64(src_table));
                let (dst, src) = (self.get_index(dst_64, dst), self.get_index(src_64, src));
                let len = self.get_index(dst_64 && src_64, len);
                let dst_table = self.emit.iconst64(u64::from(dst_table));
                let src_table = self.emit.iconst64(u64::from(src_table));
                self.emit.call_status(Service::table_copy, &[dst_table, src_table, dst, src, len]);
            }
            Inst::TableInit { table, segment, dst, src, len } => {
                let dst = self.get_index(self.is_table64(table), dst);
                let (src, len) = (self.get_u32(src), self.get_u32(len));
                let (table, segment) = (self.emit.iconst64(u64::from(table)), self.emit.iconst64(u64::from(segment)));
                self.emit.call_status(Service::table_init, &[table, segment, dst, src, len]);
            }
            Inst::ElemDrop { segment } => {
                let segment = self.emit.iconst64(u64::from(segment));
                self.emit.call_service(Service::elem_drop, &[segment]);
            }
            ref inst => unreachable!("{inst:?} is not of tables"),
        }
    }

    /// The address of a table's element. Leaves with `code` if the index is out of bounds.
    pub(super) fn element_address(&mut self, table: u32, index: Slot, code: TrapCode) -> Value {
        let index = self.get_index(self.is_table64(table), index);
        let length = self.table_field(table, offset_of!(VmTable, length));
        let is_out = self.emit.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, length);
        self.trap_if(is_out, code);
        let base = self.table_field(table, offset_of!(VmTable, base));
        let three = self.emit.iconst64(size_of::<u64>().trailing_zeros().into());
        let scaled = self.emit.ins().ishl(index, three);
        let address = self.emit.ins().iadd(base, scaled);
        let null = self.emit.iconst64(0);
        self.emit.ins().select_spectre_guard(is_out, null, address)
    }

    /// A reference as tables and services take it: 64 bits.
    fn element(&mut self, ty: SlotType, slot: Slot) -> Value {
        let value = self.get(ty, slot);
        if ty == SlotType::Ref { self.emit.ins().uextend(types::I64, value) } else { value }
    }

    /// Own tables lie in the instance, imported ones behind a pointer.
    fn table_field(&mut self, table: u32, field: usize) -> Value {
        let vmctx = self.emit.vmctx;
        let (base, at) = match table.checked_sub(self.layout.counts().imported_tables) {
            Some(own) => (vmctx, self.layout.own_tables(own)),
            None => (self.emit.load_constant(vmctx, self.layout.tables(table)), 0),
        };
        self.emit.ins().load(types::I64, plain(), base, at + offset(field))
    }

    fn is_table64(&self, table: u32) -> bool {
        self.target.module.tables()[table as usize].ty.table64
    }
}
