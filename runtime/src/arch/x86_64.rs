//! Entry to and exit from compiled code on x86-64 System V.
//!
//! Rust reaches compiled code only through [`enter`] and [`enter_registers`]; compiled code reaches Rust through the thunks
//! here, which note where it left, and leaves for good only through [`unwind`], which puts the
//! stack pointer back to where the entry saved it, or by an exception that [`throw`] lets land in a frame of the same activation. No Rust frame lies between the two: every crossing
//! into Rust that calls guest code again passes a new `enter`.
//!
//! # Safety
//! Trusts: `VmStore::activation` is null or points to the activation of the innermost `enter` that
//! has not returned, or to the store's outermost one; the stack pointer it saved is still live, because activations nest.
//! Gives: callee-saved registers as the System V ABI wants them, whichever way the call ends.

use std::arch::{asm, naked_asm};
use std::mem::{MaybeUninit, offset_of};

use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmActivation, VmCtx, VmFuncEntry, VmHostFunc, VmStore};
use aura_host_abi::{FuncType, TrapCode, ValType};

/// Runs `code(vmctx, entry, slots)` in a new activation; returns its status, or the one it was unwound with.
///
/// # Safety
/// - `store` and `activation` are valid for writes for the time of the call; `vmctx` belongs to `store`.
/// - `code` is a `slots_entry` for `entry`, and `slots` is long enough for its type.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter(
    store: *mut VmStore,
    activation: *mut VmActivation,
    code: *const (),
    vmctx: *mut VmCtx,
    entry: *const VmFuncEntry,
    slots: *mut u64,
) -> u32 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "lea rax, [rip + 2f]",
        "mov [rsi + {entry_pc}], rax",
        "mov [rsi + {entry_sp}], rsp",
        "mov qword ptr [rsi + {exit_pc}], 0",
        "mov rax, [rdi + {activation}]",
        "mov [rsi + {previous}], rax",
        "mov [rdi + {activation}], rsi",
        "mov rbx, rdi",
        "mov r12, rax",
        "mov rax, rdx",
        "mov rdi, rcx",
        "mov rsi, r8",
        "mov rdx, r9",
        "call rax",
        "mov [rbx + {activation}], r12",
        "2:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        entry_pc = const offset_of!(VmActivation, entry_pc),
        entry_sp = const offset_of!(VmActivation, entry_sp),
        exit_pc = const offset_of!(VmActivation, exit_pc),
        previous = const offset_of!(VmActivation, previous),
        activation = const offset_of!(VmStore, activation),
    )
}

/// What came of a call with registers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned {
    /// The bits of the result, if it has one and the call returned.
    pub(crate) value: u64,
    /// A [`Status`].
    pub(crate) status: u64,
}

/// Integers and references that are passed in registers.
pub(crate) const INTS: usize = 4;
/// Floats that are passed in registers.
pub(crate) const FLOATS: usize = 8;

// A call in registers: what is not an argument of the callee is ignored. Cranelift's `tail` convention passes
// arguments and one result in the registers of System V and keeps those that System V keeps; only what lies on the
// stack differs, and there is none of that.

