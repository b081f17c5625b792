//! A small engine for tests: one instance, services that trap by resetting the stack, no interpreter.
//!
//! # Safety
//! An [`Instance`] owns everything its compiled code reaches and runs it on one thread. A trap
//! discards frames of compiled code and of the services below, which hold nothing to drop then.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "the set-up of one block of raw memory")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "the module's head states the one argument for all of them")]

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use aura_host_abi::services::VmServices;
use aura_host_abi::vm::{VmActivation, VmCtx, VmFuncEntry, VmFuncRef, VmMemory, VmMemoryRef, VmStore, VmTable, VmTail};
use aura_host_abi::{FuncType, TrapCode, for_each_service};
use aura_jit::{CodeKind, CompiledFunction, Compiler, CompilerConfig, ModuleCode};
use aura_validator::{Code, Features, Limits, LowerOptions, Module};

/// What loops read; nobody takes it away.
static PAGE: AtomicU64 = AtomicU64::new(0);

/// The slot form of a host function.
pub type HostFn = extern "C" fn(*mut VmCtx, *const VmFuncEntry, *mut u64) -> u32;

pub fn module(wat: &str) -> Module {
    let bytes = wat::parse_str(wat).expect("the test's text parses");
    Module::new(bytes, &Features::default(), &Limits::default()).expect("the test's module is valid")
}

pub fn compiler(config: CompilerConfig) -> Compiler {
    Compiler::new(config).expect("this machine is supported")
}

pub fn lower(module: &Module, func: u32, fuel: bool) -> Code {
    module.lower(func, &LowerOptions { fuel, depth: false })
}

/// Canonical indices of a module's types: equal types have equal ones.
fn type_ids(module: &Module) -> Vec<u32> {
    let types = module.types();
    types.iter().map(|ty| types.iter().position(|other| other == ty).expect("itself") as u32).collect()
}

pub fn compile(config: CompilerConfig, wat: &str, func: u32) -> CompiledFunction {
    let module = module(wat);
    let compiled = compiler(config).compile(&module, func, &lower(&module, func, false));
    compiled.expect("the function compiles")
}

std::arch::global_asm!(
    ".globl aura_jit_test_enter",
    "aura_jit_test_enter:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push r8",
    "mov [r8], rsp",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "call rax",
    "2:",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    ".globl aura_jit_test_unwind",
    "aura_jit_test_unwind:",
    "mov rsp, rdi",
    "mov eax, 1",
    "jmp 2b",
);

unsafe extern "C" {
    fn aura_jit_test_enter(
        callee: *mut (),
        vmctx: *mut VmCtx,
        entry: *const VmFuncEntry,
        slots: *mut u64,
        sp: *mut usize,
    ) -> u32;
    fn aura_jit_test_unwind(sp: usize) -> !;
}

macro_rules! silent_services {
    ($($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> $class:ident;)*) => {
        mod silent {
            use super::VmCtx;
            $(pub extern "C" fn $name(_: *mut VmCtx $(, $param: $ty)*) -> u64 { $(let _ = $param;)* 0 })*
        }
        static SERVICES: VmServices = VmServices {
            memory_grow,
            table_grow,
            memory_fill,
            memory_copy,
            ref_func,
            raise,
            propagate,
            ..VmServices { $($name: silent::$name),* }
        };
    };
}
for_each_service!(silent_services);

fn store<'a>(vmctx: *mut VmCtx) -> &'a VmStore {
    unsafe { &*(*vmctx).store }
}

extern "C" fn memory_grow(_: *mut VmCtx, _memory: u64, _delta: u64) -> u64 {
    u64::MAX
}

extern "C" fn table_grow(_: *mut VmCtx, _table: u64, _init: u64, _delta: u64) -> u64 {
    u64::MAX
}

/// Records its operands where the test finds them.
extern "C" fn memory_fill(vmctx: *mut VmCtx, memory: u64, dst: u64, byte: u64, len: u64) -> u64 {
    let instance = instance(vmctx);
    instance.seen.extend([memory, dst, byte, len]);
    0
}

/// Always fails.
extern "C" fn memory_copy(vmctx: *mut VmCtx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    unsafe { *store(vmctx).trap.get() = TrapCode::MemoryOutOfBounds as u32 };
    1
}

