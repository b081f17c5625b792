//! A verifier of [`Code`]: on every path each slot is read only as the class it was last written as, or as one that is zero at entry.

use std::collections::BTreeMap;

use aura_host_abi::SlotType::{self, F32, F64, Func, I32, I64, Ref, V128};

use crate::Module;
use crate::code::{Code, Handler, Inst, LabelId, Operand, Operands, Slot};

type State = BTreeMap<i32, SlotType>;

/// Checks a function's code.
///
/// # Panics
/// If it reads a slot that was not written, or as another class, or falls off its end.
pub(super) fn verify(module: &Module, own: u32, code: &Code) {
    let mut state = State::new();
    for &param in &code.frame.params {
        write(code, &mut state, param);
    }
    let refs = code.frame.locals.iter().filter(|run| run.ty == Ref);
    for run in refs.chain(&code.frame.zeroed) {
        run.slots().for_each(|slot| write(code, &mut state, Operand { slot, ty: run.ty }));
    }
    let mut heads: Vec<Vec<LabelId>> = vec![Vec::new(); code.insts.len() + 1];
    for (i, label) in code.labels.iter().enumerate() {
        heads[label.pc as usize].push(LabelId(i as u32));
        assert!(!label.is_loop || matches!(code.insts[label.pc as usize], Inst::LoopHeader { .. }), "loop label");
    }
    let mut known: Vec<Option<State>> = vec![None; code.insts.len()];
    let mut work = vec![(0, state)];
    while let Some((mut pc, mut state)) = work.pop() {
        loop {
            if pc == 0 || !heads[pc].is_empty() {
                match merge(&mut known[pc], &state) {
                    Some(merged) => state = merged,
                    None => break,
                }
            }
            let step = Step::new(module, own, code, &code.insts[pc]);
            for operand in &step.reads {
                let found = state.get(&operand.slot.0);
                assert_eq!(found, Some(&operand.ty), "read of {operand} by {pc} in\n{code}");
            }
            if step.throws {
                work.extend(handlers(code, pc).map(|handler| {
                    let mut state = state.clone();
                    let exn = handler.exn.map(|slot| Operand { slot, ty: Ref });
                    let carried = code.operands(handler.payload).iter().copied().chain(exn);
                    carried.for_each(|operand| write(code, &mut state, operand));
                    (code.label(handler.target).pc as usize, state)
                }));
            }
            step.writes.iter().for_each(|&operand| write(code, &mut state, operand));
            work.extend(step.targets.iter().map(|&target| (code.label(target).pc as usize, state.clone())));
            if step.ends {
                break;
            }
            pc += 1;
        }
    }
}

/// The handlers that an exception raised by an instruction may go to.
fn handlers(code: &Code, pc: usize) -> impl Iterator<Item = Handler> + '_ {
    let first = code.region_at(pc as u32).map(|index| &code.regions[index as usize]);
    let regions = std::iter::successors(first, |region| region.outer.map(|outer| &code.regions[outer as usize]));
    regions.flat_map(|region| region.handlers.iter().copied())
}

/// Joins a state into what is known at a label: the joined state if it is news.
fn merge(known: &mut Option<State>, state: &State) -> Option<State> {
    let joined = match known {
        None => state.clone(),
        Some(known) => known.iter().filter(|(slot, ty)| state.get(slot) == Some(ty)).map(|(&s, &t)| (s, t)).collect(),
    };
    if known.as_ref() == Some(&joined) {
        return None;
    }
    *known = Some(joined.clone());
    Some(joined)
}

fn write(code: &Code, state: &mut State, Operand { slot: Slot(slot), ty }: Operand) {
    assert_eq!(slot < 0, ty == Ref, "references and nothing else below the frame base");
    if slot < 0 {
        assert!(-slot <= code.frame.ref_slots as i32, "reference slots");
    } else {
        assert!(slot + ty.slots() as i32 <= code.frame.value_slots as i32, "value slots");
    }
    if ty == V128 {
        state.remove(&(slot + 1));
    }
    if state.get(&(slot - 1)) == Some(&V128) {
        state.remove(&(slot - 1));
    }
    state.insert(slot, ty);
}

/// What an instruction reads, writes and where it goes.
#[derive(Default)]
struct Step {
    reads: Vec<Operand>,
    writes: Vec<Operand>,
    targets: Vec<LabelId>,
    ends: bool,
    throws: bool,
}

impl Step {
    fn new(module: &Module, own: u32, code: &Code, inst: &Inst) -> Self {
        let mut step = Self::default();
        step.control(module, own, code, inst);
        step.row(module, code, inst);
        step.rest(module, inst);
        step.object(module, code, inst);
        step
    }

