//! Accesses of Rust code to bytes that may not be there: what is lent can be read-only, cut off by another
//! process, or withdrawn by another thread at any moment.
//!
//! Each routine has one instruction that may fault, at a place that is known. The signal handler asks [`recover`],
//! which makes the thread go on as if the routine had returned, with the fault as its result: no page is touched
//! twice, no lock is taken, and a race with whoever withdraws the bytes has two ends only, the access or the fault.
//!
//! # Safety
//! Trusts: at the faulting instruction of each routine the return address is on top of the stack, no callee-saved
//! register has changed, and the direction flag is clear. Gives: bytes are accessed by machine code that no
//! optimisation looks into, so that others may write them meanwhile; words of 1, 2, 4 and 8 aligned bytes are
//! loaded and exchanged as a whole.

use std::arch::naked_asm;

/// What a routine returns in two registers: a result, and 0 or the signal of the fault.
#[repr(C)]
struct Returned {
    value: u64,
    signal: u64,
}

/// An access that faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faulted {
    /// The host address that is not there.
    pub(crate) address: usize,
    /// There is a mapping, and nothing behind it: a file that was cut off.
    pub(crate) is_cut_off: bool,
}

impl Returned {
    fn result(self) -> Result<u64, Faulted> {
        match self.signal as libc::c_int {
            0 => Ok(self.value),
            signal => Err(Faulted { address: self.value as usize, is_cut_off: signal == libc::SIGBUS }),
        }
    }
}

/// Copies `rcx` bytes; the first instruction may fault.
#[unsafe(naked)]
unsafe extern "C" fn copy_bytes(to: *mut u8, from: *const u8, unused: usize, len: usize) -> Returned {
    naked_asm!("rep movsb", "xor eax, eax", "xor edx, edx", "ret")
}

/// Bytes of `mov rax, rsi`, the one instruction before that which may fault in the routines that exchange.
const BEFORE_EXCHANGE: usize = 3;

macro_rules! routines {
    ($($load:ident, $exchange:ident, $move:literal, $register:literal, $widen:literal;)*) => {
        $(
            /// Loads a word; the first instruction may fault.
            #[unsafe(naked)]
            unsafe extern "C" fn $load(at: *const u8) -> Returned {
                naked_asm!($move, $widen, "xor edx, edx", "ret")
            }

            /// Exchanges a word if it is `old`; returns what it was. The second instruction may fault.
            #[unsafe(naked)]
            unsafe extern "C" fn $exchange(at: *mut u8, old: u64, new: u64) -> Returned {
                naked_asm!(
                    "mov rax, rsi",
                    concat!("lock cmpxchg [rdi], ", $register),
                    $widen,
                    "xor edx, edx",
                    "ret",
                )
            }
        )*

        /// Whether an instruction is one of those that may fault.
        fn may_fault(pc: usize) -> bool {
            pc == copy_bytes as *const () as usize
                $(|| pc == $load as *const () as usize)*
                $(|| pc == $exchange as *const () as usize + BEFORE_EXCHANGE)*
        }
    };
}

routines! {
    load_1, exchange_1, "mov al, [rdi]", "dl", "movzx eax, al";
    load_2, exchange_2, "mov ax, [rdi]", "dx", "movzx eax, ax";
    load_4, exchange_4, "mov eax, [rdi]", "edx", "mov eax, eax";
    load_8, exchange_8, "mov rax, [rdi]", "rdx", "nop";
}

/// Where a thread goes on whose access faulted: returns from the routine.
#[unsafe(naked)]
unsafe extern "C" fn return_fault() {
    naked_asm!("ret")
}

/// Called by the signal handler: if the fault is one of these accesses, makes the thread go on behind it.
pub(crate) fn recover(context: &mut libc::ucontext_t, signal: libc::c_int, address: usize) -> bool {
    let regs = &mut context.uc_mcontext.gregs;
    if !may_fault(regs[libc::REG_RIP as usize] as usize) {
        return false;
    }
    regs[libc::REG_RAX as usize] = address as i64;
    regs[libc::REG_RDX as usize] = signal.into();
    regs[libc::REG_RIP as usize] = return_fault as *const () as i64;
    true
}

