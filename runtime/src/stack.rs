//! The native stack of this thread: how low guest code may go on it.
//!
//! # Safety
//! Trusts: the C library's description of this thread's stack. Gives: attributes are initialised before they are read
//! and destroyed once.

/// Stack that stays free below the limit of guest code: for the frame of the function that finds the
/// limit passed ([`aura_jit::MAX_FRAME`]), for services, and for host functions.
const RESERVE: usize = 192 << 10;

/// The lowest address to which guest code may use this thread's stack, asked of the system.
pub(crate) fn find_lowest_usable() -> usize {
    lowest_address().saturating_add(RESERVE)
}

/// The end of this thread's stack, or 0 if the system does not tell.
fn lowest_address() -> usize {
    // SAFETY: all zeros is a valid value to be initialised.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: has no preconditions.
    let this_thread = unsafe { libc::pthread_self() };
    // SAFETY: the attributes are initialised by the call; the thread is this one.
    if unsafe { libc::pthread_getattr_np(this_thread, &raw mut attributes) } != 0 {
        return 0;
    }
    let mut start = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the attributes were initialised; the out-pointers are valid.
    let found = unsafe { libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut size) };
    // SAFETY: initialised above, destroyed once.
    unsafe { libc::pthread_attr_destroy(&raw mut attributes) };
    if found == 0 { start.addr() } else { 0 }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_below_here_and_the_same_each_time() {
        let here = crate::arch::stack_pointer();
        let lowest = super::find_lowest_usable();
        assert!(lowest > 0 && lowest < here);
        assert_eq!(lowest, super::find_lowest_usable());
    }
}
