//! Compiled functions in bytes: how their tables stand in artifacts.
//!
//! The code itself is kept apart, since it goes into memory of its own. Offsets ascend, so each stands as its distance from the one
//! before. Invariant: what [`CompiledFunction::put_tables`] wrote comes back as it was; bytes that no such call wrote come back
//! as nothing, or as tables whose offsets lie wherever they lie: whoever keeps them sees to it that nobody changes them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aura_host_abi::TrapCode;
use aura_validator::codec::Coded;

use crate::finish::{CallHandler, CompiledFunction, StackMaps};
use crate::registry::Decoded;

/// The tables of a function as [`CompiledFunction::put_tables`] wrote them: a part of bytes that others share.
#[derive(Debug)]
pub struct KeptTables {
    bytes: Arc<[u8]>,
    part: Range<usize>,
    decoded: OnceLock<Decoded>,
}

impl KeptTables {
    /// The tables in a part of the bytes; without any if there is no such part.
    #[must_use]
    pub fn new(bytes: Arc<[u8]>, part: Range<usize>) -> Self {
        Self { bytes, part, decoded: OnceLock::new() }
    }

    fn form(&self) -> &[u8] {
        self.bytes.get(self.part.clone()).unwrap_or_default()
    }

    pub(crate) fn get(&self) -> &Decoded {
        self.decoded.get_or_init(|| {
            let function = CompiledFunction::take_tables(&mut self.form(), Box::default());
            function.map_or_else(
                Decoded::default,
                |CompiledFunction { traps, srclocs, stack_maps, handlers, .. }| Decoded {
                    traps,
                    srclocs,
                    stack_maps,
                    handlers,
                },
            )
        })
    }

    /// What a fault at an offset means: read where it stands, so that a signal handler may ask.
    pub(crate) fn trap(&self, offset: u32) -> Option<TrapCode> {
        let form = &mut self.form();
        <(u32, u32)>::take(form)?;
        let mut at = 0_u32;
        for _ in 0..u64::take(form)? {
            at = at.checked_add(u32::take(form)?)?;
            let code = TrapCode::take(form)?;
            if at >= offset {
                return (at == offset).then_some(code);
            }
        }
        None
    }
}

impl CompiledFunction {
    /// Appends all but the code.
    pub fn put_tables(&self, out: &mut Vec<u8>) {
        (self.frame_size, self.alignment).put(out);
        put_ascending(out, &self.traps, |out, code| code.put(out));
        let mut before = 0;
        put_ascending(out, &self.srclocs, |out, at| {
            (i64::from(*at) - before).put(out);
            before = i64::from(*at);
        });
        let handlers: Vec<_> =
            self.handlers.iter().map(|handler| (handler.return_at, (handler.land_at, handler.frame_size))).collect();
        put_ascending(out, &handlers, |out, rest| rest.put(out));
        put_ascending(out, &self.stack_maps.calls, |out, end| end.put(out));
        self.stack_maps.places.put(out);
    }

    /// Takes what [`CompiledFunction::put_tables`] wrote, for this code.
    #[must_use]
    pub fn take_tables(bytes: &mut &[u8], code: Box<[u8]>) -> Option<Self> {
        let (frame_size, alignment) = Coded::take(bytes)?;
        let traps = take_ascending(bytes, TrapCode::take)?;
        let mut before = 0;
        let srclocs = take_ascending(bytes, |bytes| {
            before += i64::take(bytes)?;
            u32::try_from(before).ok()
        })?;
        let handlers = take_ascending(bytes, <(u32, u32)>::take)?;
        let handler =
            |&(return_at, (land_at, frame_size)): &(u32, (u32, u32))| CallHandler { return_at, land_at, frame_size };
        let calls = take_ascending(bytes, u32::take)?;
        let stack_maps = StackMaps { calls, places: Coded::take(bytes)? };
        let handlers = handlers.iter().map(handler).collect();
        Some(Self { bytes: code, traps, srclocs, handlers, frame_size, alignment, stack_maps })
    }
}

/// A list sorted by its first numbers.
fn put_ascending<T>(out: &mut Vec<u8>, list: &[(u32, T)], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    (list.len() as u64).put(out);
    let mut before = 0;
    for (at, item) in list {
        (at - before).put(out);
        before = *at;
        put(out, item);
    }
}

fn take_ascending<T>(bytes: &mut &[u8], mut take: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Box<[(u32, T)]>> {
    // An item takes two bytes at least.
    let len = usize::try_from(u64::take(bytes)?).ok().filter(|&len| len <= bytes.len())?;
    let (mut list, mut at) = (Vec::with_capacity(len), 0_u32);
    for _ in 0..len {
        at = at.checked_add(u32::take(bytes)?)?;
        list.push((at, take(bytes)?));
    }
    Some(list.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> CompiledFunction {
        CompiledFunction {
            bytes: Box::from(*b"code"),
            traps: Box::from([
                (0, TrapCode::Unreachable),
                (7, TrapCode::OutOfFuel),
                (300, TrapCode::MemoryOutOfBounds),
            ]),
            srclocs: Box::from([(0, 90_000), (4, 17), (90, 1 << 31)]),
            handlers: Box::from([
                CallHandler { return_at: 5, land_at: 1000, frame_size: 64 },
                CallHandler { return_at: 900, land_at: 3, frame_size: 80 },
            ]),
            frame_size: 4096,
            alignment: 32,
            stack_maps: StackMaps { calls: Box::from([(5, 2), (900, 3)]), places: Box::from([8, 16, 4]) },
        }
    }

    #[test]
    fn tables_come_back_as_they_were() {
        let function = function();
        let mut bytes = Vec::new();
        function.put_tables(&mut bytes);
        bytes.push(9);
        let mut rest = &bytes[..];
        assert_eq!(CompiledFunction::take_tables(&mut rest, function.bytes.clone()), Some(function));
        assert_eq!(rest, [9]);
    }

    #[test]
    fn tables_are_looked_up_where_they_stand() {
        let function = function();
        let mut bytes = vec![77; 5];
        function.put_tables(&mut bytes);
        let end = bytes.len();
        bytes.push(1);
        let kept = KeptTables::new(bytes.into(), 5..end);
        for offset in 0..400 {
            let made = function.traps.iter().find(|trap| trap.0 == offset).map(|trap| trap.1);
            assert_eq!(kept.trap(offset), made, "{offset}");
        }
        assert_eq!((&kept.get().srclocs, &kept.get().handlers), (&function.srclocs, &function.handlers));
        let none = KeptTables::new(Arc::from([]), 3..9);
        assert!(none.trap(0).is_none() && none.get().traps.is_empty());
    }

    #[test]
    fn other_bytes_are_no_panic() {
        let mut bytes = Vec::new();
        function().put_tables(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(CompiledFunction::take_tables(&mut &bytes[..len], Box::default()), None, "{len}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[len] ^= 1 << bit;
                let _ = CompiledFunction::take_tables(&mut &changed[..], Box::default());
            }
        }
    }
}
