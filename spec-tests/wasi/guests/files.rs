//! What is done with open files and directories.

#![no_std]

#[macro_use]
mod preview1;

use preview1::*;

const REGULAR_FILE: u8 = 4;
const APPEND: u32 = 1;

start!(run);

fn run() {
    granted_directory();
    contents();
    positions();
    appending();
    sizes();
    times();
    rights();
    renumbering();
    listing();
    wrong_descriptors();
}

fn granted_directory() {
    is(fd_prestat_get(DIR, out()), SUCCESS);
    is(byte(out()), 0u8);
    is(word(out() + 4), 5u32);
    is(fd_prestat_dir_name(DIR, buffer(), 4), NAMETOOLONG);
    is(fd_prestat_dir_name(DIR, buffer(), 6), SUCCESS);
    holds(has(buffer(), b"/data\0"));
    is(fd_prestat_get(DIR + 1, out()), BADF);
}

/// Opens a file that is new or empty.
fn fresh(name: &str) -> u32 {
    open(DIR, name, CREATE | TRUNCATE, ALL).unwrap_or(u32::MAX)
}

fn contents() {
    let fd = fresh("contents");
    is(write(fd, b"hello world").unwrap_or(0), 11u32);
    let (rows, count) = pieces(&[(buffer(), 3), (buffer() + 100, 0), (buffer() + 16, 5)]);
    is(fd_pread(fd, rows, count, 2, out()), SUCCESS);
    is(word(out()), 8u32);
    holds(has(buffer(), b"llo") && has(buffer() + 16, b" worl"));
    put(buffer(), b"J");
    let (rows, count) = pieces(&[(buffer(), 1)]);
    is(fd_pwrite(fd, rows, count, 0, out()), SUCCESS);
    is(fd_pwrite(fd, rows, count, 12, out()), SUCCESS);
    is(fd_seek(fd, 0, 0, out()), SUCCESS);
    is(read(fd, 100).unwrap_or(0), 13u32);
    holds(has(buffer(), b"Jello world\0J"));
    is(read(fd, 100).unwrap_or(9), 0u32);
    is(fd_datasync(fd), SUCCESS);
    is(fd_sync(fd), SUCCESS);
    for advice in 0..6 {
        is(fd_advise(fd, 0, 5, advice), SUCCESS);
    }
    is(fd_advise(fd, 0, 5, 6), INVAL);
    is(fd_close(fd), SUCCESS);
    is(fd_close(fd), BADF);
}

fn positions() {
    let fd = fresh("positions");
    is(write(fd, b"0123456789").unwrap_or(0), 10u32);
    for (offset, whence, position) in [(0i64, 0, 0u64), (4, 1, 4), (-1, 1, 3), (-2, 2, 8), (5, 2, 15)] {
        is(fd_seek(fd, offset, whence, out()), SUCCESS);
        is(long(out()), position);
        is(fd_tell(fd, out()), SUCCESS);
        is(long(out()), position);
    }
    is(fd_seek(fd, -1, 0, out()), INVAL);
    is(fd_seek(fd, -100, 1, out()), INVAL);
    is(fd_seek(fd, 0, 3, out()), INVAL);
    is(fd_close(fd), SUCCESS);
}

fn appending() {
    let fd = open_with(DIR, "appending", 0, CREATE, ALL, APPEND).unwrap_or(u32::MAX);
    is(fd_fdstat_get(fd, out()), SUCCESS);
    is(byte(out()), REGULAR_FILE);
    is(half(out() + 2), APPEND as u16);
    is(write(fd, b"ab").unwrap_or(0), 2u32);
    is(fd_seek(fd, 0, 0, out()), SUCCESS);
    is(write(fd, b"cd").unwrap_or(0), 2u32);
    is(fd_fdstat_set_flags(fd, 0), SUCCESS);
    is(fd_seek(fd, 0, 0, out()), SUCCESS);
    is(write(fd, b"X").unwrap_or(0), 1u32);
    is(fd_seek(fd, 0, 0, out()), SUCCESS);
    is(read(fd, 10).unwrap_or(0), 4u32);
    holds(has(buffer(), b"Xbcd"));
    is(fd_fdstat_set_flags(fd, 0x20), INVAL);
    is(fd_close(fd), SUCCESS);
}

fn size(fd: u32) -> u64 {
    is(fd_filestat_get(fd, out()), SUCCESS);
    is(byte(out() + 16), REGULAR_FILE);
    is(long(out() + 24), 1u64);
    long(out() + 32)
}

fn sizes() {
    let fd = fresh("sizes");
    is(size(fd), 0u64);
    is(fd_filestat_set_size(fd, 100), SUCCESS);
    is(size(fd), 100u64);
    is(fd_allocate(fd, 50, 100), SUCCESS);
    is(size(fd), 150u64);
    is(fd_allocate(fd, 0, 10), SUCCESS);
    is(size(fd), 150u64);
    is(fd_allocate(fd, 0, 0), INVAL);
    is(fd_filestat_set_size(fd, 3), SUCCESS);
    is(size(fd), 3u64);
    is(fd_filestat_set_size(fd, u64::MAX), INVAL);
    is(fd_close(fd), SUCCESS);
}

