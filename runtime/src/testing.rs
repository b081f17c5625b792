//! Instances for unit tests, without engine, linker or host functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};

use aura_host_abi::TrapCode;
use aura_host_abi::trap::Status;
use aura_host_abi::vm::*;
use aura_validator::module::{ConstExpr, ConstOp, ElementItems, ExternIndex, SegmentMode};

use crate::Bounds;
use crate::interp::InterpState;
use crate::module::{Inner, Module};
use crate::store::StoreData;
use crate::tier;
use crate::vm::instance::InstanceData;
use crate::vm::memory::LinearMemory;
use crate::vm::table::TableData;

pub(crate) struct World {
    pub(crate) store: Box<VmStore>,
    pub(crate) data: Box<StoreData>,
    pub(crate) fuel: bool,
    instances: Vec<Instance>,
    hosts: Vec<(Box<VmFuncEntry>, Box<VmFuncRef>)>,
}

pub(crate) struct Instance {
    pub(crate) data: Box<InstanceData>,
    block: Vec<u128>,
    _entries: Box<[VmFuncEntry]>,
    pub(crate) memories: Vec<Box<LinearMemory>>,
    pub(crate) tables: Vec<Box<TableData>>,
}

fn entry(word: *mut (), owner: *const (), index: u32, type_id: u32) -> VmFuncEntry {
    VmFuncEntry {
        regs_entry: AtomicPtr::new(std::ptr::null_mut()),
        slots_entry: AtomicPtr::new(word),
        owner,
        index,
        type_id,
        heat: AtomicU32::new(0),
        padding: 0,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let mut data = Box::new(StoreData {
            consume_fuel: false,
            interp: InterpState::new(1 << 20),
            memory_limit: u64::MAX,
            table_limit: 10_000_000,
            trap: None,
            frames: Vec::new(),
        });
        let store = Box::new(VmStore {
            stack_limit: AtomicUsize::new(0),
            fuel: 0.into(),
            services: std::ptr::null(),
            activation: std::ptr::null_mut::<VmActivation>().into(),
            trap: 0.into(),
            padding: 0,
            fault_address: 0.into(),
            host: (&raw mut *data).cast::<()>().into(),
        });
        Self { store, data, fuel: false, instances: Vec::new(), hosts: Vec::new() }
    }

    /// A host function, as something to import.
    pub(crate) fn host(&mut self, function: tier::SlotsEntry) -> *mut VmFuncRef {
        let entry = Box::new(entry(function as *mut (), std::ptr::null(), 0, 0));
        let vmctx = Box::leak(Box::new(VmCtx {
            store: &raw mut *self.store,
            entries: std::ptr::null(),
            host: std::ptr::null_mut(),
            padding: 0,
        }));
        let func = Box::new(VmFuncRef { entry: &raw const *entry, vmctx, type_id: 0, padding: 0 });
        self.hosts.push((entry, func));
        &raw mut *self.hosts.last_mut().expect("pushed").1
    }

    pub(crate) fn instantiate(&mut self, wat: &str, imports: &[*mut VmFuncRef]) -> usize {
        let bytes = wat::parse_str(wat).expect("wat");
        let validated = aura_validator::Module::new(bytes, &aura_validator::Features::default(), &Default::default());
        let validated = validated.expect("valid");
        let own = validated.num_own_funcs();
        let codes = (0..own).map(|_| Default::default()).collect();
        let module = Module(Arc::new(Inner { validated: validated.clone(), fuel: self.fuel, codes }));
        let layout = validated.layout();
        let mut block = vec![0_u128; layout.size() / 16];
        let vmctx = block.as_mut_ptr().cast::<VmCtx>();
        let owner = Arc::as_ptr(&module.0).cast::<()>();
        let imported = validated.num_imported_funcs();
        let word = tier::interp_entry as *mut ();
        let entries: Box<[_]> =
            (0..own).map(|i| entry(word, owner, i, module.type_id(validated.func_type_index(imported + i)))).collect();
        let mut func_refs: Vec<VmFuncRef> = Vec::new();
        for import in imports {
            // SAFETY: test.
            let func = unsafe { &**import };
            func_refs.push(VmFuncRef { entry: func.entry, vmctx: func.vmctx, type_id: func.type_id, padding: 0 });
        }
        for e in &entries {
            func_refs.push(VmFuncRef { entry: e, vmctx, type_id: e.type_id, padding: 0 });
        }
        let put = move |offset: i32| vmctx.cast::<u8>().wrapping_offset(offset as isize);
        // SAFETY: test; the block has room.
        unsafe { (*vmctx).store = &raw mut *self.store };
        // SAFETY: test.
        unsafe { (*vmctx).entries = entries.as_ptr() };
        for (i, import) in imports.iter().enumerate() {
            // SAFETY: test.
            unsafe { put(layout.imports(i as u32)).cast::<*mut VmFuncRef>().write(*import) };
        }
        let memories: Vec<_> = validated
            .memories()
            .iter()
            .map(|ty| LinearMemory::new(*ty, Bounds::Guard, u64::MAX).expect("memory"))
            .collect();
        for (i, memory) in memories.iter().enumerate() {
            let reference = VmMemoryRef { base: memory.base(), memory: memory.vm() };
            // SAFETY: test.
            unsafe { put(layout.memories(i as u32)).cast::<VmMemoryRef>().write(reference) };
        }
        let tables: Vec<_> =
            validated.tables().iter().map(|table| TableData::new(table.ty, 0, 1 << 20).expect("table")).collect();
        for (i, table) in tables.iter().enumerate() {
            // SAFETY: test.
            unsafe { put(layout.tables(i as u32)).cast::<*mut VmTable>().write(table.vm()) };
        }
        let dropped_data = vec![false; validated.data().len()];
        let mut data = Box::new(InstanceData { module, layout, func_refs, dropped_data, elements: Vec::new() });
        // SAFETY: test.
        unsafe { (*vmctx).host = (&raw mut *data).cast() };
        let eval = |expr: &ConstExpr| match expr.ops[0] {
            ConstOp::I32(x) => x as u64,
            ConstOp::I64(x) => x as u64,
            ConstOp::RefFunc(f) => data.func_ref(f).expose_provenance() as u64,
            _ => 0,
        };
        for (i, init) in validated.global_inits().iter().enumerate() {
            // SAFETY: test.
            unsafe { put(layout.own_globals(i as u32)).cast::<u64>().write(eval(init)) };
        }
        let mut elements = Vec::new();
        for segment in validated.elements() {
            let values: Box<[u64]> = match &segment.items {
                ElementItems::Funcs(funcs) => {
                    funcs.iter().map(|&f| data.func_ref(f).expose_provenance() as u64).collect()
                }
                ElementItems::Exprs(exprs) => exprs.iter().map(&eval).collect(),
            };
            match &segment.mode {
                SegmentMode::Passive => elements.push(Some(values)),
                SegmentMode::Active { target, offset } => {
                    let table = &tables[*target as usize];
                    table.init(eval(offset), &values, 0, values.len() as u64).expect("inside");
                    elements.push(None);
                }
                SegmentMode::Declared => elements.push(None),
            }
        }
        data.elements = elements;
        self.instances.push(Instance { data, block, _entries: entries, memories, tables });
        self.instances.len() - 1
    }

    pub(crate) fn instance(&mut self, index: usize) -> &mut Instance {
        &mut self.instances[index]
    }

    pub(crate) fn vmctx(&mut self, index: usize) -> *mut VmCtx {
        self.instances[index].block.as_mut_ptr().cast()
    }

    pub(crate) fn func(&self, index: usize, export: &str) -> *mut VmFuncRef {
        let data = &self.instances[index].data;
        let ExternIndex::Func(func) = data.module.validated().export(export).expect("export").index else {
            panic!("{export} is a function")
        };
        data.func_ref(func).cast_mut()
    }

    /// Calls an export; its first result slots, or the trap.
    pub(crate) fn call(&mut self, index: usize, export: &str, args: &[u64]) -> Result<[u64; 4], TrapCode> {
        let func = self.func(index, export);
        let mut slots = [0; 64];
        slots[..args.len()].copy_from_slice(args);
        self.data.trap = None;
        // SAFETY: test.
        let (entry, vmctx) = unsafe { ((*func).entry, (*func).vmctx) };
        // SAFETY: test.
        match unsafe { tier::call_slots(vmctx, entry, slots.as_mut_ptr()) } {
            Status::Ok => Ok([slots[0], slots[1], slots[2], slots[3]]),
            Status::Trap => Err(self.data.trap.expect("recorded")),
        }
    }
}