/// Calls a `regs_entry` in the outermost activation of a store. What compiled code would have to restore when it is unwound, the
/// compiler keeps elsewhere, where it has something to keep; it cannot do so with `rbx` and `rbp`.
macro_rules! enter_registers {
    ($vmctx:ident, $entry:ident, $store:ident, [$a:ident, $b:ident, $c:ident, $d:ident], $($floats:tt)*) => {{
        let value: u64;
        let status: MaybeUninit<u64>;
        // SAFETY: said by the caller of the function that this is in. The stack pointer is aligned, and where it was
        // afterwards, whichever way the code behind the entry ends: by a return, or by `unwind` at the label. Frames of
        // that code lie below the stack pointer, and the frame pointer that they save does not.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "mov rbp, rsp",
                "lea rax, [rip + 2f]",
                "mov [r11 + {outermost} + {entry_pc}], rax",
                "mov [r11 + {outermost} + {entry_sp}], rsp",
                "call [rsi + {regs_entry}]",
                "xor edx, edx",
                "2:",
                "pop rbp",
                "pop rbx",
                regs_entry = const offset_of!(VmFuncEntry, regs_entry),
                outermost = const offset_of!(VmStore, outermost),
                entry_pc = const offset_of!(VmActivation, entry_pc),
                entry_sp = const offset_of!(VmActivation, entry_sp),
                inlateout("rdi") $vmctx => _,
                inlateout("rsi") $entry => _,
                inlateout("r11") $store => _,
                inlateout("rdx") $a => status,
                inlateout("rcx") $b => _,
                inlateout("r8") $c => _,
                inlateout("r9") $d => _,
                lateout("rax") value,
                $($floats)*
                lateout("r12") _,
                lateout("r13") _,
                lateout("r14") _,
                lateout("r15") _,
                clobber_abi("sysv64"),
            );
        }
        // SAFETY: both ways to the end of the code above set the register.
        (value, unsafe { status.assume_init() })
    }};
}

/// Runs a compiled function in the outermost activation of its store, with its arguments in registers.
///
/// # Safety
/// - `vmctx` is a live instance of `store`, which runs on this thread, but none of whose guests does, and whose innermost activation
///   is its outermost one; `entry` is a function of the instance that is compiled.
/// - Its type has at most [`INTS`] and [`FLOATS`] parameters of the two kinds, no vectors, and at most one result; the values
///   are the arguments. `WITH_FLOATS` says whether it has such parameters, `FLOAT_RESULT` such a result.
#[inline(always)]
pub(crate) unsafe fn enter_registers<const WITH_FLOATS: bool, const FLOAT_RESULT: bool>(
    store: *mut VmStore,
    vmctx: *mut VmCtx,
    entry: *const VmFuncEntry,
    [a, b, c, d]: [MaybeUninit<u64>; INTS],
    [f0, f1, f2, f3, f4, f5, f6, f7]: [f64; FLOATS],
) -> Returned {
    let float: f64;
    let (int, status) = if WITH_FLOATS {
        enter_registers!(vmctx, entry, store, [a, b, c, d],
            inlateout("xmm0") f0 => float, in("xmm1") f1, in("xmm2") f2, in("xmm3") f3,
            in("xmm4") f4, in("xmm5") f5, in("xmm6") f6, in("xmm7") f7,)
    } else {
        enter_registers!(vmctx, entry, store, [a, b, c, d],
            lateout("xmm0") float,)
    };
    Returned { value: if FLOAT_RESULT { float.to_bits() } else { int }, status }
}

/// The code of host functions of one type that take their arguments in registers.
pub(crate) trait HostCode {
    /// Nothing leads from the function to its store, so that no guest frame is looked at while it runs; and one register of
    /// [`FLOATS`] is free.
    const IS_LONE: bool;
    /// The function, called with its [`VmHostFunc`] in the place of an instance.
    ///
    /// # Safety
    /// For [`host_entry`] alone: the context is that of such a function, the registers are arguments of its type.
    #[rustfmt::skip]
    #[allow(clippy::too_many_arguments, reason = "as many as there are registers")]
    unsafe extern "C" fn run(
        vm: *mut VmCtx, entry: *const VmFuncEntry, a: u64, b: u64, c: u64, d: u64,
        f0: f64, f1: f64, f2: f64, f3: f64, f4: f64, f5: f64, f6: f64, f7: f64,
    ) -> Returned;
    /// The same for a lone function, which compiled code calls without anything in between: it gets the place of its return
    /// address and the frame pointer of its caller. If it fails it returns what [`leave_lone`] does.
    ///
    /// # Safety
    /// As [`HostCode::run`].
    #[rustfmt::skip]
    #[allow(clippy::too_many_arguments, reason = "as many as there are registers")]
    unsafe extern "C" fn run_lone(
        vm: *mut VmCtx, place: *mut usize, a: u64, b: u64, c: u64, d: u64,
        f0: f64, f1: f64, f2: f64, f3: f64, f4: f64, f5: f64, f6: f64, caller: f64,
    ) -> Result;
}