fn times() {
    const ACCESS: u32 = 1;
    const ACCESS_NOW: u32 = 2;
    const MODIFICATION: u32 = 4;
    let fd = fresh("times");
    is(fd_filestat_set_times(fd, 5, 1_000_000_007, ACCESS | MODIFICATION), SUCCESS);
    is(fd_filestat_get(fd, out()), SUCCESS);
    is(long(out() + 40), 5u64);
    is(long(out() + 48), 1_000_000_007u64);
    is(fd_filestat_set_times(fd, 0, 9, MODIFICATION), SUCCESS);
    is(fd_filestat_get(fd, out()), SUCCESS);
    is(long(out() + 40), 5u64);
    is(long(out() + 48), 9u64);
    is(fd_filestat_set_times(fd, 0, 0, ACCESS_NOW), SUCCESS);
    is(fd_filestat_get(fd, out()), SUCCESS);
    holds(long(out() + 40) > 1_700_000_000_000_000_000 && long(out() + 48) == 9);
    is(fd_filestat_set_times(fd, 0, 0, ACCESS | ACCESS_NOW), INVAL);
    is(fd_close(fd), SUCCESS);
}

fn rights() {
    let fd = fresh("rights");
    is(fd_fdstat_get(fd, out()), SUCCESS);
    let (base, inheriting) = (long(out() + 8), long(out() + 16));
    is(base & (FD_READ | FD_WRITE | FD_SEEK), FD_READ | FD_WRITE | FD_SEEK);
    is(fd_fdstat_set_rights(fd, base, inheriting), SUCCESS);
    is(fd_fdstat_set_rights(fd, base & !FD_WRITE, inheriting), SUCCESS);
    is(write(fd, b"x").err().unwrap_or(0), NOTCAPABLE);
    is(fd_fdstat_set_rights(fd, base, inheriting), NOTCAPABLE);
    is(fd_fdstat_get(fd, out()), SUCCESS);
    is(long(out() + 8), base & !FD_WRITE);
    is(read(fd, 1).unwrap_or(9), 0u32);
    is(fd_close(fd), SUCCESS);
}

fn renumbering() {
    let (a, b) = (fresh("a"), fresh("b"));
    is(write(a, b"a").unwrap_or(0), 1u32);
    is(fd_renumber(a, b), SUCCESS);
    is(fd_close(a), BADF);
    is(size(b), 1u64);
    is(fd_renumber(b, a), BADF);
    is(fd_renumber(a, b), BADF);
    is(fd_renumber(b, b), SUCCESS);
    is(fd_close(b), SUCCESS);
}

/// Counts the names below a directory, reading it in pieces of this length.
fn count(dir: u32, len: u32) -> u32 {
    let (mut cookie, mut names) = (0, 0);
    loop {
        is(fd_readdir(dir, buffer(), len, cookie, out()), SUCCESS);
        let (used, mut at) = (word(out()), 0);
        while at + 24 <= used && at + 24 + word(buffer() + at + 16) <= used {
            cookie = long(buffer() + at);
            at += 24 + word(buffer() + at + 16);
            names += 1;
        }
        if used < len {
            return names;
        }
    }
}

fn listing() {
    is(at(create_directory, DIR, "listing"), SUCCESS);
    let dir = open(DIR, "listing", DIRECTORY, ALL).unwrap_or(u32::MAX);
    is(count(dir, 4096), 2u32);
    for index in 0..50u8 {
        let name = [b'f', b'0' + index / 10, b'0' + index % 10];
        create(dir, core::str::from_utf8(&name).unwrap_or(""));
    }
    for len in [64, 100, 4096, 30_000] {
        is(count(dir, len), 52u32);
    }
    is(fd_readdir(dir, buffer(), 100, u64::MAX, out()), INVAL);
    is(fd_readdir(open(DIR, "a", 0, FD_READ).unwrap_or(0), buffer(), 100, 0, out()), NOTDIR);
    is(fd_close(dir), SUCCESS);
}

extern "C" fn create_directory(dir: u32, path: u32, len: u32) -> u32 {
    path_create_directory(dir, path, len)
}

fn wrong_descriptors() {
    is(read(DIR, 1).err().unwrap_or(0), ISDIR);
    is(fd_seek(DIR, 0, 0, out()), ISDIR);
    is(fd_tell(DIR, out()), ISDIR);
    is(fd_allocate(DIR, 0, 1), ISDIR);
    is(fd_filestat_set_size(DIR, 0), ISDIR);
    is(fd_seek(2, 0, 0, out()), SPIPE);
    for fd in [99, u32::MAX] {
        is(fd_sync(fd), BADF);
        is(fd_datasync(fd), BADF);
        is(fd_fdstat_get(fd, out()), BADF);
        is(fd_filestat_get(fd, out()), BADF);
    }
}
