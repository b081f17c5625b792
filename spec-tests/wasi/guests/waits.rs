//! Waiting for times and for descriptors.

#![no_std]

#[macro_use]
mod preview1;

use preview1::*;

const EVENTS: u32 = 0x4000;
const MILLISECOND: u64 = 1_000_000;

start!(run);

fn run() {
    sleeping();
    until_a_time();
    ready_descriptors();
    wrong_ones();
    is(poll_oneoff(buffer(), out() + EVENTS, 0, out()), INVAL);
}

fn clock(index: u32, id: u32, timeout: u64, flags: u16) {
    let row = buffer() + 48 * index;
    put(row, &[0; 48]);
    put(row, &u64::from(index + 100).to_le_bytes());
    put(row + 16, &id.to_le_bytes());
    put(row + 24, &timeout.to_le_bytes());
    put(row + 40, &flags.to_le_bytes());
}

fn descriptor(index: u32, tag: u8, fd: u32) {
    let row = buffer() + 48 * index;
    put(row, &[0; 48]);
    put(row, &u64::from(index + 100).to_le_bytes());
    put(row + 8, &[tag]);
    put(row + 16, &fd.to_le_bytes());
}

#[track_caller]
fn poll(count: u32) -> u32 {
    is(poll_oneoff(buffer(), out() + EVENTS, count, out()), SUCCESS);
    word(out())
}

/// Checks an event: userdata, error and type.
#[track_caller]
fn event(index: u32, userdata: u64, errno: u32, tag: u8) {
    let row = out() + EVENTS + 32 * index;
    is(long(row), userdata);
    is(half(row + 8), errno as u16);
    is(byte(row + 10), tag);
}

fn now() -> u64 {
    is(clock_time_get(1, 1, out()), SUCCESS);
    long(out())
}

fn sleeping() {
    let start = now();
    clock(0, 1, 20 * MILLISECOND, 0);
    clock(1, 1, 1 << 60, 0);
    is(poll(2), 1u32);
    event(0, 100, SUCCESS, 0);
    let slept = now() - start;
    holds(slept >= 20 * MILLISECOND && slept < 5000 * MILLISECOND);
}

fn until_a_time() {
    clock(0, 1, now() + 5 * MILLISECOND, 1);
    is(poll(1), 1u32);
    event(0, 100, SUCCESS, 0);
    clock(0, 0, 1, 1);
    is(poll(1), 1u32);
}

fn ready_descriptors() {
    let file = open(DIR, "file", CREATE, ALL).unwrap_or(u32::MAX);
    descriptor(0, 1, file);
    descriptor(1, 2, file);
    descriptor(2, 2, 1);
    clock(3, 1, 1 << 60, 0);
    is(poll(4), 3u32);
    event(0, 100, SUCCESS, 1);
    event(1, 101, SUCCESS, 2);
    event(2, 102, SUCCESS, 2);
    is(fd_close(file), SUCCESS);
}

fn wrong_ones() {
    descriptor(0, 1, 99);
    descriptor(1, 1, 1);
    clock(2, 9, 1, 0);
    clock(3, 2, 1, 0);
    is(poll(4), 4u32);
    event(0, 100, BADF, 1);
    event(1, 101, NOTCAPABLE, 1);
    event(2, 102, INVAL, 0);
    event(3, 103, NOTSUP, 0);
    descriptor(0, 3, 1);
    is(poll_oneoff(buffer(), out() + EVENTS, 1, out()), INVAL);
}
