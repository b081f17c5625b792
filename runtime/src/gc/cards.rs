//! The cards of the old objects: where references to young ones may have been stored.
//!
//! Whoever stores a reference into an object sets the card of the place. A minor collection looks
//! through the dirty cards and clears them: afterwards no object is young. To find the objects in a card, the
//! table `starts` has an entry for each card that says where the object begins that covers the
//! card's first byte: less than [`FAR`], so many times 8 bytes before it; else look `2^(entry - FAR)` cards before.
//!
//! # Safety
//! Trusts: entries of both tables are accessible for every offset of the heap, and used by the store's thread alone.

use std::ops::Range;

use aura_host_abi::gc::{CARD_DIRTY, CARD_SIZE};

use super::space::Space;

/// The smallest entry of `starts` that is a distance in cards.
const FAR: u8 = 64;

const SIZE: u64 = CARD_SIZE as u64;

impl Space {
    /// Says that a reference was stored at an offset.
    #[inline]
    pub(super) fn set_dirty(&self, at: u64) {
        // SAFETY: see the head of this file.
        unsafe { self.card(at).write(CARD_DIRTY) };
    }

    /// Says that references were stored in a range.
    pub(super) fn set_range_dirty(&self, range: Range<u64>) {
        for card in cards_of(&range).step_by(SIZE as usize) {
            self.set_dirty(card);
        }
    }

    /// Forgets what is known of a range: nothing is stored there, nothing begins there.
    pub(super) fn clear_cards(&self, range: Range<u64>) {
        let cards = cards_of(&range);
        let count = ((cards.end - cards.start) / SIZE) as usize;
        if count > 0 {
            // SAFETY: see the head of this file.
            unsafe { self.card(cards.start).write_bytes(0, count) };
        }
    }

    /// Clears the dirty cards of a range and calls `visit` with the first offset of each.
    pub(super) fn take_dirty(&self, range: Range<u64>, mut visit: impl FnMut(u64)) {
        let cards = cards_of(&range);
        let mut at = cards.start;
        while at < cards.end {
            // Eight cards at once where that is possible: most are clean.
            let place = self.card(at);
            if place.addr().is_multiple_of(8) && at + 8 * SIZE <= cards.end {
                // SAFETY: see the head of this file; eight entries lie there, aligned.
                if unsafe { place.cast::<u64>().read() } == 0 {
                    at += 8 * SIZE;
                    continue;
                }
            }
            // SAFETY: see the head of this file.
            if unsafe { place.replace(0) } == CARD_DIRTY {
                visit(at);
            }
            at += SIZE;
        }
    }

    /// Notes that an object lies in a range, for every card whose first byte it covers.
    #[inline]
    pub(super) fn note_object(&self, object: Range<u64>) {
        let first = object.start.next_multiple_of(SIZE);
        if first >= object.end {
            return;
        }
        // SAFETY: see the head of this file.
        unsafe { self.start(first).write(((first - object.start) / 8) as u8) };
        let mut at = first + SIZE;
        while at < object.end {
            let cards = (at - first) / SIZE;
            // SAFETY: see the head of this file.
            unsafe { self.start(at).write(FAR + cards.ilog2() as u8) };
            at += SIZE;
        }
    }

    /// Where the object begins that covers the first byte of a card.
    pub(super) fn object_at_card(&self, card: u64) -> u64 {
        let mut at = card;
        loop {
            // SAFETY: see the head of this file.
            let entry = unsafe { self.start(at).read() };
            match entry.checked_sub(FAR) {
                None => return at - u64::from(entry) * 8,
                Some(log) => at -= SIZE << log,
            }
        }
    }
}

/// The cards that a range touches, by the first offset of the first one and the end of the last one.
fn cards_of(range: &Range<u64>) -> Range<u64> {
    range.start / SIZE * SIZE..range.end.next_multiple_of(SIZE)
}