    fn read(&mut self, slots: &[(Slot, SlotType)]) {
        self.reads.extend(slots.iter().map(|&(slot, ty)| Operand { slot, ty }));
    }

    fn write(&mut self, slot: Slot, ty: SlotType) {
        self.writes.push(Operand { slot, ty });
    }

    fn control(&mut self, module: &Module, own: u32, code: &Code, inst: &Inst) {
        let operands = |range: Operands| code.operands(range).to_vec();
        let classes = |operands: &[Operand]| operands.iter().map(|o| o.ty).collect::<Vec<_>>();
        match *inst {
            Inst::Br { target } => self.targets.push(target),
            Inst::BrIf { cond, target } | Inst::BrIfZero { cond, target } => {
                self.read(&[(cond, I32)]);
                self.targets.push(target);
            }
            Inst::BrTable { index, start, len } => {
                self.read(&[(index, I32)]);
                self.targets.extend(&code.targets[start as usize..][..len as usize]);
            }
            Inst::Return { values } => {
                self.reads = operands(values);
                let results = module.func_type(module.num_imported_funcs() + own).results();
                assert_eq!(classes(&self.reads), results.iter().map(|t| t.slot_type()).collect::<Vec<_>>());
            }
            Inst::Throw { args, .. } => self.reads = operands(args),
            Inst::ThrowRef { exn } => self.read(&[(exn, Ref)]),
            Inst::ReturnCall { args, .. }
            | Inst::ReturnCallIndirect { args, .. }
            | Inst::ReturnCallRef { args, .. } => self.reads = operands(args),
            Inst::Call { call, .. } | Inst::CallIndirect { call, .. } | Inst::CallRef { call, .. } => {
                let (args, results) = code.call(call);
                self.reads = args.to_vec();
                self.writes = results.to_vec();
            }
            _ => {}
        }
        if let Inst::CallIndirect { table, index, .. } | Inst::ReturnCallIndirect { table, index, .. } = *inst {
            self.read(&[(index, table_index(module, table))]);
        }
        if let Inst::CallRef { func, .. } | Inst::ReturnCallRef { func, .. } = *inst {
            self.read(&[(func, Func)]);
        }
        self.throws = matches!(
            inst,
            Inst::Call { .. }
                | Inst::CallIndirect { .. }
                | Inst::CallRef { .. }
                | Inst::Throw { .. }
                | Inst::ThrowRef { .. }
        );
        self.ends = matches!(
            inst,
            Inst::Br { .. }
                | Inst::BrTable { .. }
                | Inst::ReturnCall { .. }
                | Inst::ReturnCallIndirect { .. }
                | Inst::ReturnCallRef { .. }
                | Inst::Throw { .. }
                | Inst::ThrowRef { .. }
                | Inst::Return { .. }
                | Inst::Trap { .. }
        );
    }

    fn row(&mut self, module: &Module, code: &Code, inst: &Inst) {
        let (op, operands, dst) = match *inst {
            Inst::Unary { op, dst, a } | Inst::ExtractLane { op, dst, a, .. } => (op, vec![a], Some(dst)),
            Inst::Binary { op, dst, a, b } | Inst::ReplaceLane { op, dst, a, b, .. } => (op, vec![a, b], Some(dst)),
            Inst::Ternary { op, dst, a, b, c } => (op, vec![a, b, c], Some(dst)),
            Inst::Wide { op, dst, args } => {
                self.write(Slot(dst.0 + 1), I64);
                (op, args[..op.row().expect("a row").params.len()].to_vec(), Some(dst))
            }
            Inst::Load { op, dst, addr, .. } => (op, vec![addr], Some(dst)),
            Inst::Store { op, addr, value, .. } => (op, vec![addr, value], None),
            Inst::LoadLane { op, dst, addr, vector, .. } => (op, vec![addr, vector], Some(dst)),
            Inst::StoreLane { op, addr, vector, .. } => (op, vec![addr, vector], None),
            Inst::AtomicLoad { op, dst, addr, .. } => (op, vec![addr], Some(dst)),
            Inst::AtomicStore { op, addr, value, .. } => (op, vec![addr, value], None),
            Inst::AtomicRmw { op, dst, addr, value, .. } => (op, vec![addr, value], Some(dst)),
            Inst::AtomicCmpxchg { op, dst, addr, expected, replacement, .. } => {
                (op, vec![addr, expected, replacement], Some(dst))
            }
            Inst::AtomicWait { ty, dst, addr, expected, timeout, mem } => {
                let index = memory_index(module, code.memarg(mem).memory);
                self.read(&[(addr, index), (expected, ty), (timeout, I64)]);
                return self.write(dst, I32);
            }
            Inst::AtomicNotify { dst, addr, count, mem } => {
                let index = memory_index(module, code.memarg(mem).memory);
                self.read(&[(addr, index), (count, I32)]);
                return self.write(dst, I32);
            }
            _ => return,
        };
        let row = op.row().expect("a row");
        let mut classes = row.params.to_vec();
        if let Inst::Load { mem, .. }
        | Inst::Store { mem, .. }
        | Inst::LoadLane { mem, .. }
        | Inst::StoreLane { mem, .. }
        | Inst::AtomicLoad { mem, .. }
        | Inst::AtomicStore { mem, .. }
        | Inst::AtomicRmw { mem, .. }
        | Inst::AtomicCmpxchg { mem, .. } = *inst
        {
            assert_ne!(row.access_bytes, 0, "{op:?} accesses memory");
            classes.insert(0, memory_index(module, code.memarg(mem).memory));
        }
        assert_eq!(operands.len(), classes.len(), "operands of {op:?}");
        self.read(&operands.into_iter().zip(classes).collect::<Vec<_>>());
        assert_eq!(dst.is_some(), row.result.is_some(), "result of {op:?}");
        if let (Some(dst), Some(ty)) = (dst, row.result) {
            self.write(dst, ty);
        }
    }