/// The result of a lone function, in the register of its class; the other is anything.
#[repr(C)]
pub(crate) struct Result {
    pub(crate) int: MaybeUninit<u64>,
    pub(crate) float: MaybeUninit<f64>,
}

/// The `regs_entry` of host functions with this code.
pub(crate) fn host_entry<C: HostCode>() -> *const () {
    if !C::IS_LONE {
        return call_host::<C> as *const ();
    }
    (call_lone_host::<C> as *const ()).map_addr(|start| start.next_multiple_of(LONE_ALIGN))
}

/// Notes where compiled code was left, calls the function, and leaves as its status says.
#[unsafe(naked)]
unsafe extern "C" fn call_host<C: HostCode>() {
    naked_asm!(
        "mov rax, [rdi + {store}]",
        "mov rax, [rax + {activation}]",
        "mov r10, [rsp]",
        "mov [rax + {exit_fp}], rbp",
        "mov [rax + {exit_pc}], r10",
        "push rdi",
        "call {run}",
        "pop rdi",
        "movq xmm0, rax",
        "test edx, edx",
        "jnz 2f",
        "ret",
        "2:",
        "cmp edx, {exception}",
        "je {throw}",
        "jmp {propagate}",
        exception = const Status::Exception as u32,
        throw = sym throw,
        propagate = sym propagate,
        run = sym C::run,
        store = const offset_of!(VmHostFunc, store),
        activation = const offset_of!(VmStore, activation),
        exit_fp = const offset_of!(VmActivation, exit_fp),
        exit_pc = const offset_of!(VmActivation, exit_pc),
    )
}

/// What the code of [`call_lone_host`], which is shorter, is aligned to, so that it lies in one line of the cache. The
/// function itself begins in front of the bytes that this takes, which do nothing.
const LONE_ALIGN: usize = 16;

/// Goes on in a lone function, which returns to compiled code.
#[unsafe(naked)]
unsafe extern "C" fn call_lone_host<C: HostCode>() {
    naked_asm!(
        ".balign {align}",
        "mov rsi, rsp",
        "movq xmm7, rbp",
        "jmp {run}",
        align = const LONE_ALIGN,
        run = sym C::run_lone,
    )
}

/// Makes a lone function that failed return out of its activation: notes where compiled code was left, which is where the
/// function was to return to, tells the store by `tell`, and puts another address there.
///
/// # Safety
/// The arguments are those of [`HostCode::run_lone`], which returns what this does at once.
#[cold]
#[inline(never)]
pub(crate) unsafe fn leave_lone(
    vm: *mut VmCtx,
    place: *mut usize,
    caller: f64,
    tell: impl FnOnce() -> Status,
) -> Result {
    // SAFETY: said by the caller: host functions' contexts begin as instances do, with their store.
    let store = unsafe { (*vm).store };
    // SAFETY: the store is live.
    let cell = unsafe { (*store).activation.get() };
    // SAFETY: the store runs on this thread.
    let activation = unsafe { *cell };
    // SAFETY: the store's guest called the function, in this activation.
    let activation = unsafe { &mut *activation };
    activation.exit_fp = caller.to_bits() as usize;
    // SAFETY: said by the caller: the place is that of a return address, on this thread's stack.
    activation.exit_pc = unsafe { place.read() };
    let code = if tell() == Status::Exception { throw_left as *const () } else { propagate_left as *const () };
    // SAFETY: as above. The code there goes on as what was called would have, and needs nothing of the frame it comes from.
    unsafe { place.write(code.addr()) };
    Result { int: MaybeUninit::new(vm.addr() as u64), float: MaybeUninit::uninit() }
}

/// Where a lone function that failed returns to, with its context as the result.
#[unsafe(naked)]
unsafe extern "C" fn propagate_left() {
    naked_asm!("mov rdi, rax", "jmp {propagate}", propagate = sym propagate)
}

