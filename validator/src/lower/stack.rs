//! The operand stack during lowering: which slot each operand has and where its value is now.
//!
//! Every operand owns a slot, given by the stack below it. Its value is there or, until someone
//! writes the local, still in the local it was read from (an *alias*). At most [`MAX_ALIASES`]
//! aliases are pending, so that writing a local looks at few operands however deep the stack is.

use std::cell::Cell;
use std::mem;

use aura_host_abi::SlotType;

use crate::code::{Operand, Slot};

/// Pending aliases; above it the oldest one is given its own slot.
pub(super) const MAX_ALIASES: usize = 64;

/// Height of a frame's two slot ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Height {
    pub(super) values: u32,
    pub(super) refs: u32,
}

impl Height {
    /// Takes the next slot for a value of this class.
    pub(super) fn take(&mut self, ty: SlotType) -> Slot {
        if ty == SlotType::Ref {
            self.refs += 1;
            return Slot(-(self.refs as i32));
        }
        let slot = Slot(self.values as i32);
        self.values += ty.slots();
        slot
    }

    /// Takes `count` consecutive slots for values of this class; the first one's.
    pub(super) fn take_run(&mut self, ty: SlotType, count: u32) -> Slot {
        let first = { *self }.take(ty);
        if ty == SlotType::Ref {
            self.refs += count;
        } else {
            self.values += count * ty.slots();
        }
        first
    }

    fn max(self, other: Self) -> Self {
        Self { values: self.values.max(other.values), refs: self.refs.max(other.refs) }
    }
}

/// One operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) ty: SlotType,
    /// The operand's own slot.
    pub(super) own: Slot,
    /// Where the value is: `own`, or a local's slot.
    pub(super) place: Slot,
}

impl Entry {
    pub(super) fn operand(&self) -> Operand {
        Operand { slot: self.place, ty: self.ty }
    }
}

thread_local! {
    /// What a stack is made of, empty: kept for the next function on the thread.
    static SPARE: Cell<(Vec<Entry>, Vec<u32>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Operands of the highest stack that is kept.
const SPARE_MAX: usize = 1 << 12;

impl Drop for Stack {
    fn drop(&mut self) {
        let (mut entries, mut aliases) = (mem::take(&mut self.entries), mem::take(&mut self.aliases));
        entries.clear();
        aliases.clear();
        if entries.capacity() <= SPARE_MAX {
            // A thread that ends keeps nothing.
            let _ = SPARE.try_with(|spare| spare.set((entries, aliases)));
        }
    }
}

/// The operand stack.
#[derive(Debug)]
pub(super) struct Stack {
    entries: Vec<Entry>,
    /// Indices into `entries` of the aliases, ascending.
    aliases: Vec<u32>,
    height: Height,
    highest: Height,
}

impl Stack {
    /// An empty stack above the locals.
    pub(super) fn new(locals: Height) -> Self {
        let (entries, aliases) = SPARE.try_with(Cell::take).unwrap_or_default();
        Self { entries, aliases, height: locals, highest: locals }
    }

    /// Number of operands.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slots in use.
    pub(super) fn height(&self) -> Height {
        self.height
    }

    /// The most slots that were ever in use.
    pub(super) fn highest(&self) -> Height {
        self.highest
    }

    /// Pushes an operand whose value goes to its own slot.
    pub(super) fn push(&mut self, ty: SlotType) -> Slot {
        let own = self.height.take(ty);
        self.highest = self.highest.max(self.height);
        self.entries.push(Entry { ty, own, place: own });
        own
    }

    /// Pushes an operand whose value is in a local. Returns the oldest alias if there are too many.
    pub(super) fn push_alias(&mut self, local: Operand) -> Option<Entry> {
        let evicted = (self.aliases.len() == MAX_ALIASES).then(|| self.settle(0));
        self.push(local.ty);
        let index = self.entries.len() - 1;
        self.entries[index].place = local.slot;
        self.aliases.push(index as u32);
        evicted
    }

    /// Pops an operand.
    ///
    /// # Panics
    /// If there is none, which validation excludes.
    pub(super) fn pop(&mut self) -> Entry {
        let entry = self.entries.pop().expect("a validated body never pops an empty stack");
        if self.aliases.last() == Some(&(self.entries.len() as u32)) {
            self.aliases.pop();
        }
        if entry.own.0 < 0 {
            self.height.refs -= 1;
        } else {
            self.height.values = entry.own.0 as u32;
        }
        entry
    }

    /// The top `count` operands, lowest first.
    pub(super) fn top(&self, count: usize) -> &[Entry] {
        &self.entries[self.entries.len() - count..]
    }

    /// Drops operands until `len` are left, whose slots end at `height`.
    pub(super) fn truncate(&mut self, len: usize, height: Height) {
        self.entries.truncate(len);
        while self.aliases.last().is_some_and(|&index| index as usize >= len) {
            self.aliases.pop();
        }
        self.height = height;
    }

    /// Ends the oldest alias of the local at `place`: the operand as it was, to be copied to its own slot.
    pub(super) fn settle_alias_of(&mut self, place: Slot) -> Option<Entry> {
        let found = self.aliases.iter().position(|&index| self.entries[index as usize].place == place)?;
        Some(self.settle(found))
    }

    /// Ends the oldest alias: the operand as it was, to be copied to its own slot.
    pub(super) fn settle_any(&mut self) -> Option<Entry> {
        (!self.aliases.is_empty()).then(|| self.settle(0))
    }

    fn settle(&mut self, alias: usize) -> Entry {
        let index = self.aliases.remove(alias);
        let entry = &mut self.entries[index as usize];
        let before = *entry;
        entry.place = entry.own;
        before
    }
}