    /// Reads operands of these classes.
    fn read_list(&mut self, code: &Code, list: Operands, classes: impl IntoIterator<Item = SlotType>) {
        let list = code.operands(list);
        assert!(list.iter().map(|operand| operand.ty).eq(classes), "classes of operands");
        self.reads.extend(list);
    }

    fn object(&mut self, module: &Module, code: &Code, inst: &Inst) {
        let ty = |index: u32| &module.types()[index as usize].composite;
        let element = |index: u32| ty(index).as_array().expect("an array").element.storage.unpacked().slot_type();
        let fields = |index: u32| ty(index).as_struct().expect("a structure").fields();
        let field = |index, field: u16| fields(index)[usize::from(field)].storage.unpacked().slot_type();
        match *inst {
            Inst::RefTest { ty, dst, src, .. } => {
                self.read(&[(src, ty)]);
                self.write(dst, I32);
            }
            Inst::RefCast { ty, src, .. } => self.read(&[(src, ty)]),
            Inst::RefEq { dst, a, b } => {
                self.read(&[(a, Ref), (b, Ref)]);
                self.write(dst, I32);
            }
            Inst::RefI31 { dst, src } => {
                self.read(&[(src, I32)]);
                self.write(dst, Ref);
            }
            Inst::I31Get { dst, src, .. } | Inst::ArrayLen { dst, array: src } => {
                self.read(&[(src, Ref)]);
                self.write(dst, I32);
            }
            Inst::StructNew { type_index, dst, fields: list } => {
                let classes = fields(type_index).iter().map(|field| field.storage.unpacked().slot_type());
                self.read_list(code, list, classes);
                self.write(dst, Ref);
            }
            Inst::StructNewDefault { dst, .. } => self.write(dst, Ref),
            Inst::StructGet { type_index, field: index, dst, object, .. } => {
                self.read(&[(object, Ref)]);
                self.write(dst, field(type_index, index));
            }
            Inst::StructSet { type_index, field: index, object, value } => {
                self.read(&[(object, Ref), (value, field(type_index, index))]);
            }
            Inst::ArrayNew { type_index, dst, init, len } => {
                self.read(&[(init, element(type_index)), (len, I32)]);
                self.write(dst, Ref);
            }
            Inst::ArrayNewDefault { dst, len, .. } => {
                self.read(&[(len, I32)]);
                self.write(dst, Ref);
            }
            Inst::ArrayNewFixed { type_index, dst, elements } => {
                let classes = std::iter::repeat_n(element(type_index), elements.len as usize);
                self.read_list(code, elements, classes);
                self.write(dst, Ref);
            }
            Inst::ArrayNewData { dst, src, len, .. } | Inst::ArrayNewElem { dst, src, len, .. } => {
                self.read(&[(src, I32), (len, I32)]);
                self.write(dst, Ref);
            }
            Inst::ArrayGet { type_index, dst, array, index, .. } => {
                self.read(&[(array, Ref), (index, I32)]);
                self.write(dst, element(type_index));
            }
            Inst::ArraySet { type_index, array, index, value } => {
                self.read(&[(array, Ref), (index, I32), (value, element(type_index))]);
            }
            Inst::ArrayFill { type_index, array, index, value, len } => {
                self.read(&[(array, Ref), (index, I32), (value, element(type_index)), (len, I32)]);
            }
            Inst::ArrayCopy { operands, .. } => self.read_list(code, operands, [Ref, I32, Ref, I32, I32]),
            Inst::ArrayInitData { operands, .. } | Inst::ArrayInitElem { operands, .. } => {
                self.read_list(code, operands, [Ref, I32, I32, I32]);
            }
            _ => {}
        }
    }

