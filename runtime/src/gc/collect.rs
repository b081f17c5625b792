//! Collections: what is in use is copied, the rest is forgotten.
//!
//! Invariants while one runs: what was copied has [`FORWARDED`] and its new place for a header; the
//! copies lie one behind the other, and all references in those before `scanned` are new ones.
//! A collection begins only once there is room for everything it may copy, so that it never stops halfway.

use std::ops::Range;

use aura_host_abi::gc::{FORWARDED, VmObject, host_index, is_object};

use super::roots;
use super::shape::{Shape, Shapes};
use super::space::Space;
use super::{FULL_AFTER, Heap, Parts};
use crate::store::StoreData;

/// A full collection that leaves less than this part of the limit free ends in a trap: the next one would come at once.
const FREE_MIN: u64 = 64;

/// More bytes than this are given back to the system when a half is empty.
const KEPT: u64 = 32 << 20;

/// Collects, so that an object of `size` bytes may be made. `None` if there is no room for it in spite of that.
pub(super) fn make_room(store: &mut StoreData, size: u64) -> Option<()> {
    let heap = &mut store.heap;
    heap.reserve();
    let limit = heap.limit;
    let parts = heap.parts.as_ref()?;
    let old_limit = parts.old_limit(limit);
    let is_young = size <= parts.young_size_max();
    let after_minor = parts.old().used() + heap.young_used(parts);
    if is_young && after_minor <= old_limit.min(parts.full_from) {
        return minor(store);
    }
    full(store)?;
    let parts = store.heap.parts.as_ref()?;
    let needed = if is_young { 0 } else { size };
    (parts.old().used() + needed + limit / FREE_MIN <= old_limit).then_some(())
}

/// Copies the young objects in use behind the old ones.
pub(super) fn minor(store: &mut StoreData) -> Option<()> {
    let mut parts = store.heap.parts.take()?;
    let young = store.heap.young_used(&parts);
    let half = &mut parts.halves[parts.current];
    if !parts.space.open(1 + parts.current, half.top + young, half.end) {
        store.heap.parts = Some(parts);
        return None;
    }
    let old = half.start..half.top;
    let moving = Moving { all: false, young_end: parts.young.end, to: old.clone() };
    let shapes = store.heap.shapes().clone();
    let mut copier = Copier { space: &parts.space, shapes: &shapes, moving, top: half.top, hosts: None };
    roots::each(store, &mut |reference| copier.moved(reference));
    parts.space.take_dirty(old.clone(), |card| copier.trace_card(card, &old));
    copier.scan(old.end);
    half.top = copier.top;
    half.clean = half.clean.max(half.top);
    finish(store, parts);
    store.heap.collections.minor += 1;
    Some(())
}

/// Copies all objects in use into the other half.
pub(super) fn full(store: &mut StoreData) -> Option<()> {
    let mut parts = store.heap.parts.take()?;
    let from = parts.halves[parts.current].clone();
    let other = 1 - parts.current;
    let to = parts.halves[other].clone();
    let most = from.used() + store.heap.young_used(&parts);
    if !parts.space.open(1 + other, to.start + most, to.end) {
        store.heap.parts = Some(parts);
        return None;
    }
    let moving = Moving { all: true, young_end: parts.young.end, to: to.start..to.end };
    let shapes = store.heap.shapes().clone();
    let mut hosts = store.externs.begin_marking();
    let mut copier = Copier { space: &parts.space, shapes: &shapes, moving, top: to.start, hosts: Some(&mut hosts) };
    roots::each(store, &mut |reference| copier.moved(reference));
    copier.scan(to.start);
    let top = copier.top;
    parts.space.clear_cards(from.start..from.top);
    leave_half(&mut parts, from.used());
    parts.current = other;
    let half = &mut parts.halves[other];
    half.top = top;
    half.clean = half.clean.max(top);
    parts.full_from = 2 * half.used() + FULL_AFTER;
    finish(store, parts);
    store.heap.collections.full += 1;
    // Values of the host run code of the host when they are dropped: the heap is in order by now.
    drop(store.externs.sweep(&hosts));
    Some(())
}

