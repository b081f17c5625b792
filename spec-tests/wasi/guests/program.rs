//! Arguments, environment, clocks, random bytes, and the ways to end.
//!
//! Started with an argument `raise` it ends by a signal, with `exit` by an exit code.

#![no_std]

#[macro_use]
mod preview1;

use preview1::*;

start!(run);

fn run() {
    arguments();
    environment();
    clocks();
    random();
    is(sched_yield(), SUCCESS);
    is(proc_raise(0), SUCCESS);
    is(proc_raise(99), INVAL);
    end();
}

/// The sizes that a `*_sizes_get` tells, which the strings of `get` then have.
#[track_caller]
fn strings(sizes_get: extern "C" fn(u32, u32) -> u32, get: extern "C" fn(u32, u32) -> u32) -> u32 {
    is(sizes_get(out(), out() + 4), SUCCESS);
    let (count, bytes) = (word(out()), word(out() + 4));
    is(get(list(), buffer()), SUCCESS);
    let mut at = buffer();
    for index in 0..count {
        is(word(list() + 4 * index), at);
        while byte(at) != 0 {
            at += 1;
        }
        at += 1;
    }
    is(at - buffer(), bytes);
    count
}

fn arguments() {
    is(strings(args_sizes_get, args_get), 3u32);
    holds(has(word(list()), b"program\0") && has(word(list() + 8), "ü\0".as_bytes()));
}

fn environment() {
    is(strings(environ_sizes_get, environ_get), 2u32);
    holds(has(word(list()), b"A=b=c\0") && has(word(list() + 4), b"EMPTY=\0"));
}

fn clocks() {
    for id in 0..4 {
        is(clock_res_get(id, out()), SUCCESS);
        holds(long(out()) > 0);
        is(clock_time_get(id, 1, out()), SUCCESS);
        let first = long(out());
        is(clock_time_get(id, 1, out()), SUCCESS);
        holds(id == 0 || long(out()) >= first);
    }
    is(clock_time_get(0, 1, out()), SUCCESS);
    holds(long(out()) > 1_700_000_000_000_000_000);
    is(clock_time_get(4, 1, out()), INVAL);
    is(clock_res_get(4, out()), INVAL);
}

fn random() {
    is(random_get(buffer(), 64), SUCCESS);
    is(random_get(buffer() + 64, 64), SUCCESS);
    holds((0..64).any(|index| byte(buffer() + index) != byte(buffer() + 64 + index)));
    holds((0..64).any(|index| byte(buffer() + index) != 0));
    is(random_get(buffer(), 0), SUCCESS);
}

fn end() {
    is(args_get(list(), buffer()), SUCCESS);
    let how = word(list() + 4);
    if has(how, b"raise\0") {
        proc_raise(6);
    }
    if has(how, b"exit\0") {
        proc_exit(7);
    }
}
