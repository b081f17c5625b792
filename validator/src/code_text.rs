//! [`Code`] as text, for people and for goldens: one instruction a line, labels before them.
//!
//! ```text
//! params s0:i32 s1:i64
//! locals s2:f32x3
//! slots 7 refs 1 locals 5
//!    0  loop L0
//! L0:
//!    1  s5 = I32Add s0 s1
//! ```

use std::fmt::{self, Display, Formatter};

use aura_host_abi::SlotType;

use crate::code::{Code, Handler, Inst, LabelId, LocalRun, MemArgId, Operand, Operands, Slot};

impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 < 0 { write!(f, "r{}", -self.0) } else { write!(f, "s{}", self.0) }
    }
}

impl Display for LabelId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.slot, class(self.ty))
    }
}

impl Display for LocalRun {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}x{}", self.first, class(self.ty), self.count)
    }
}

fn class(ty: SlotType) -> &'static str {
    match ty {
        SlotType::I32 => "i32",
        SlotType::I64 => "i64",
        SlotType::F32 => "f32",
        SlotType::F64 => "f64",
        SlotType::V128 => "v128",
        SlotType::Func => "func",
        SlotType::Ref => "ref",
    }
}

impl Display for Code {
    /// The whole function.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let frame = &self.frame;
        list(f, "params", &frame.params)?;
        list(f, "locals", &frame.locals)?;
        writeln!(f, "slots {} refs {} locals {}", frame.value_slots, frame.ref_slots, frame.local_slots)?;
        let mut labels: Vec<_> = (0..self.labels.len() as u32).map(LabelId).collect();
        labels.sort_by_key(|&id| self.label(id).pc);
        let mut labels = labels.into_iter().peekable();
        for (pc, inst) in self.insts.iter().enumerate() {
            while let Some(id) = labels.next_if(|&id| self.label(id).pc as usize <= pc) {
                writeln!(f, "{id}:")?;
            }
            writeln!(f, "  {}", InstText { code: self, inst })?;
        }
        for (id, region) in self.regions.iter().enumerate() {
            write!(f, "region {id} of {}..{} cost {}", region.start, region.end, region.cost)?;
            region.handlers.iter().try_for_each(|handler| write!(f, " {}", HandlerText { code: self, handler }))?;
            match region.outer {
                Some(outer) => writeln!(f, " else region {outer}")?,
                None => writeln!(f, " else caller")?,
            }
        }
        Ok(())
    }
}

/// One handler of a function.
struct HandlerText<'c> {
    code: &'c Code,
    handler: &'c Handler,
}

impl Display for HandlerText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Handler { tag, payload, exn, target } = *self.handler;
        match tag {
            Some(tag) => write!(f, "[tag {tag}{}", Args(self.code.operands(payload)))?,
            None => write!(f, "[all")?,
        }
        if let Some(exn) = exn {
            write!(f, " ref {exn}")?;
        }
        write!(f, " -> {target}]")
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, name: &str, items: &[T]) -> fmt::Result {
    f.write_str(name)?;
    for item in items {
        write!(f, " {item}")?;
    }
    writeln!(f)
}

/// One instruction of a function.
struct InstText<'c> {
    code: &'c Code,
    inst: &'c Inst,
}

impl Display for InstText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(dst) = self.inst.dst() {
            write!(f, "{dst} = ")?;
        }
        self.row(f)
    }
}