/// Empties the current half.
fn leave_half(parts: &mut Parts, used: u64) {
    let (space, half) = (&mut parts.space, &mut parts.halves[parts.current]);
    half.top = half.start;
    if used > KEPT {
        space.discard(1 + parts.current);
        half.clean = half.start;
    }
}

/// The young part is empty, and nothing is zero in it.
fn finish(store: &mut StoreData, parts: Parts) {
    let start = parts.young.start;
    let heap: &mut Heap = &mut store.heap;
    heap.shared.set_young_room(start, start);
    heap.parts = Some(parts);
}

/// Which objects a collection moves.
struct Moving {
    /// Old ones too.
    all: bool,
    young_end: u64,
    /// Where they are copied to.
    to: Range<u64>,
}

struct Copier<'a> {
    space: &'a Space,
    shapes: &'a Shapes,
    moving: Moving,
    /// Where the next copy goes.
    top: u64,
    /// Values of the host that were met, by index.
    hosts: Option<&'a mut Vec<bool>>,
}

impl Copier<'_> {
    /// Where the object is that a reference refers to.
    #[inline]
    fn moved(&mut self, reference: u32) -> u32 {
        if !is_object(reference) {
            self.meet_host(reference);
            return reference;
        }
        let object = u64::from(reference);
        let moves = object < self.moving.young_end || (self.moving.all && !self.moving.to.contains(&object));
        if !moves {
            return reference;
        }
        let header = self.space.header(reference);
        if header.tag == FORWARDED { header.length } else { self.copy(object, header) }
    }

    fn copy(&mut self, object: u64, header: VmObject) -> u32 {
        let size = self.shapes.of(header.tag).size(header.length);
        let to = self.top;
        self.top += size;
        self.space.copy(object, to, size);
        self.space.note_object(to..to + size);
        self.space.set_header(object as u32, VmObject { tag: FORWARDED, length: to as u32 });
        to as u32
    }

    fn meet_host(&mut self, reference: u32) {
        if let (Some(hosts), Some(index)) = (&mut self.hosts, host_index(reference))
            && let Some(met) = hosts.get_mut(index as usize)
        {
            *met = true;
        }
    }

    /// Renews the references in all copies from `at` on, which makes more copies.
    fn scan(&mut self, mut at: u64) {
        while at < self.top {
            at += self.trace(at, &(0..u64::MAX));
        }
    }

    /// Renews the references that lie in a card of the old objects.
    fn trace_card(&mut self, card: u64, old: &Range<u64>) {
        let range = card.max(old.start)..(card + u64::from(aura_host_abi::gc::CARD_SIZE)).min(old.end);
        let mut object = if card < old.start { old.start } else { self.space.object_at_card(card) };
        while object < range.end {
            object += self.trace(object, &range);
        }
    }

    /// Renews the references of an object that lie in `range`; returns its size.
    fn trace(&mut self, object: u64, range: &Range<u64>) -> u64 {
        let header = self.space.header(object as u32);
        let shape = self.shapes.of(header.tag);
        let size = shape.size(header.length);
        match *shape {
            Shape::Fields { ref refs, .. } => {
                for at in refs.iter().map(|&at| object + u64::from(at)) {
                    if range.contains(&at) {
                        self.renew(at);
                    }
                }
            }
            Shape::Array { first, refs: true, .. } => {
                let first = object + u64::from(first);
                let end = (first + 4 * u64::from(header.length)).min(range.end);
                let mut at = first.max(range.start);
                while at < end {
                    self.renew(at);
                    at += 4;
                }
            }
            Shape::Array { .. } => {}
        }
        size
    }

    #[inline]
    fn renew(&mut self, at: u64) {
        let old = self.space.reference(at);
        let new = self.moved(old);
        if new != old {
            self.space.set_reference(at, new);
        }
    }
}
