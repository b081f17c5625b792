//! Vectored transfers between guest memory and the host, through a buffer of bounded size.
//!
//! Invariant: the guest's list of pieces is copied out and checked once; what it changes
//! afterwards has no effect. A call moves at most its limit and then returns a short count.

use aura_host_abi::HostCall;

use crate::errno::{Errno, Fail};
use crate::limits::{PIECE_LEN, WasiLimits};

/// The pieces of one transfer and how far it came.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Address and length of each, none of length 0.
    pieces: Vec<(u64, u64)>,
    next: usize,
    /// What is done of the next piece.
    done: u64,
    left: u64,
    asked: u64,
}

impl Pieces {
    /// Copies the list `(address, count)` out of guest memory and checks that every piece is inside it.
    pub(crate) fn read(call: &HostCall<'_>, address: u32, count: u32, limits: &WasiLimits) -> Result<Self, Fail> {
        if count > limits.iovecs_max {
            return Err(Errno::INVAL.into());
        }
        let list = call.memory.read_vec(address.into(), u64::from(count) * 8)?;
        let mut pieces = Vec::with_capacity(count as usize);
        let mut total = 0;
        for row in list.chunks_exact(8) {
            let word = |at: usize| u32::from_le_bytes(row[at..at + 4].try_into().expect("4 of 8 bytes"));
            let (at, len) = (u64::from(word(0)), u64::from(word(4)));
            call.memory.check(at, len)?;
            if len > 0 {
                pieces.push((at, len));
                total += len;
            }
        }
        let left = total.min(limits.call_bytes_max).min(call.bytes_left());
        Ok(Self { pieces, next: 0, done: 0, left, asked: total })
    }

    /// Bytes this call may still move.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Bytes the guest asked to move.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    /// A buffer for a part of the transfer.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        vec![0; PIECE_LEN.min(self.left as usize)]
    }

    /// Goes on by at most `max` bytes inside one piece.
    fn step(&mut self, max: usize) -> Option<(u64, usize)> {
        let &(address, len) = self.pieces.get(self.next)?;
        let count = (len - self.done).min(self.left).min(max as u64);
        let at = address + self.done;
        self.done += count;
        self.left -= count;
        if self.done == len {
            self.next += 1;
            self.done = 0;
        }
        Some((at, count as usize))
    }

    /// Copies bytes into the next places of guest memory.
    pub(crate) fn put(&mut self, call: &mut HostCall<'_>, mut bytes: &[u8]) -> Result<(), Fail> {
        while !bytes.is_empty() {
            let (at, count) = self.step(bytes.len()).filter(|step| step.1 > 0).ok_or(Errno::OVERFLOW)?;
            let (piece, rest) = bytes.split_at(count);
            call.memory.write(at, piece)?;
            call.moved(count as u64);
            bytes = rest;
        }
        Ok(())
    }

    /// Fills a buffer from the next places of guest memory; returns how much of it.
    pub(crate) fn take(&mut self, call: &HostCall<'_>, into: &mut [u8]) -> Result<usize, Fail> {
        let mut filled = 0;
        while filled < into.len() {
            let Some((at, count)) = self.step(into.len() - filled).filter(|step| step.1 > 0) else { break };
            call.memory.read(at, &mut into[filled..filled + count])?;
            call.moved(count as u64);
            filled += count;
        }
        Ok(filled)
    }
}