/// The same if it ended by an exception. The frame pointer is that of compiled code.
#[unsafe(naked)]
unsafe extern "C" fn throw_left() {
    naked_asm!(
        "mov rdi, rax",
        "mov rcx, [rdi + {store}]",
        "mov rcx, [rcx + {activation}]",
        "push qword ptr [rcx + {exit_pc}]",
        "jmp {throw}",
        throw = sym throw,
        store = const offset_of!(VmHostFunc, store),
        activation = const offset_of!(VmStore, activation),
        exit_pc = const offset_of!(VmActivation, exit_pc),
    )
}

/// Ends the innermost activation of `store` with a status: goes on where its entry said, with the stack pointer that it saved, and
/// the status in the registers of [`enter`] and of [`enter_registers`]. Does not return to its caller.
///
/// # Safety
/// Called, or jumped to, from compiled code of the innermost activation, with no Rust frame in between.
#[unsafe(naked)]
unsafe extern "C" fn unwind(store: *mut VmStore, status: u32) -> ! {
    naked_asm!(
        "mov eax, esi",
        "mov edx, esi",
        "mov rsi, [rdi + {activation}]",
        "mov rsp, [rsi + {entry_sp}]",
        "mov rcx, [rsi + {previous}]",
        "mov [rdi + {activation}], rcx",
        "jmp [rsi + {entry_pc}]",
        entry_pc = const offset_of!(VmActivation, entry_pc),
        entry_sp = const offset_of!(VmActivation, entry_sp),
        previous = const offset_of!(VmActivation, previous),
        activation = const offset_of!(VmStore, activation),
    )
}

/// Defines a thunk in front of a service body: it notes the frame and the return address of the compiled caller.
macro_rules! service_thunk {
    ($thunk:ident, $body:path, ($($param:ident: $ty:ty),*)) => {
        #[unsafe(naked)]
        pub(crate) extern "C" fn $thunk(vmctx: *mut aura_host_abi::vm::VmCtx $(, $param: $ty)*) -> u64 {
            std::arch::naked_asm!(
                "mov rax, [rdi + {store}]",
                "mov rax, [rax + {activation}]",
                "mov r10, [rsp]",
                "mov [rax + {exit_fp}], rbp",
                "mov [rax + {exit_pc}], r10",
                "jmp {body}",
                body = sym $body,
                store = const std::mem::offset_of!(aura_host_abi::vm::VmCtx, store),
                activation = const std::mem::offset_of!(aura_host_abi::vm::VmStore, activation),
                exit_fp = const std::mem::offset_of!(aura_host_abi::vm::VmActivation, exit_fp),
                exit_pc = const std::mem::offset_of!(aura_host_abi::vm::VmActivation, exit_pc),
            )
        }
    };
}
pub(crate) use service_thunk;

/// The service `raise`: records the trap `code`, then unwinds.
#[unsafe(naked)]
pub(crate) extern "C" fn raise(vmctx: *mut VmCtx, code: u64) -> u64 {
    naked_asm!(
        "mov rax, [rdi + {store}]",
        "mov rcx, [rax + {activation}]",
        "mov r10, [rsp]",
        "mov [rcx + {exit_fp}], rbp",
        "mov [rcx + {exit_pc}], r10",
        "and rsp, -16",
        "mov rbx, rax",
        "mov rdi, rax",
        "call {record}",
        "mov rdi, rbx",
        "mov esi, {trap}",
        "jmp {unwind}",
        trap = const Status::Trap as u32,
        record = sym crate::trap::record_raised,
        unwind = sym unwind,
        store = const offset_of!(VmCtx, store),
        activation = const offset_of!(VmStore, activation),
        exit_fp = const offset_of!(VmActivation, exit_fp),
        exit_pc = const offset_of!(VmActivation, exit_pc),
    )
}

/// The service `propagate`: unwinds with the trap that is already recorded.
#[unsafe(naked)]
pub(crate) extern "C" fn propagate(vmctx: *mut VmCtx) -> u64 {
    naked_asm!(
        "mov rdi, [rdi + {store}]",
        "mov esi, {trap}",
        "jmp {unwind}",
        trap = const Status::Trap as u32,
        unwind = sym unwind,
        store = const offset_of!(VmCtx, store),
    )
}

