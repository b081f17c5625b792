//! Entry to and exit from compiled code on x86-64 System V.
//!
//! Rust reaches compiled code only through [`enter`] and [`enter_registers`]; compiled code reaches Rust through the thunks
//! here, which note where it left, and leaves for good only through [`unwind`], which puts the
//! stack pointer back to where `enter` saved it, or by an exception that [`throw`] lets land in a frame of the same activation. No Rust frame lies between the two: every crossing
//! into Rust that calls guest code again passes a new `enter`.
//!
//! # Safety
//! Trusts: `VmStore::activation` is null or points to the activation of the innermost `enter` that
//! has not returned; the stack pointer it saved is still live, because activations nest.
//! Gives: callee-saved registers as the System V ABI wants them, whichever way the call ends.

use std::arch::naked_asm;
use std::mem::offset_of;

use aura_host_abi::trap::Status;
use aura_host_abi::vm::{VmActivation, VmCtx, VmFuncEntry, VmHostFunc, VmStore};
use aura_host_abi::{FuncType, TrapCode, ValType};

use crate::host;

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
        "mov [rsi + {entry_sp}], rsp",
        "mov [rsi + {entry_fp}], rbp",
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
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        entry_sp = const offset_of!(VmActivation, entry_sp),
        entry_fp = const offset_of!(VmActivation, entry_fp),
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

/// A call in registers: what is not an argument of the callee is ignored. Cranelift's `tail` convention passes
/// arguments and one result in the registers of System V and keeps those that System V keeps; only what lies on the
/// stack differs, and there is none of that.
type Ints = unsafe extern "C" fn(*mut VmCtx, *const VmFuncEntry, u64, u64, u64, u64) -> Returned;
#[rustfmt::skip]
type IntsAndFloats = unsafe extern "C" fn(
    *mut VmCtx, *const VmFuncEntry, u64, u64, u64, u64, f64, f64, f64, f64, f64, f64, f64, f64,
) -> Returned;

/// Makes a way into the `regs_entry` of a function, in an activation that lies in its own frame. The frame above it is as
/// [`enter`] leaves it, so that [`unwind`] ends both; it says how in the register of [`Returned::status`].
macro_rules! enter_registers {
    ($name:ident, $($result:literal),*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "push rbx",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                "sub rsp, {size} + 8",
                "lea rax, [rsp + {size}]",
                "mov rbx, [rdi + {store}]",
                "mov [rsp + {entry_sp}], rax",
                "mov [rsp + {entry_fp}], rbp",
                "mov qword ptr [rsp + {exit_pc}], 0",
                "mov r12, [rbx + {activation}]",
                "mov [rsp + {previous}], r12",
                "mov [rbx + {activation}], rsp",
                "call [rsi + {regs_entry}]",
                "mov [rbx + {activation}], r12",
                $($result,)*
                "xor edx, edx",
                "add rsp, {size} + 8",
                "pop r15",
                "pop r14",
                "pop r13",
                "pop r12",
                "pop rbx",
                "pop rbp",
                "ret",
                size = const size_of::<VmActivation>(),
                regs_entry = const offset_of!(VmFuncEntry, regs_entry),
                store = const offset_of!(VmCtx, store),
                entry_sp = const offset_of!(VmActivation, entry_sp),
                entry_fp = const offset_of!(VmActivation, entry_fp),
                exit_pc = const offset_of!(VmActivation, exit_pc),
                previous = const offset_of!(VmActivation, previous),
                activation = const offset_of!(VmStore, activation),
            )
        }
    };
}

const _: () = assert!(size_of::<VmActivation>().is_multiple_of(16));

enter_registers!(enter_for_int,);
enter_registers!(enter_for_float, "movq rax, xmm0");

/// Runs a compiled function in a new activation, with its arguments in registers.
///
/// # Safety
/// - `vmctx` is a live instance whose store runs on this thread, `entry` a function of it that is compiled.
/// - Its type has at most [`INTS`] and [`FLOATS`] parameters of the two kinds, no vectors, and at most one result; the values
///   are the arguments. `WITH_FLOATS` says whether it has such parameters, `FLOAT_RESULT` such a result.
#[inline(always)]
pub(crate) unsafe fn enter_registers<const WITH_FLOATS: bool, const FLOAT_RESULT: bool>(
    vmctx: *mut VmCtx,
    entry: *const VmFuncEntry,
    [a, b, c, d]: [u64; INTS],
    [f0, f1, f2, f3, f4, f5, f6, f7]: [f64; FLOATS],
) -> Returned {
    let code = if FLOAT_RESULT { enter_for_float as *const () } else { enter_for_int as *const () };
    if WITH_FLOATS {
        // SAFETY: the code leaves argument registers as they are for the callee, and returns as the type says.
        let code = unsafe { std::mem::transmute::<*const (), IntsAndFloats>(code) };
        // SAFETY: said by the caller.
        return unsafe { code(vmctx, entry, a, b, c, d, f0, f1, f2, f3, f4, f5, f6, f7) };
    }
    // SAFETY: as above.
    let code = unsafe { std::mem::transmute::<*const (), Ints>(code) };
    // SAFETY: said by the caller.
    unsafe { code(vmctx, entry, a, b, c, d) }
}

/// The code of host functions of one type that take their arguments in registers.
pub(crate) trait HostCode {
    /// Nothing leads from the function to its store: no guest frame is looked at before it has returned.
    const IS_LONE: bool;
    /// The function, called with its [`VmHostFunc`] in the place of an instance.
    ///
    /// A lone one that fails returns as its value what [`host::failed`] takes, with any status but that of success.
    ///
    /// # Safety
    /// For [`host_entry`] alone: the context is that of such a function, the registers are arguments of its type.
    #[rustfmt::skip]
    #[allow(clippy::too_many_arguments, reason = "as many as there are registers")]
    unsafe extern "C" fn run(
        vm: *mut VmCtx, entry: *const VmFuncEntry, a: u64, b: u64, c: u64, d: u64,
        f0: f64, f1: f64, f2: f64, f3: f64, f4: f64, f5: f64, f6: f64, f7: f64,
    ) -> Returned;
}

/// The `regs_entry` of host functions with this code.
pub(crate) fn host_entry<C: HostCode>() -> *const () {
    if C::IS_LONE { call_lone_host::<C> as *const () } else { call_host::<C> as *const () }
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

/// As [`call_host`], for lone functions: where compiled code was left is noted only once there is a failure to tell.
#[unsafe(naked)]
unsafe extern "C" fn call_lone_host<C: HostCode>() {
    naked_asm!(
        "push rdi",
        "call {run}",
        "pop rdi",
        "movq xmm0, rax",
        "test edx, edx",
        "jnz 2f",
        "ret",
        "2:",
        "mov rcx, [rdi + {store}]",
        "mov rcx, [rcx + {activation}]",
        "mov r10, [rsp]",
        "mov [rcx + {exit_fp}], rbp",
        "mov [rcx + {exit_pc}], r10",
        "mov rsi, rax",
        "push rdi",
        "call {failed}",
        "pop rdi",
        "cmp eax, {exception}",
        "je {throw}",
        "jmp {propagate}",
        exception = const Status::Exception as u32,
        throw = sym throw,
        propagate = sym propagate,
        failed = sym host::failed,
        run = sym C::run,
        store = const offset_of!(VmHostFunc, store),
        activation = const offset_of!(VmStore, activation),
        exit_fp = const offset_of!(VmActivation, exit_fp),
        exit_pc = const offset_of!(VmActivation, exit_pc),
    )
}

/// Ends the innermost activation of `store` with a status. Does not return to its caller.
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
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
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
