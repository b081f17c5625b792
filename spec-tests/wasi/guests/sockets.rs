//! A server of one connection: what it receives it sends back in capitals.
//!
//! It finds the listener that the host passed in at descriptor 3.

#![no_std]

#[macro_use]
mod preview1;

use preview1::*;

const LISTENER: u32 = 3;
const NONBLOCK: u32 = 4;
const PEEK: u32 = 1;
const WAITALL: u32 = 2;

start!(run);

fn run() {
    is(fd_prestat_get(LISTENER, out()), BADF);
    is(sock_accept(1, 0, out()), NOTSOCK);
    is(sock_accept(99, 0, out()), BADF);
    is(sock_accept(LISTENER, 1, out()), INVAL);
    is(sock_accept(LISTENER, NONBLOCK, out()), SUCCESS);
    let fd = word(out());
    is(fd_fdstat_get(fd, out()), SUCCESS);
    is(byte(out()), 6u8);
    is(half(out() + 2), NONBLOCK as u16);
    is(fd_fdstat_set_flags(fd, 0), SUCCESS);
    is(receive(fd, 3, PEEK), 3u32);
    is(receive(fd, 6, WAITALL), 6u32);
    holds(has(buffer(), b"first\n"));
    answer(fd, 6);
    loop {
        match receive(fd, 1000, 0) {
            0 => break,
            len => answer(fd, len),
        }
    }
    is(sock_shutdown(fd, 0), INVAL);
    is(sock_shutdown(fd, 2), SUCCESS);
    let (list, count) = pieces(&[(buffer(), 1)]);
    is(sock_send(fd, list, count, 0, out()), PIPE);
    is(sock_shutdown(1, 1), NOTSOCK);
    is(fd_close(fd), SUCCESS);
}

fn receive(fd: u32, len: u32, flags: u32) -> u32 {
    let (list, count) = pieces(&[(buffer(), len / 2), (buffer() + len / 2, len - len / 2)]);
    is(sock_recv(fd, list, count, flags, out(), out() + 4), SUCCESS);
    is(half(out() + 4), 0u16);
    word(out())
}

fn answer(fd: u32, len: u32) {
    for at in buffer()..buffer() + len {
        put(at, &[byte(at).to_ascii_uppercase()]);
    }
    let (list, count) = pieces(&[(buffer(), len)]);
    is(sock_send(fd, list, count, 0, out()), SUCCESS);
    is(word(out()), len);
}