extern "C" fn ref_func(vmctx: *mut VmCtx, func: u64) -> u64 {
    ptr::from_ref(&instance(vmctx).func_refs[func as usize]).addr() as u64
}

/// A failed stack check raises an interrupt; it was an overflow if nobody interrupted.
extern "C" fn raise(vmctx: *mut VmCtx, code: u64) -> u64 {
    let store = store(vmctx);
    let is_check = code == TrapCode::Interrupted as u64;
    let is_overflow = is_check && store.stack_limit.load(Ordering::SeqCst) != usize::MAX;
    let code = if is_overflow { TrapCode::StackOverflow as u64 } else { code };
    unsafe { *store.trap.get() = code as u32 };
    propagate(vmctx)
}

extern "C" fn propagate(vmctx: *mut VmCtx) -> u64 {
    let activation = unsafe { *store(vmctx).activation.get() };
    unsafe { aura_jit_test_unwind((*activation).entry_sp) }
}

/// The instance behind a context of it, or of a host function it imports.
pub fn instance<'a>(vmctx: *mut VmCtx) -> &'a mut Instance {
    unsafe { &mut *(*store(vmctx).host.get()).cast::<Instance>() }
}

/// An instance of a module whose own functions are all compiled.
pub struct Instance {
    pub module: Module,
    pub code: ModuleCode,
    pub store: Box<VmStore>,
    pub activation: Box<VmActivation>,
    /// Addresses of own functions' bodies.
    pub bodies: Vec<NonNull<()>>,
    /// Interrupts until one is not withdrawn.
    /// What recording services saw.
    pub seen: Vec<u64>,
    pub memory: Vec<u8>,
    pub table: Vec<u64>,
    entries: Vec<VmFuncEntry>,
    type_ids: Vec<u32>,
    func_refs: Vec<VmFuncRef>,
    block: Vec<u128>,
}

impl Instance {
    /// Compiles and instantiates; `hosts` are the imports in order. Memories have `memory` bytes, tables 8 null elements.
    pub fn new(config: CompilerConfig, wat: &str, fuel: bool, hosts: &[HostFn], memory: usize) -> Box<Self> {
        let module = module(wat);
        let code = ModuleCode::new(&compiler(config), 7, 1 << 24).expect("address space");
        let store = Box::new(VmStore {
            stack_limit: AtomicUsize::new(stack_limit()),
            fuel: UnsafeCell::new(0),
            services: &raw const SERVICES,
            poll: AtomicPtr::new((&raw const PAGE).cast_mut().cast()),
            depth_left: UnsafeCell::new(0),
            activation: UnsafeCell::new(ptr::null_mut()),
            trap: UnsafeCell::new(0),
            padding: 0,
            fault_address: UnsafeCell::new(0),
            host: UnsafeCell::new(ptr::null_mut()),
            heap: AtomicPtr::default(),
            heap_next: UnsafeCell::new(0),
            heap_limit: UnsafeCell::new(0),
            exception: UnsafeCell::new(0),
            padding2: 0,
            tail: UnsafeCell::new(VmTail {
                vmctx: ptr::null_mut(),
                entry: ptr::null(),
                code: ptr::null(),
                args: ptr::null_mut(),
            }),
            types: ptr::null(),
            outermost: UnsafeCell::new(VmActivation::new()),
        });
        let activation = Box::new(VmActivation::new());
        let mut instance = Box::new(Self {
            block: vec![0; module.layout().size() / 16],
            type_ids: type_ids(&module),
            module,
            code,
            store,
            activation,
            bodies: Vec::new(),
            seen: Vec::new(),
            memory: vec![0; memory],
            table: vec![0; 8],
            entries: Vec::new(),
            func_refs: Vec::new(),
        });
        instance.compile(config, fuel, hosts);
        instance.lay_out();
        instance
    }

    fn compile(&mut self, config: CompilerConfig, fuel: bool, hosts: &[HostFn]) {
        let compiler = compiler(config);
        let imported = self.module.num_imported_funcs();
        for func in 0..self.module.num_funcs() {
            let ty = self.module.func_type(func).clone();
            let (regs, slots) = match func.checked_sub(imported) {
                None => (self.stub(&compiler.compile_regs_to_slots(&ty)), hosts[func as usize] as *mut ()),
                Some(own) => {
                    let code = lower(&self.module, own, fuel);
                    let body = compiler.compile(&self.module, own, &code).expect("the function compiles");
                    let body = self.code.publish(&[(CodeKind::Function(own), &body)]).expect("space")[0];
                    self.bodies.push(body);
                    (body.as_ptr(), self.stub(&compiler.compile_slots_to_regs(&ty)))
                }
            };
            let entry = VmFuncEntry::default();
            entry.make([regs, slots], ptr::null(), func, self.type_ids[self.module.func_type_index(func) as usize]);
            self.entries.push(entry);
        }
    }