/// As [`propagate`], where a function was called whose results do not fit registers.
#[unsafe(naked)]
pub(crate) extern "C" fn propagate_with_area(area: *mut u64, vmctx: *mut VmCtx) -> u64 {
    naked_asm!(
        "mov rdi, [rsi + {store}]",
        "mov esi, {trap}",
        "jmp {unwind}",
        trap = const Status::Trap as u32,
        unwind = sym unwind,
        store = const offset_of!(VmCtx, store),
    )
}

/// The service `throw`: goes on where the store's exception lands, or unwinds.
///
/// A landing gets the exception in the first payload register of Cranelift's `tail` convention, and
/// expects nothing of the others: calls that may throw save no register across themselves.
#[unsafe(naked)]
pub(crate) extern "C" fn throw(vmctx: *mut VmCtx) -> u64 {
    naked_asm!(
        "mov rax, [rdi + {store}]",
        "mov rcx, [rax + {activation}]",
        "mov r10, [rsp]",
        "mov [rcx + {exit_fp}], rbp",
        "mov [rcx + {exit_pc}], r10",
        "and rsp, -16",
        "mov rbx, rax",
        "mov r12, rcx",
        "mov rdi, rax",
        "call {find}",
        "test eax, eax",
        "jz 2f",
        "mov eax, [rbx + {exception}]",
        "mov dword ptr [rbx + {exception}], 0",
        "mov rcx, [r12 + {landing_pc}]",
        "mov rsp, [r12 + {landing_sp}]",
        "mov rbp, [r12 + {landing_fp}]",
        "jmp rcx",
        "2:",
        "mov rdi, rbx",
        "mov esi, {status}",
        "jmp {unwind}",
        find = sym crate::exception::find_landing,
        unwind = sym unwind,
        status = const Status::Exception as u32,
        store = const offset_of!(VmCtx, store),
        activation = const offset_of!(VmStore, activation),
        exception = const offset_of!(VmStore, exception),
        exit_fp = const offset_of!(VmActivation, exit_fp),
        exit_pc = const offset_of!(VmActivation, exit_pc),
        landing_pc = const offset_of!(VmActivation, landing_pc),
        landing_sp = const offset_of!(VmActivation, landing_sp),
        landing_fp = const offset_of!(VmActivation, landing_fp),
    )
}

/// Where the signal handler sends a guest access that faulted: `rdi` is the store, whose innermost
/// activation already has the place of the fault, `esi` the trap's code. Runs on the guest's stack, outside the handler.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume_fault(store: *mut VmStore, code: u32) -> ! {
    naked_asm!(
        "and rsp, -16",
        "mov rbx, rdi",
        "call {record}",
        "mov rdi, rbx",
        "mov esi, {trap}",
        "jmp {unwind}",
        trap = const Status::Trap as u32,
        record = sym crate::trap::record_raised,
        unwind = sym unwind,
    )
}