/// Copies bytes; of a copy that faults an unknown part is done.
///
/// # Safety
/// `to` and `from` are ranges that do not overlap, each of host memory or inside the reservation of a memory or a
/// mapping of a shared buffer. The handler of memory faults is installed.
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), Faulted> {
    // SAFETY: said by the caller.
    unsafe { copy_bytes(to, from, 0, len) }.result().map(|_| ())
}

/// As [`copy`], in the form that views of guest memory know.
///
/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn copy_or_fail(to: *mut u8, from: *const u8, len: usize) -> bool {
    // SAFETY: said by the caller.
    unsafe { copy(to, from, len) }.is_ok()
}

/// Loads 1, 2, 4 or 8 bytes.
///
/// # Safety
/// As for the source of [`copy`].
pub(crate) unsafe fn load(at: *const u8, size: usize) -> Result<u64, Faulted> {
    let routine = match size {
        1 => load_1,
        2 => load_2,
        4 => load_4,
        _ => load_8,
    };
    // SAFETY: said by the caller.
    unsafe { routine(at) }.result()
}

/// Exchanges 1, 2, 4 or 8 aligned bytes if they are `old`; returns what they were.
///
/// # Safety
/// As for the target of [`copy`].
pub(crate) unsafe fn exchange(at: *mut u8, size: usize, old: u64, new: u64) -> Result<u64, Faulted> {
    let routine = match size {
        1 => exchange_1,
        2 => exchange_2,
        4 => exchange_4,
        _ => exchange_8,
    };
    // SAFETY: said by the caller.
    unsafe { routine(at, old, new) }.result()
}

#[cfg(test)]
mod tests {
    use super::*;
    use region::Protection;

    /// One page that can be written, one that can be read, one that cannot be touched.
    #[test]
    fn accesses_that_fault_say_where_and_return() {
        crate::signals::install().expect("the handler can be installed");
        let page = region::page::size();
        let mut pages = region::alloc(3 * page, Protection::READ_WRITE).expect("three pages");
        let base = pages.as_mut_ptr::<u8>();
        let at = |offset: usize| base.wrapping_add(offset);
        // SAFETY: inside the allocation.
        unsafe { region::protect(at(page), page, Protection::READ) }.expect("protects");
        // SAFETY: as above.
        unsafe { region::protect(at(2 * page), page, Protection::NONE) }.expect("protects");
        let faulted = |offset: usize| Faulted { address: at(offset).addr(), is_cut_off: false };
        // SAFETY: every address below is inside the allocation, and so is what `copy` gets beside a local array.
        let load = |offset: usize, size: usize| unsafe { load(at(offset), size) };
        // SAFETY: as above.
        let exchange = |offset: usize, size: usize, old: u64, new: u64| unsafe { exchange(at(offset), size, old, new) };
        // SAFETY: as above.
        let put = |offset: usize, bytes: &[u8]| unsafe { copy(at(offset), bytes.as_ptr(), bytes.len()) };
        // SAFETY: as above.
        let get = |offset: usize, into: &mut [u8]| unsafe { copy(into.as_mut_ptr(), at(offset), into.len()) };
        assert_eq!(put(page - 12, b"twelve bytes"), Ok(()));
        assert_eq!(put(page - 4, b"twelve bytes"), Err(faulted(page)));
        let mut into = [0; 12];
        assert_eq!(get(page - 8, &mut into), Ok(()));
        assert_eq!(&into[..4], b"ve b");
        assert_eq!(get(2 * page - 4, &mut into), Err(faulted(2 * page)));
        for size in [1, 2, 4, 8] {
            assert_eq!(exchange(0, size, 0, 0xff07), Ok(0), "{size}");
            assert_eq!(load(0, size), Ok(if size == 1 { 7 } else { 0xff07 }), "{size}");
            assert_eq!(exchange(0, size, 1, 2).map(|old| old as u8), Ok(7), "{size}");
            assert_eq!(exchange(0, size, load(0, size).expect("there"), 0).map(|old| old as u8), Ok(7), "{size}");
            assert_eq!(load(page, size), Ok(0), "{size}");
            assert_eq!(exchange(page, size, 0, 1), Err(faulted(page)), "{size}");
            assert_eq!(load(2 * page, size), Err(faulted(2 * page)), "{size}");
            assert_eq!(exchange(2 * page, size, 0, 1), Err(faulted(2 * page)), "{size}");
        }
        assert_eq!(load(0, 8), Ok(0));
    }
}