    fn stub(&self, stub: &Result<CompiledFunction, aura_jit::CompileError>) -> *mut () {
        let stub = stub.as_ref().expect("a stub compiles");
        self.code.publish(&[(CodeKind::Stub, stub)]).expect("space")[0].as_ptr()
    }

    fn lay_out(&mut self) {
        let layout = self.module.layout();
        let counts = *layout.counts();
        let vmctx = self.vmctx();
        let at = move |offset: i32| unsafe { vmctx.byte_add(offset as usize) };
        let own_entries = self.entries[counts.imported_funcs as usize..].as_ptr();
        unsafe {
            (*vmctx).store = &raw mut *self.store;
            (*vmctx).entries = own_entries;
            (*vmctx).type_ids = self.type_ids.as_ptr();
        }
        *self.store.activation.get_mut() = &raw mut *self.activation;
        self.func_refs =
            self.entries.iter().map(|entry| VmFuncRef { entry, vmctx, type_id: entry.type_id(), padding: 0 }).collect();
        for func in 0..counts.imported_funcs {
            unsafe {
                at(layout.imports(func)).cast::<*const VmFuncRef>().write(&raw const self.func_refs[func as usize]);
            };
        }
        for memory in 0..counts.memories {
            let record = VmMemory {
                base: self.memory.as_mut_ptr(),
                length: AtomicU64::new(self.memory.len() as u64),
                plain_length: AtomicU64::new(self.memory.len() as u64),
                host: ptr::null_mut(),
            };
            let own = at(layout.own_memories(memory)).cast::<VmMemory>();
            unsafe { own.write(record) };
            let reference = VmMemoryRef { base: self.memory.as_mut_ptr(), memory: own };
            unsafe { at(layout.memories(memory)).cast::<VmMemoryRef>().write(reference) };
        }
        for table in 0..counts.tables {
            let record = VmTable {
                base: UnsafeCell::new(self.table.as_mut_ptr()),
                length: UnsafeCell::new(8),
                host: ptr::null_mut(),
            };
            let own = at(layout.own_tables(table)).cast::<VmTable>();
            unsafe { own.write(record) };
            unsafe { at(layout.tables(table)).cast::<*mut VmTable>().write(own) };
        }
    }

    pub fn vmctx(&mut self) -> *mut VmCtx {
        self.block.as_mut_ptr().cast()
    }

    /// Puts a function of the module into the table.
    pub fn set_element(&mut self, index: usize, func: u32) {
        self.table[index] = ptr::from_ref(&self.func_refs[func as usize]).addr() as u64;
    }

    pub fn ty(&self, own: u32) -> &FuncType {
        self.module.func_type(self.module.num_imported_funcs() + own)
    }

    /// Calls an own function with its arguments in slots.
    pub fn call(&mut self, own: u32, args: &[u64]) -> Result<Vec<u64>, TrapCode> {
        let ty = self.ty(own).clone();
        let mut slots = args.to_vec();
        slots.resize(ty.call_slots().max(1), 0);
        *self.store.host.get_mut() = ptr::from_mut(self).cast();
        *self.store.trap.get_mut() = 0;
        let vmctx = self.vmctx();
        let entry = &raw const self.entries[(self.module.num_imported_funcs() + own) as usize];
        let callee = unsafe { (*entry).slots_entry.load(Ordering::SeqCst) };
        let sp = &raw mut self.activation.entry_sp;
        let status = unsafe { aura_jit_test_enter(callee, vmctx, entry, slots.as_mut_ptr(), sp) };
        slots.truncate(ty.result_slots());
        match status {
            0 => Ok(slots),
            _ => Err(TrapCode::from_u8(*self.store.trap.get_mut() as u8).expect("a trap has a code")),
        }
    }
}

/// 256 KiB below here.
fn stack_limit() -> usize {
    let here = 0u8;
    (&raw const here).addr() - 256 * 1024
}