    fn rest(&mut self, module: &Module, inst: &Inst) {
        match *inst {
            Inst::Shuffle { dst, a, b, .. } => {
                self.read(&[(a, V128), (b, V128)]);
                self.write(dst, V128);
            }
            Inst::Const32 { ty, dst, .. } => {
                assert!(matches!(ty, I32 | F32));
                self.write(dst, ty);
            }
            Inst::Const64 { ty, dst, .. } => {
                assert!(matches!(ty, I64 | F64));
                self.write(dst, ty);
            }
            Inst::ConstV128 { dst, .. } => self.write(dst, V128),
            Inst::Copy { ty, dst, src } => {
                self.read(&[(src, ty)]);
                self.write(dst, ty);
            }
            Inst::Select { ty, dst, cond, a, b } => {
                self.read(&[(cond, I32), (a, ty), (b, ty)]);
                self.write(dst, ty);
            }
            Inst::GlobalGet { ty, dst, global } => {
                assert_eq!(ty, module.globals()[global as usize].content.slot_type());
                self.write(dst, ty);
            }
            Inst::GlobalSet { ty, src, .. } => self.read(&[(src, ty)]),
            Inst::RefNull { ty, dst } => self.write(dst, ty),
            Inst::RefIsNull { ty, dst, src } => {
                self.read(&[(src, ty)]);
                self.write(dst, I32);
            }
            Inst::TrapIfNull { ty, src, .. } => self.read(&[(src, ty)]),
            Inst::RefFunc { dst, .. } => self.write(dst, Func),
            Inst::Enter { saved, cost } => {
                assert!(cost > 0);
                self.write(saved, I64);
            }
            Inst::Leave { saved } => self.read(&[(saved, I64)]),
            _ => self.storage(module, inst),
        }
    }

    /// Memories and tables: what counts bytes, pages or elements is as wide as their index type.
    fn storage(&mut self, module: &Module, inst: &Inst) {
        let (of_memory, of_table) = (|m| memory_index(module, m), |t| table_index(module, t));
        let narrower = |a, b| if a == I64 { b } else { a };
        match *inst {
            Inst::TableGet { ty, dst, table, index } => {
                self.read(&[(index, of_table(table))]);
                self.write(dst, ty);
            }
            Inst::TableSet { ty, table, index, value } => self.read(&[(index, of_table(table)), (value, ty)]),
            Inst::TableSize { dst, table } => self.write(dst, of_table(table)),
            Inst::MemorySize { dst, memory } => self.write(dst, of_memory(memory)),
            Inst::TableGrow { ty, dst, table, init, delta } => {
                self.read(&[(init, ty), (delta, of_table(table))]);
                self.write(dst, of_table(table));
            }
            Inst::TableFill { ty, table, at, value, len } => {
                self.read(&[(at, of_table(table)), (value, ty), (len, of_table(table))]);
            }
            Inst::MemoryGrow { dst, memory, delta } => {
                self.read(&[(delta, of_memory(memory))]);
                self.write(dst, of_memory(memory));
            }
            Inst::MemoryFill { memory, dst, byte, len } => {
                self.read(&[(dst, of_memory(memory)), (byte, I32), (len, of_memory(memory))]);
            }
            Inst::TableInit { table, dst, src, len, .. } => {
                self.read(&[(dst, of_table(table)), (src, I32), (len, I32)]);
            }
            Inst::MemoryInit { memory, dst, src, len, .. } => {
                self.read(&[(dst, of_memory(memory)), (src, I32), (len, I32)]);
            }
            Inst::TableCopy { dst_table, src_table, dst, src, len } => {
                let (to, from) = (of_table(dst_table), of_table(src_table));
                self.read(&[(dst, to), (src, from), (len, narrower(to, from))]);
            }
            Inst::MemoryCopy { dst_memory, src_memory, dst, src, len } => {
                let (to, from) = (of_memory(dst_memory), of_memory(src_memory));
                self.read(&[(dst, to), (src, from), (len, narrower(to, from))]);
            }
            _ => {}
        }
    }
}

fn memory_index(module: &Module, memory: u32) -> SlotType {
    if module.memories()[memory as usize].memory64 { I64 } else { I32 }
}

fn table_index(module: &Module, table: u32) -> SlotType {
    if module.tables()[table as usize].ty.table64 { I64 } else { I32 }
}
