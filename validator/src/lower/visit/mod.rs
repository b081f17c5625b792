//! The visitor: an arm for each operator that is not a row of the operator table; [`rows`] has the others.

use aura_host_abi::{RefType, SlotType, TrapCode, ValType};
use wasmparser::{
    BlockType, BrTable, HeapType, Ieee32, Ieee64, MemArg, TryTable, V128, VisitOperator, VisitSimdOperator,
};

use self::rows::visit_rows;
use super::Lowering;
use crate::code::{Inst, Operand};
use crate::ops::Op;

mod parts;
mod rows;

impl<'a> VisitOperator<'a> for Lowering<'_> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit_rows);

    fn visit_unreachable(&mut self) {
        if self.begin(Op::Unreachable) {
            self.emit(Inst::Trap { code: TrapCode::Unreachable });
            self.die();
        }
    }

    fn visit_nop(&mut self) {}

    fn visit_block(&mut self, ty: BlockType) {
        if self.begin_block(Op::Block) {
            self.open_block(ty);
        }
    }

    fn visit_loop(&mut self, ty: BlockType) {
        if self.begin_block(Op::Loop) {
            self.open_loop(ty);
        }
    }

    fn visit_if(&mut self, ty: BlockType) {
        if self.begin_block(Op::If) {
            self.open_if(ty);
        }
    }

    fn visit_else(&mut self) {
        self.open_else();
    }

    fn visit_end(&mut self) {
        self.close();
    }

    fn visit_br(&mut self, depth: u32) {
        if self.begin(Op::Br) {
            self.branch(depth);
            self.die();
        }
    }

    fn visit_br_if(&mut self, depth: u32) {
        if self.begin(Op::BrIf) {
            self.branch_if(depth);
        }
    }

    fn visit_br_table(&mut self, table: BrTable<'a>) {
        if self.begin(Op::BrTable) {
            self.branch_table(&table);
            self.die();
        }
    }

    fn visit_return(&mut self) {
        if self.begin(Op::Return) {
            self.branch(self.controls.len() as u32 - 1);
            self.die();
        }
    }

    fn visit_call(&mut self, func: u32) {
        if self.begin(Op::Call) {
            let call = self.call_operands(self.module.func_type_index(func));
            self.emit_movable(Inst::Call { func, call });
        }
    }

    fn visit_call_indirect(&mut self, type_index: u32, table: u32) {
        if self.begin(Op::CallIndirect) {
            let index = self.pop();
            let call = self.call_operands(type_index);
            self.emit_movable(Inst::CallIndirect { table, type_index, index, call });
        }
    }

    fn visit_return_call(&mut self, func: u32) {
        if self.begin(Op::ReturnCall) {
            let args = self.tail_operands(self.module.func_type_index(func));
            self.emit(Inst::ReturnCall { func, args });
            self.die();
        }
    }

    fn visit_return_call_indirect(&mut self, type_index: u32, table: u32) {
        if self.begin(Op::ReturnCallIndirect) {
            let index = self.pop();
            let args = self.tail_operands(type_index);
            self.emit(Inst::ReturnCallIndirect { table, type_index, index, args });
            self.die();
        }
    }

    fn visit_call_ref(&mut self, type_index: u32) {
        if self.begin(Op::CallRef) {
            let func = self.pop();
            let call = self.call_operands(type_index);
            self.emit_movable(Inst::CallRef { type_index, func, call });
        }
    }

    fn visit_return_call_ref(&mut self, type_index: u32) {
        if self.begin(Op::ReturnCallRef) {
            let func = self.pop();
            let args = self.tail_operands(type_index);
            self.emit(Inst::ReturnCallRef { type_index, func, args });
            self.die();
        }
    }

    fn visit_try_table(&mut self, table: TryTable) {
        if self.begin_block(Op::TryTable) {
            self.open_try_table(&table);
        }
    }

    fn visit_try(&mut self, ty: BlockType) {
        if self.begin_block(Op::Try) {
            self.open_legacy_try(ty);
        }
    }

    fn visit_catch(&mut self, tag: u32) {
        self.open_legacy_catch(Some(tag));
    }

    fn visit_catch_all(&mut self) {
        self.open_legacy_catch(None);
    }

    fn visit_delegate(&mut self, depth: u32) {
        self.close_legacy_delegate(depth);
    }

    fn visit_rethrow(&mut self, depth: u32) {
        if self.begin(Op::Rethrow) {
            self.legacy_rethrow(depth);
        }
    }

    fn visit_throw(&mut self, tag: u32) {
        if self.begin(Op::Throw) {
            let args = self.tail_operands(self.module.tags[tag as usize]);
            self.emit(Inst::Throw { tag, args });
            self.die();
        }
    }

    fn visit_throw_ref(&mut self) {
        if self.begin(Op::ThrowRef) {
            let exn = self.pop();
            self.emit(Inst::ThrowRef { exn });
            self.die();
        }
    }

    fn visit_drop(&mut self) {
        if self.begin(Op::Drop) {
            self.pop();
        }
    }

    fn visit_select(&mut self) {
        if self.begin(Op::Select) {
            let cond = self.pop();
            let b = self.pop();
            let a = self.stack.pop();
            let dst = self.stack.push(a.ty);
            self.emit_movable(Inst::Select { ty: a.ty, dst, cond, a: a.place, b });
        }
    }

    fn visit_typed_select(&mut self, _: wasmparser::ValType) {
        self.visit_select();
    }

    fn visit_local_get(&mut self, local: u32) {
        if self.begin(Op::LocalGet) {
            self.assigned.read(self.locals.bit(local));
            self.push_local(self.locals.get(local));
        }
    }

    fn visit_local_set(&mut self, local: u32) {
        if self.begin(Op::LocalSet) {
            let value = self.stack.pop();
            self.write_local(self.locals.get(local), value);
            self.assigned.write(self.locals.bit(local));
        }
    }

    fn visit_local_tee(&mut self, local: u32) {
        if !self.begin(Op::LocalTee) {
            return;
        }
        let value = self.stack.pop();
        self.assigned.write(self.locals.bit(local));
        let local = self.locals.get(local);
        if self.write_local(local, value) {
            self.push_local(local);
        } else {
            self.push_again(value);
        }
    }

    fn visit_global_get(&mut self, global: u32) {
        if self.begin(Op::GlobalGet) {
            let ty = self.module.globals[global as usize].content.slot_type();
            let dst = self.stack.push(ty);
            self.emit_movable(Inst::GlobalGet { ty, dst, global });
        }
    }

    fn visit_global_set(&mut self, global: u32) {
        if self.begin(Op::GlobalSet) {
            let Operand { slot: src, ty } = self.stack.pop().operand();
            self.emit(Inst::GlobalSet { ty, global, src });
        }
    }

    fn visit_i32_const(&mut self, value: i32) {
        self.const32(Op::I32Const, SlotType::I32, value.cast_unsigned());
    }

    fn visit_f32_const(&mut self, value: Ieee32) {
        self.const32(Op::F32Const, SlotType::F32, value.bits());
    }

    fn visit_i64_const(&mut self, value: i64) {
        self.const64(Op::I64Const, SlotType::I64, value.cast_unsigned());
    }

    fn visit_f64_const(&mut self, value: Ieee64) {
        self.const64(Op::F64Const, SlotType::F64, value.bits());
    }

    fn visit_ref_null(&mut self, heap: HeapType) {
        if self.begin(Op::RefNull) {
            let heap = self.module.kinds().heap_type(heap).expect("the body validated");
            let ty = ValType::Ref(RefType { nullable: true, heap }).slot_type();
            let dst = self.stack.push(ty);
            self.emit_movable(Inst::RefNull { ty, dst });
        }
    }

    fn visit_ref_is_null(&mut self) {
        if self.begin(Op::RefIsNull) {
            let Operand { slot: src, ty } = self.stack.pop().operand();
            let dst = self.stack.push(SlotType::I32);
            self.emit_movable(Inst::RefIsNull { ty, dst, src });
        }
    }

    fn visit_ref_func(&mut self, func: u32) {
        if self.begin(Op::RefFunc) {
            let dst = self.stack.push(SlotType::Func);
            self.emit_movable(Inst::RefFunc { dst, func });
        }
    }

    fn visit_ref_as_non_null(&mut self) {
        if self.begin(Op::RefAsNonNull) {
            let Operand { slot: src, ty } = self.stack.top(1)[0].operand();
            self.emit(Inst::TrapIfNull { ty, src, code: TrapCode::NullReference });
        }
    }

    fn visit_br_on_null(&mut self, depth: u32) {
        if self.begin(Op::BrOnNull) {
            let is_null = self.test_null();
            let value = self.stack.pop();
            self.branch_on(is_null, true, depth);
            self.push_again(value);
        }
    }

    fn visit_br_on_non_null(&mut self, depth: u32) {
        if self.begin(Op::BrOnNonNull) {
            let is_null = self.test_null();
            self.branch_on(is_null, false, depth);
            self.pop();
        }
    }

    fn visit_ref_test_non_null(&mut self, heap: HeapType) {
        self.ref_test(Op::RefTestNonNull, heap, false);
    }

    fn visit_ref_test_nullable(&mut self, heap: HeapType) {
        self.ref_test(Op::RefTestNullable, heap, true);
    }

    fn visit_ref_cast_non_null(&mut self, heap: HeapType) {
        self.ref_cast(Op::RefCastNonNull, heap, false);
    }

    fn visit_ref_cast_nullable(&mut self, heap: HeapType) {
        self.ref_cast(Op::RefCastNullable, heap, true);
    }

    fn visit_br_on_cast(&mut self, depth: u32, _: wasmparser::RefType, to: wasmparser::RefType) {
        if self.begin(Op::BrOnCast) {
            let is_of = self.test_type(to);
            self.branch_on(is_of, true, depth);
        }
    }

    fn visit_br_on_cast_fail(&mut self, depth: u32, _: wasmparser::RefType, to: wasmparser::RefType) {
        if self.begin(Op::BrOnCastFail) {
            let is_of = self.test_type(to);
            self.branch_on(is_of, false, depth);
        }
    }

    /// The reference stays what it is: both hierarchies have one encoding.
    fn visit_any_convert_extern(&mut self) {
        self.begin(Op::AnyConvertExtern);
    }

    /// As [`Self::visit_any_convert_extern`].
    fn visit_extern_convert_any(&mut self) {
        self.begin(Op::ExternConvertAny);
    }

    fn visit_ref_eq(&mut self) {
        if self.begin(Op::RefEq) {
            let b = self.pop();
            let a = self.pop();
            let dst = self.stack.push(SlotType::I32);
            self.emit_movable(Inst::RefEq { dst, a, b });
        }
    }

    fn visit_ref_i31(&mut self) {
        if self.begin(Op::RefI31) {
            let src = self.pop();
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::RefI31 { dst, src });
        }
    }

    fn visit_i31_get_s(&mut self) {
        self.i31_get(Op::I31GetS, true);
    }

    fn visit_i31_get_u(&mut self) {
        self.i31_get(Op::I31GetU, false);
    }

    fn visit_struct_new(&mut self, type_index: u32) {
        if self.begin(Op::StructNew) {
            self.charge_object(self.struct_type(type_index).size().into());
            let fields = self.pop_list(self.struct_type(type_index).fields().len());
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::StructNew { type_index, dst, fields });
        }
    }

    fn visit_struct_new_default(&mut self, type_index: u32) {
        if self.begin(Op::StructNewDefault) {
            self.charge_object(self.struct_type(type_index).size().into());
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::StructNewDefault { type_index, dst });
        }
    }

    fn visit_struct_get(&mut self, type_index: u32, field: u32) {
        self.struct_get(Op::StructGet, type_index, field, false);
    }

    fn visit_struct_get_s(&mut self, type_index: u32, field: u32) {
        self.struct_get(Op::StructGetS, type_index, field, true);
    }

    fn visit_struct_get_u(&mut self, type_index: u32, field: u32) {
        self.struct_get(Op::StructGetU, type_index, field, false);
    }

    fn visit_struct_set(&mut self, type_index: u32, field: u32) {
        if self.begin(Op::StructSet) {
            let value = self.pop();
            let object = self.pop();
            self.emit(Inst::StructSet { type_index, field: field as u16, object, value });
        }
    }

    fn visit_array_new(&mut self, type_index: u32) {
        if self.begin(Op::ArrayNew) {
            let len = self.pop();
            let init = self.pop();
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::ArrayNew { type_index, dst, init, len });
        }
    }

    fn visit_array_new_default(&mut self, type_index: u32) {
        if self.begin(Op::ArrayNewDefault) {
            let len = self.pop();
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::ArrayNewDefault { type_index, dst, len });
        }
    }

    fn visit_array_new_fixed(&mut self, type_index: u32, len: u32) {
        if self.begin(Op::ArrayNewFixed) {
            self.charge_object(self.array_type(type_index).size(len));
            let elements = self.pop_list(len as usize);
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::ArrayNewFixed { type_index, dst, elements });
        }
    }

    fn visit_array_new_data(&mut self, type_index: u32, segment: u32) {
        if self.begin(Op::ArrayNewData) {
            let len = self.pop();
            let src = self.pop();
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::ArrayNewData { type_index, segment, dst, src, len });
        }
    }

    fn visit_array_new_elem(&mut self, type_index: u32, segment: u32) {
        if self.begin(Op::ArrayNewElem) {
            let len = self.pop();
            let src = self.pop();
            let dst = self.stack.push(SlotType::Ref);
            self.emit_movable(Inst::ArrayNewElem { type_index, segment, dst, src, len });
        }
    }

    fn visit_array_get(&mut self, type_index: u32) {
        self.array_get(Op::ArrayGet, type_index, false);
    }

    fn visit_array_get_s(&mut self, type_index: u32) {
        self.array_get(Op::ArrayGetS, type_index, true);
    }

    fn visit_array_get_u(&mut self, type_index: u32) {
        self.array_get(Op::ArrayGetU, type_index, false);
    }

    fn visit_array_set(&mut self, type_index: u32) {
        if self.begin(Op::ArraySet) {
            let [array, index, value] = self.pop3();
            self.emit(Inst::ArraySet { type_index, array, index, value });
        }
    }

    fn visit_array_len(&mut self) {
        if self.begin(Op::ArrayLen) {
            let array = self.pop();
            let dst = self.stack.push(SlotType::I32);
            self.emit_movable(Inst::ArrayLen { dst, array });
        }
    }

    fn visit_array_fill(&mut self, type_index: u32) {
        if self.begin(Op::ArrayFill) {
            let [index, value, len] = self.pop3();
            let array = self.pop();
            self.emit(Inst::ArrayFill { type_index, array, index, value, len });
        }
    }

    fn visit_array_copy(&mut self, type_index: u32, _: u32) {
        if self.begin(Op::ArrayCopy) {
            let operands = self.pop_list(5);
            self.emit(Inst::ArrayCopy { type_index, operands });
        }
    }

    fn visit_array_init_data(&mut self, type_index: u32, segment: u32) {
        if self.begin(Op::ArrayInitData) {
            let operands = self.pop_list(4);
            self.emit(Inst::ArrayInitData { type_index, segment, operands });
        }
    }

    fn visit_array_init_elem(&mut self, type_index: u32, segment: u32) {
        if self.begin(Op::ArrayInitElem) {
            let operands = self.pop_list(4);
            self.emit(Inst::ArrayInitElem { type_index, segment, operands });
        }
    }

    fn visit_table_get(&mut self, table: u32) {
        if self.begin(Op::TableGet) {
            let index = self.pop();
            let ty = self.element_type(table);
            let dst = self.stack.push(ty);
            self.emit_movable(Inst::TableGet { ty, dst, table, index });
        }
    }

    fn visit_table_set(&mut self, table: u32) {
        if self.begin(Op::TableSet) {
            let value = self.pop();
            let index = self.pop();
            self.emit(Inst::TableSet { ty: self.element_type(table), table, index, value });
        }
    }

    fn visit_table_size(&mut self, table: u32) {
        if self.begin(Op::TableSize) {
            let dst = self.stack.push(self.table_index_type(table));
            self.emit_movable(Inst::TableSize { dst, table });
        }
    }

    fn visit_table_grow(&mut self, table: u32) {
        if self.begin(Op::TableGrow) {
            let delta = self.pop();
            let init = self.pop();
            let dst = self.stack.push(self.table_index_type(table));
            self.emit_movable(Inst::TableGrow { ty: self.element_type(table), dst, table, init, delta });
        }
    }

    fn visit_table_fill(&mut self, table: u32) {
        if self.begin(Op::TableFill) {
            let [at, value, len] = self.pop3();
            self.emit(Inst::TableFill { ty: self.element_type(table), table, at, value, len });
        }
    }

    fn visit_table_copy(&mut self, dst_table: u32, src_table: u32) {
        if self.begin(Op::TableCopy) {
            let [dst, src, len] = self.pop3();
            self.emit(Inst::TableCopy { dst_table, src_table, dst, src, len });
        }
    }

    fn visit_table_init(&mut self, segment: u32, table: u32) {
        if self.begin(Op::TableInit) {
            let [dst, src, len] = self.pop3();
            self.emit(Inst::TableInit { table, segment, dst, src, len });
        }
    }

    fn visit_elem_drop(&mut self, segment: u32) {
        if self.begin(Op::ElemDrop) {
            self.emit(Inst::ElemDrop { segment });
        }
    }

    fn visit_memory_size(&mut self, memory: u32) {
        if self.begin(Op::MemorySize) {
            let dst = self.stack.push(self.memory_index_type(memory));
            self.emit_movable(Inst::MemorySize { dst, memory });
        }
    }

    fn visit_memory_grow(&mut self, memory: u32) {
        if self.begin(Op::MemoryGrow) {
            let delta = self.pop();
            let dst = self.stack.push(self.memory_index_type(memory));
            self.emit_movable(Inst::MemoryGrow { dst, memory, delta });
        }
    }

    fn visit_memory_fill(&mut self, memory: u32) {
        if self.begin(Op::MemoryFill) {
            let [dst, byte, len] = self.pop3();
            self.emit(Inst::MemoryFill { memory, dst, byte, len });
        }
    }

    fn visit_memory_copy(&mut self, dst_memory: u32, src_memory: u32) {
        if self.begin(Op::MemoryCopy) {
            let [dst, src, len] = self.pop3();
            self.emit(Inst::MemoryCopy { dst_memory, src_memory, dst, src, len });
        }
    }

    fn visit_memory_init(&mut self, segment: u32, memory: u32) {
        if self.begin(Op::MemoryInit) {
            let [dst, src, len] = self.pop3();
            self.emit(Inst::MemoryInit { memory, segment, dst, src, len });
        }
    }

    fn visit_data_drop(&mut self, segment: u32) {
        if self.begin(Op::DataDrop) {
            self.emit(Inst::DataDrop { segment });
        }
    }

    fn visit_memory_atomic_notify(&mut self, memarg: MemArg) {
        if self.begin(Op::MemoryAtomicNotify) {
            let mem = self.memarg(&memarg);
            let count = self.pop();
            let addr = self.pop();
            let dst = self.stack.push(SlotType::I32);
            self.emit_movable(Inst::AtomicNotify { dst, addr, count, mem });
        }
    }

    fn visit_memory_atomic_wait32(&mut self, memarg: MemArg) {
        self.wait(Op::MemoryAtomicWait32, SlotType::I32, &memarg);
    }

    fn visit_memory_atomic_wait64(&mut self, memarg: MemArg) {
        self.wait(Op::MemoryAtomicWait64, SlotType::I64, &memarg);
    }

    fn visit_atomic_fence(&mut self, _: wasmparser::Ordering) {
        if self.begin(Op::AtomicFence) {
            self.emit(Inst::AtomicFence);
        }
    }
}

impl VisitSimdOperator<'_> for Lowering<'_> {
    wasmparser::for_each_visit_simd_operator!(visit_rows);

    fn visit_v128_const(&mut self, value: V128) {
        if self.begin(Op::V128Const) {
            let index = self.v128(*value.bytes());
            let dst = self.stack.push(SlotType::V128);
            self.emit_movable(Inst::ConstV128 { dst, index });
        }
    }
}