/// Makes a function that is the first `regs_entry` of others: it asks `$resolve` for the real one and jumps
/// there with all argument registers as they were. Cranelift's `tail` convention passes arguments in the
/// registers of System V and results may be returned through any register, so all that can carry an
/// argument are kept.
macro_rules! lazy_regs {
    ($(#[$doc:meta])* $name:ident, $vmctx:literal, $entry:literal, $resolve:path) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                concat!("mov rax, [", $vmctx, " + {store}]"),
                "mov rax, [rax + {activation}]",
                "mov r10, [rsp]",
                "mov [rax + {exit_fp}], rbp",
                "mov [rax + {exit_pc}], r10",
                "push rbp",
                "mov rbp, rsp",
                "sub rsp, 192",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], rcx",
                "mov [rsp + 32], r8",
                "mov [rsp + 40], r9",
                "movups [rsp + 48], xmm0",
                "movups [rsp + 64], xmm1",
                "movups [rsp + 80], xmm2",
                "movups [rsp + 96], xmm3",
                "movups [rsp + 112], xmm4",
                "movups [rsp + 128], xmm5",
                "movups [rsp + 144], xmm6",
                "movups [rsp + 160], xmm7",
                concat!("mov rax, ", $entry),
                concat!("mov rdi, ", $vmctx),
                "mov rsi, rax",
                "call {resolve}",
                "mov rdi, [rsp]",
                "mov rsi, [rsp + 8]",
                "mov rdx, [rsp + 16]",
                "mov rcx, [rsp + 24]",
                "mov r8, [rsp + 32]",
                "mov r9, [rsp + 40]",
                "movups xmm0, [rsp + 48]",
                "movups xmm1, [rsp + 64]",
                "movups xmm2, [rsp + 80]",
                "movups xmm3, [rsp + 96]",
                "movups xmm4, [rsp + 112]",
                "movups xmm5, [rsp + 128]",
                "movups xmm6, [rsp + 144]",
                "movups xmm7, [rsp + 160]",
                "mov rsp, rbp",
                "pop rbp",
                "jmp rax",
                resolve = sym $resolve,
                store = const offset_of!(VmCtx, store),
                activation = const offset_of!(VmStore, activation),
                exit_fp = const offset_of!(VmActivation, exit_fp),
                exit_pc = const offset_of!(VmActivation, exit_pc),
            )
        }
    };
}

lazy_regs! {
    /// For functions whose results fit registers: the instance and the entry come first.
    lazy, "rdi", "rsi", crate::tier::resolve_regs
}

lazy_regs! {
    /// For functions with more results: the place for those comes first, before instance and entry.
    lazy_with_area, "rsi", "rdx", crate::tier::resolve_regs_with_area
}

/// Registers of each class that can hold results in Cranelift's `tail` convention.
const RESULT_REGISTERS: usize = 8;

/// The first `regs_entry` of every function of a type.
pub(crate) fn lazy_regs(ty: &FuncType) -> *mut () {
    let integer = |ty: &&ValType| !matches!(ty, ValType::F32 | ValType::F64 | ValType::V128);
    let integers = ty.results().iter().filter(integer).count();
    let fits = integers <= RESULT_REGISTERS && ty.results().len() - integers <= RESULT_REGISTERS;
    (if fits { lazy } else { lazy_with_area }) as *mut ()
}

/// Whether a `regs_entry` is still the first one.
pub(crate) fn is_lazy(code: *const ()) -> bool {
    code == lazy as *const () || code == lazy_with_area as *const ()
}

/// The current stack pointer, near enough for limits.
#[inline]
pub(crate) fn stack_pointer() -> usize {
    let sp: usize;
    // SAFETY: reads a register; touches neither memory nor flags.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

/// The return address and the caller's frame pointer of the frame at `fp`.
///
/// # Safety
/// `fp` is the frame pointer of a live frame that keeps the frame-pointer chain.
pub(crate) unsafe fn caller_frame(fp: usize) -> (usize, usize) {
    let frame = fp as *const usize;
    // SAFETY: the caller vouches for the frame; its first word is the saved frame pointer.
    let saved_fp = unsafe { frame.read() };
    // SAFETY: as above; the second word is the return address.
    let return_pc = unsafe { frame.wrapping_add(1).read() };
    (return_pc, saved_fp)
}

/// Reads where a signal interrupted the thread: program counter and frame pointer.
pub(crate) fn interrupted_at(context: &libc::ucontext_t) -> (usize, usize) {
    let regs = &context.uc_mcontext.gregs;
    (regs[libc::REG_RIP as usize] as usize, regs[libc::REG_RBP as usize] as usize)
}

/// Makes the thread go on in [`resume_fault`] when the handler returns.
pub(crate) fn redirect_to_fault(context: &mut libc::ucontext_t, store: *mut VmStore, code: TrapCode) {
    let regs = &mut context.uc_mcontext.gregs;
    regs[libc::REG_RIP as usize] = resume_fault as *const () as i64;
    regs[libc::REG_RDI as usize] = store as i64;
    regs[libc::REG_RSI as usize] = code as i64;
}
