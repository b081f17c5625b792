//! Memory faults of compiled code.
//!
//! A write to a page that a slot tracks ([`crate::vm::reset`]) makes the page writable and goes on.
//! A fault of one of the careful accesses of Rust code ([`careful`]) goes on behind the access. Beside those
//! the handler claims a fault only if all of this holds: this thread runs guest code, the program
//! counter is exactly that of an access that may fault, and the address lies in a memory of the
//! store or in the null page (where masked addresses go), or is that of the page that the store's loops read
//! ([`crate::vm::poll`]). It then notes the place and lets the
//! thread go on in `arch::resume_fault`. Every other fault goes to the handler that was there before.
//!
//! # Safety
//! The handler runs on the thread that faulted, in guest code; it reads the thread's store, looks
//! the program counter up without a lock, and allocates nothing.

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use aura_host_abi::TrapCode;
use aura_host_abi::vm::NULL_PAGE;
use aura_jit::registry;

use crate::arch::{self, careful};
use crate::error::{Error, Result};
use crate::store::StoreData;
use crate::thread;

/// The handlers that were there before: SIGSEGV, SIGBUS.
static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Installs the handler, once per process.
pub(crate) fn install() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    INSTALLED.get_or_init(install_once).map_err(|errno| {
        let error = std::io::Error::from_raw_os_error(errno);
        Error::resource(format!("cannot install the handler of memory faults: {error}; use the interpreter"))
    })
}

fn install_once() -> Result<(), i32> {
    let mut previous = [MaybeUninit::<libc::sigaction>::zeroed(); 2];
    for (signal, slot) in SIGNALS.into_iter().zip(&mut previous) {
        // SAFETY: asking for the current action changes nothing; the out-pointer is valid.
        if unsafe { libc::sigaction(signal, std::ptr::null(), slot.as_mut_ptr()) } != 0 {
            return Err(last_errno());
        }
    }
    // SAFETY: both calls above filled their slot.
    let previous = previous.map(|action| unsafe { action.assume_init() });
    // Known before the first signal can arrive at the new handler.
    PREVIOUS.get_or_init(|| previous);
    for signal in SIGNALS {
        // SAFETY: all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
        // SAFETY: the action is complete, and its handler keeps the rules of the head of this file.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid context for the time of the handler.
    let machine = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    // SAFETY: the kernel passes valid information for the time of the handler.
    let info_ref = unsafe { &*info };
    // SAFETY: faults carry an address.
    let address = unsafe { info_ref.si_addr() }.addr();
    if !opened(address) && !careful::recover(machine, signal, address) && !claim(signal, address, machine) {
        pass_on(signal, info, context);
    }
}

/// Whether the fault was a write to a page that is tracked, which is writable now: whoever wrote, guest code, the
/// interpreter or a host function, goes on.
fn opened(address: usize) -> bool {
    let store = thread::running();
    if store.is_null() {
        return false;
    }
    // SAFETY: this thread runs the store and stands in an access to memory, not in a change of the store.
    let data = unsafe { &*StoreData::from_vm(store) };
    data.memory_at(address).is_some_and(|memory| memory.fault(address))
}

/// Turns a fault of guest code into a trap; false if it is none.
fn claim(signal: libc::c_int, address: usize, machine: &mut libc::ucontext_t) -> bool {
    let store = thread::running();
    if store.is_null() {
        return false;
    }
    let (pc, fp) = arch::interrupted_at(machine);
    let Some(code) = registry::trap_at(pc) else { return false };
    // SAFETY: the thread faulted in guest code of this store, so nobody changes the store now.
    let data = unsafe { &*StoreData::from_vm(store) };
    // SAFETY: guest code runs, so the store is live and has an activation.
    let vm = unsafe { &*store };
    let is_poll = code == TrapCode::Interrupted;
    let is_known = match is_poll {
        true => address == vm.poll.load(Relaxed).addr(),
        false => address < NULL_PAGE || data.memory_at(address).is_some(),
    };
    if !is_known {
        return false;
    }
    // SAFETY: the cell belongs to this thread.
    let activation = unsafe { *vm.activation.get() };
    // SAFETY: while guest code runs, the innermost activation is live, and only this thread uses it.
    let activation = unsafe { &mut *activation };
    activation.exit_fp = fp;
    // Backtraces look up the byte before a return address; a fault is at its own address.
    activation.exit_pc = pc + 1;
    if is_poll {
        arch::redirect_to_fault(machine, store, code);
        return true;
    }
    // SAFETY: the cell belongs to this thread.
    unsafe { *vm.fault_address.get() = address };
    data.shared.set_cut_off(signal == libc::SIGBUS);
    arch::redirect_to_fault(machine, store, TrapCode::MemoryOutOfBounds);
    true
}

/// Does what would have been done without this handler.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = usize::from(signal == SIGNALS[1]);
    let previous = &PREVIOUS.get().expect("set before the handler was installed")[index];
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // Back to the default; the instruction faults again when this returns.
            // SAFETY: restores a disposition that was valid before.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: a handler with SA_SIGINFO has this signature.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: a handler without SA_SIGINFO has this signature.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