impl InstText<'_> {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self.inst {
            Inst::Unary { op, a, .. } => write!(f, "{} {a}", op.name()),
            Inst::Binary { op, a, b, .. } => write!(f, "{} {a} {b}", op.name()),
            Inst::Ternary { op, a, b, c, .. } => write!(f, "{} {a} {b} {c}", op.name()),
            Inst::Wide { op, dst, args } => {
                let args = &args[..op.row().map_or(args.len(), |row| row.params.len())];
                write!(f, "{dst} {} = {}", Slot(dst.0 + 1), op.name())?;
                args.iter().try_for_each(|arg| write!(f, " {arg}"))
            }
            Inst::ExtractLane { op, lane, a, .. } => write!(f, "{} {a} lane {lane}", op.name()),
            Inst::ReplaceLane { op, lane, a, b, .. } => write!(f, "{} {a} {b} lane {lane}", op.name()),
            Inst::Shuffle { a, b, lanes, .. } => {
                write!(f, "shuffle {a} {b} lanes {:?}", self.code.v128s[lanes as usize])
            }
            Inst::Load { op, addr, mem, .. } => write!(f, "{} {}", op.name(), self.place(addr, mem)),
            Inst::Store { op, addr, value, mem } => write!(f, "{} {} {value}", op.name(), self.place(addr, mem)),
            Inst::LoadLane { op, lane, addr, vector, mem, .. } => {
                write!(f, "{} {} {vector} lane {lane}", op.name(), self.place(addr, mem))
            }
            Inst::StoreLane { op, lane, addr, vector, mem } => {
                write!(f, "{} {} {vector} lane {lane}", op.name(), self.place(addr, mem))
            }
            _ => self.atomic(f),
        }
    }

    fn atomic(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self.inst {
            Inst::AtomicLoad { op, addr, mem, .. } => write!(f, "{} {}", op.name(), self.place(addr, mem)),
            Inst::AtomicStore { op, addr, value, mem } | Inst::AtomicRmw { op, addr, value, mem, .. } => {
                write!(f, "{} {} {value}", op.name(), self.place(addr, mem))
            }
            Inst::AtomicCmpxchg { op, addr, expected, replacement, mem, .. } => {
                write!(f, "{} {} {expected} {replacement}", op.name(), self.place(addr, mem))
            }
            Inst::AtomicWait { ty, addr, expected, timeout, mem, .. } => {
                write!(f, "atomic_wait {} {expected}:{} timeout {timeout}", self.place(addr, mem), class(ty))
            }
            Inst::AtomicNotify { addr, count, mem, .. } => {
                write!(f, "atomic_notify {} count {count}", self.place(addr, mem))
            }
            Inst::AtomicFence => write!(f, "atomic_fence"),
            _ => self.value(f),
        }
    }

    fn value(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self.inst {
            Inst::Const32 { ty, bits, .. } => write!(f, "{} {bits:#x}", class(ty)),
            Inst::Const64 { ty, low, high, .. } => {
                write!(f, "{} {:#x}", class(ty), u64::from(high) << 32 | u64::from(low))
            }
            Inst::ConstV128 { index, .. } => {
                write!(f, "v128 {:#034x}", u128::from_le_bytes(self.code.v128s[index as usize]))
            }
            Inst::Copy { ty, src, .. } => write!(f, "copy {}", Operand { slot: src, ty }),
            Inst::Select { ty, cond, a, b, .. } => write!(f, "select {} if {cond} {a} else {b}", class(ty)),
            Inst::GlobalGet { ty, global, .. } => write!(f, "global {global}:{}", class(ty)),
            Inst::GlobalSet { ty, global, src } => write!(f, "global {global}:{} = {src}", class(ty)),
            Inst::RefNull { ty, .. } => write!(f, "null {}", class(ty)),
            Inst::RefIsNull { ty, src, .. } => write!(f, "is_null {}", Operand { slot: src, ty }),
            Inst::RefFunc { func, .. } => write!(f, "ref_func {func}"),
            Inst::TrapIfNull { ty, src, code } => write!(f, "trap {code:?} if null {}", Operand { slot: src, ty }),
            _ => self.object(f),
        }
    }

    fn object(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let target = |index: u32| self.code.ref_types[index as usize];
        match *self.inst {
            Inst::RefTest { ty, src, target: to, .. } => {
                write!(f, "ref_test {} {}", Operand { slot: src, ty }, target(to))
            }
            Inst::RefCast { ty, src, target: to } => {
                write!(f, "ref_cast {} {}", Operand { slot: src, ty }, target(to))
            }
            Inst::RefEq { a, b, .. } => write!(f, "ref_eq {a} {b}"),
            Inst::RefI31 { src, .. } => write!(f, "i31 {src}"),
            Inst::I31Get { signed, src, .. } => write!(f, "i31_get_{} {src}", if signed { 's' } else { 'u' }),
            Inst::StructNew { type_index, fields, .. } => {
                write!(f, "struct_new {type_index}{}", Args(self.operands(fields)))
            }
            Inst::StructNewDefault { type_index, .. } => write!(f, "struct_new_default {type_index}"),
            Inst::StructGet { type_index, field, object, .. } => write!(f, "struct {type_index}.{field} {object}"),
            Inst::StructSet { type_index, field, object, value } => {
                write!(f, "struct {type_index}.{field} {object} = {value}")
            }
            Inst::ArrayNew { type_index, init, len, .. } => write!(f, "array_new {type_index} of {init} len {len}"),
            Inst::ArrayNewDefault { type_index, len, .. } => write!(f, "array_new_default {type_index} len {len}"),
            Inst::ArrayNewFixed { type_index, elements, .. } => {
                write!(f, "array_new_fixed {type_index}{}", Args(self.operands(elements)))
            }
            Inst::ArrayNewData { type_index, segment, src, len, .. } => {
                write!(f, "array_new_data {type_index} from segment {segment} [{src}] len {len}")
            }
            Inst::ArrayNewElem { type_index, segment, src, len, .. } => {
                write!(f, "array_new_elem {type_index} from segment {segment} [{src}] len {len}")
            }
            Inst::ArrayGet { type_index, array, index, .. } => write!(f, "array {type_index} {array} [{index}]"),
            Inst::ArraySet { type_index, array, index, value } => {
                write!(f, "array {type_index} {array} [{index}] = {value}")
            }
            Inst::ArrayLen { array, .. } => write!(f, "array_len {array}"),
            Inst::ArrayFill { type_index, array, index, value, len } => {
                write!(f, "array_fill {type_index} {array} [{index}] with {value} len {len}")
            }
            Inst::ArrayCopy { type_index, operands } => {
                write!(f, "array_copy {type_index}{}", Args(self.operands(operands)))
            }
            Inst::ArrayInitData { type_index, segment, operands } => {
                write!(f, "array_init_data {type_index} segment {segment}{}", Args(self.operands(operands)))
            }
            Inst::ArrayInitElem { type_index, segment, operands } => {
                write!(f, "array_init_elem {type_index} segment {segment}{}", Args(self.operands(operands)))
            }
            _ => self.bulk(f),
        }
    }

    fn bulk(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self.inst {
            Inst::TableGet { ty, table, index, .. } => write!(f, "table {table}:{} [{index}]", class(ty)),
            Inst::TableSet { ty, table, index, value } => write!(f, "table {table}:{} [{index}] = {value}", class(ty)),
            Inst::TableSize { table, .. } => write!(f, "table_size {table}"),
            Inst::TableGrow { ty, table, init, delta, .. } => {
                write!(f, "table_grow {table}:{} by {delta} with {init}", class(ty))
            }
            Inst::TableFill { ty, table, at, value, len } => {
                write!(f, "table_fill {table}:{} [{at}] with {value} len {len}", class(ty))
            }
            Inst::TableCopy { dst_table, src_table, dst, src, len } => {
                write!(f, "table_copy {dst_table} [{dst}] from {src_table} [{src}] len {len}")
            }
            Inst::TableInit { table, segment, dst, src, len } => {
                write!(f, "table_init {table} [{dst}] from segment {segment} [{src}] len {len}")
            }
            Inst::ElemDrop { segment } => write!(f, "elem_drop {segment}"),
            Inst::MemorySize { memory, .. } => write!(f, "memory_size {memory}"),
            Inst::MemoryGrow { memory, delta, .. } => write!(f, "memory_grow {memory} by {delta}"),
            Inst::MemoryFill { memory, dst, byte, len } => {
                write!(f, "memory_fill {memory} [{dst}] with {byte} len {len}")
            }
            Inst::MemoryCopy { dst_memory, src_memory, dst, src, len } => {
                write!(f, "memory_copy {dst_memory} [{dst}] from {src_memory} [{src}] len {len}")
            }
            Inst::MemoryInit { memory, segment, dst, src, len } => {
                write!(f, "memory_init {memory} [{dst}] from segment {segment} [{src}] len {len}")
            }
            Inst::DataDrop { segment } => write!(f, "data_drop {segment}"),
            _ => self.control(f),
        }
    }

    fn control(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self.inst {
            Inst::LoopHeader { label } => write!(f, "loop {label}"),
            Inst::Fuel { cost } => write!(f, "fuel {cost}"),
            Inst::Enter { saved, cost } => write!(f, "enter {cost} saved in {saved}"),
            Inst::Leave { saved } => write!(f, "leave {saved}"),
            Inst::Br { target } => write!(f, "br {target}"),
            Inst::BrIf { cond, target } => write!(f, "br {target} if {cond}"),
            Inst::BrIfZero { cond, target } => write!(f, "br {target} unless {cond}"),
            Inst::BrTable { index, start, len } => {
                write!(f, "br_table {index}")?;
                let targets = &self.code.targets[start as usize..][..len as usize];
                targets.iter().try_for_each(|target| write!(f, " {target}"))
            }
            Inst::Call { func, call } => {
                let (args, results) = self.code.call(call);
                write!(f, "{}call {func}{}", Results(results), Args(args))
            }
            Inst::CallIndirect { table, type_index, index, call } => {
                let (args, results) = self.code.call(call);
                write!(f, "{}call_indirect {table} [{index}] type {type_index}{}", Results(results), Args(args))
            }
            Inst::ReturnCall { func, args } => write!(f, "return_call {func}{}", Args(self.operands(args))),
            Inst::ReturnCallIndirect { table, type_index, index, args } => {
                write!(f, "return_call_indirect {table} [{index}] type {type_index}{}", Args(self.operands(args)))
            }
            Inst::CallRef { type_index, func, call } => {
                let (args, results) = self.code.call(call);
                write!(f, "{}call_ref {func} type {type_index}{}", Results(results), Args(args))
            }
            Inst::ReturnCallRef { type_index, func, args } => {
                write!(f, "return_call_ref {func} type {type_index}{}", Args(self.operands(args)))
            }
            Inst::Throw { tag, args } => write!(f, "throw {tag}{}", Args(self.operands(args))),
            Inst::ThrowRef { exn } => write!(f, "throw_ref {exn}"),
            Inst::Return { values } => write!(f, "return{}", Args(self.operands(values))),
            Inst::Trap { code } => write!(f, "trap {code:?}"),
            ref other => write!(f, "{other:?}"),
        }
    }

    fn operands(&self, range: Operands) -> &[Operand] {
        self.code.operands(range)
    }

    fn place(&self, addr: Slot, mem: MemArgId) -> String {
        let memarg = self.code.memarg(mem);
        format!("{}[{addr}+{:#x}]", memarg.memory, memarg.offset)
    }
}

struct Args<'c>(&'c [Operand]);

impl Display for Args<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|operand| write!(f, " {operand}"))
    }
}

struct Results<'c>(&'c [Operand]);

impl Display for Results<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        for (i, operand) in self.0.iter().enumerate() {
            write!(f, "{}{operand}", if i == 0 { "" } else { " " })?;
        }
        f.write_str(" = ")
    }
}
