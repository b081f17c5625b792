//! Stacks of interpreters that ended, kept for the next ones on the same thread.
//!
//! A stack is some hundred KiB: the system takes longer to give it, page by page, than a small module takes to be loaded
//! and called. What lies in a kept one is whatever ran before; nobody reads it, because a frame's references and locals are
//! cleared when it is opened, and operands are written before they are read.

use std::cell::RefCell;

/// Stacks that a thread keeps.
const KEPT_MAX: usize = 4;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u64>>> = const { RefCell::new(Vec::new()) };
}

/// A stack of so many slots, whatever is in them.
pub(super) fn take(slots: usize) -> Vec<u64> {
    let kept = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        let place = kept.iter().position(|stack| stack.len() == slots)?;
        Some(kept.swap_remove(place))
    });
    kept.ok().flatten().unwrap_or_else(|| vec![0; slots])
}

/// Keeps a stack that nobody uses any more, if there is room.
pub(super) fn give(stack: Vec<u64>) {
    // A thread that ends keeps nothing.
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if !stack.is_empty() && kept.len() < KEPT_MAX {
            kept.push(stack);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_used_again_by_who_asks_for_the_same_size() {
        let mut stack = take(1000);
        stack[0] = 7;
        give(stack);
        assert_eq!(take(1001)[0], 0);
        assert_eq!(take(1000)[0], 7);
        assert_eq!(take(1000)[0], 0);
    }

    #[test]
    fn few_are_kept() {
        for _ in 0..3 * KEPT_MAX {
            give(vec![0; 10]);
        }
        KEPT.with(|kept| assert_eq!(kept.borrow().len(), KEPT_MAX));
    }
}
