//! WASI preview 1 as a guest imports it, and the checks that the guests of this folder share.
//!
//! Addresses are numbers into one static arena, which the host reads and writes behind the compiler's
//! back: every access to it is volatile. A check that fails prints its place and ends with exit code 1.
//!
//! # Safety
//! The imports are safe to call: each takes numbers, and all addresses given to them lie in the arena.
//! Trusts: the host writes where it is told to. A guest has one thread.

#![allow(dead_code)]

use core::cell::UnsafeCell;
use core::panic::Location;

/// Makes a function the start of the program.
macro_rules! start {
    ($run:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn _start() {
            $run()
        }
    };
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    pub safe fn args_get(pointers: u32, bytes: u32) -> u32;
    pub safe fn args_sizes_get(count: u32, bytes: u32) -> u32;
    pub safe fn environ_get(pointers: u32, bytes: u32) -> u32;
    pub safe fn environ_sizes_get(count: u32, bytes: u32) -> u32;
    pub safe fn clock_res_get(id: u32, out: u32) -> u32;
    pub safe fn clock_time_get(id: u32, precision: u64, out: u32) -> u32;
    pub safe fn fd_advise(fd: u32, offset: u64, len: u64, advice: u32) -> u32;
    pub safe fn fd_allocate(fd: u32, offset: u64, len: u64) -> u32;
    pub safe fn fd_close(fd: u32) -> u32;
    pub safe fn fd_datasync(fd: u32) -> u32;
    pub safe fn fd_fdstat_get(fd: u32, out: u32) -> u32;
    pub safe fn fd_fdstat_set_flags(fd: u32, flags: u32) -> u32;
    pub safe fn fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) -> u32;
    pub safe fn fd_filestat_get(fd: u32, out: u32) -> u32;
    pub safe fn fd_filestat_set_size(fd: u32, size: u64) -> u32;
    pub safe fn fd_filestat_set_times(fd: u32, access: u64, modification: u64, flags: u32) -> u32;
    pub safe fn fd_pread(fd: u32, pieces: u32, count: u32, offset: u64, out: u32) -> u32;
    pub safe fn fd_prestat_get(fd: u32, out: u32) -> u32;
    pub safe fn fd_prestat_dir_name(fd: u32, buffer: u32, len: u32) -> u32;
    pub safe fn fd_pwrite(fd: u32, pieces: u32, count: u32, offset: u64, out: u32) -> u32;
    pub safe fn fd_read(fd: u32, pieces: u32, count: u32, out: u32) -> u32;
    pub safe fn fd_readdir(fd: u32, buffer: u32, len: u32, cookie: u64, out: u32) -> u32;
    pub safe fn fd_renumber(from: u32, to: u32) -> u32;
    pub safe fn fd_seek(fd: u32, offset: i64, whence: u32, out: u32) -> u32;
    pub safe fn fd_sync(fd: u32) -> u32;
    pub safe fn fd_tell(fd: u32, out: u32) -> u32;
    pub safe fn fd_write(fd: u32, pieces: u32, count: u32, out: u32) -> u32;
    pub safe fn path_create_directory(dir: u32, path: u32, len: u32) -> u32;
    pub safe fn path_filestat_get(dir: u32, lookup: u32, path: u32, len: u32, out: u32) -> u32;
    pub safe fn path_filestat_set_times(
        dir: u32,
        lookup: u32,
        path: u32,
        len: u32,
        access: u64,
        modification: u64,
        flags: u32,
    ) -> u32;
    pub safe fn path_link(dir: u32, lookup: u32, path: u32, len: u32, new_dir: u32, new_path: u32, new_len: u32)
    -> u32;
    pub safe fn path_open(
        dir: u32,
        lookup: u32,
        path: u32,
        len: u32,
        open: u32,
        rights: u64,
        inheriting: u64,
        flags: u32,
        out: u32,
    ) -> u32;
    pub safe fn path_readlink(dir: u32, path: u32, len: u32, buffer: u32, buffer_len: u32, out: u32) -> u32;
    pub safe fn path_remove_directory(dir: u32, path: u32, len: u32) -> u32;
    pub safe fn path_rename(dir: u32, path: u32, len: u32, new_dir: u32, new_path: u32, new_len: u32) -> u32;
    pub safe fn path_symlink(target: u32, target_len: u32, dir: u32, path: u32, len: u32) -> u32;
    pub safe fn path_unlink_file(dir: u32, path: u32, len: u32) -> u32;
    pub safe fn poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32) -> u32;
    pub safe fn proc_exit(code: u32) -> !;
    pub safe fn proc_raise(signal: u32) -> u32;
    pub safe fn random_get(buffer: u32, len: u32) -> u32;
    pub safe fn sched_yield() -> u32;
    pub safe fn sock_accept(fd: u32, flags: u32, out: u32) -> u32;
    pub safe fn sock_recv(fd: u32, pieces: u32, count: u32, flags: u32, len_out: u32, flags_out: u32) -> u32;
    pub safe fn sock_send(fd: u32, pieces: u32, count: u32, flags: u32, out: u32) -> u32;
    pub safe fn sock_shutdown(fd: u32, how: u32) -> u32;
}

pub const SUCCESS: u32 = 0;
pub const AGAIN: u32 = 6;
pub const BADF: u32 = 8;
pub const EXIST: u32 = 20;
pub const INVAL: u32 = 28;
pub const ISDIR: u32 = 31;
pub const LOOP: u32 = 32;
pub const NAMETOOLONG: u32 = 37;
pub const NOENT: u32 = 44;
pub const NOTDIR: u32 = 54;
pub const NOTEMPTY: u32 = 55;
pub const NOTSOCK: u32 = 57;
pub const NOTSUP: u32 = 58;
pub const PERM: u32 = 63;
pub const PIPE: u32 = 64;
pub const SPIPE: u32 = 70;
pub const NOTCAPABLE: u32 = 76;

pub const FD_READ: u64 = 1 << 1;
pub const FD_SEEK: u64 = 1 << 2;
pub const FD_WRITE: u64 = 1 << 6;
pub const ALL: u64 = (1 << 30) - 1;

pub const CREATE: u32 = 1;
pub const DIRECTORY: u32 = 2;
pub const EXCLUSIVE: u32 = 4;
pub const TRUNCATE: u32 = 8;

pub const FOLLOW: u32 = 1;
/// The first descriptor that is not a stream's.
pub const DIR: u32 = 3;

const ARENA_LEN: usize = 64 << 10;

#[repr(align(16))]
struct Arena(UnsafeCell<[u8; ARENA_LEN]>);

// SAFETY: a guest here has one thread.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_LEN]));

/// Places in the arena, far enough apart for what these guests do.
pub fn out() -> u32 {
    ARENA.0.get() as u32
}

pub fn list() -> u32 {
    out() + 0x100
}

pub fn path_at() -> u32 {
    out() + 0x1000
}

pub fn path2_at() -> u32 {
    out() + 0x3000
}

pub fn buffer() -> u32 {
    out() + 0x8000
}

pub fn put(address: u32, bytes: &[u8]) {
    for (byte, at) in bytes.iter().zip(address..) {
        // SAFETY: the addresses above lie in the arena, and nothing here is longer than the space after it.
        unsafe { (at as *mut u8).write_volatile(*byte) };
    }
}

pub fn byte(address: u32) -> u8 {
    // SAFETY: as in `put`.
    unsafe { (address as *const u8).read_volatile() }
}

pub fn half(address: u32) -> u16 {
    u16::from_le_bytes([byte(address), byte(address + 1)])
}

pub fn word(address: u32) -> u32 {
    u32::from(half(address)) | u32::from(half(address + 2)) << 16
}

pub fn long(address: u32) -> u64 {
    u64::from(word(address)) | u64::from(word(address + 4)) << 32
}

/// Whether the arena has these bytes there.
pub fn has(address: u32, bytes: &[u8]) -> bool {
    bytes.iter().zip(address..).all(|(expected, at)| byte(at) == *expected)
}

/// Puts a path and gives its address and length.
pub fn path(text: &str) -> (u32, u32) {
    put(path_at(), text.as_bytes());
    (path_at(), text.len() as u32)
}

pub fn path2(text: &str) -> (u32, u32) {
    put(path2_at(), text.as_bytes());
    (path2_at(), text.len() as u32)
}

/// Describes pieces of memory; gives the address of the list and its length.
pub fn pieces(rows: &[(u32, u32)]) -> (u32, u32) {
    for (row, at) in rows.iter().zip((list()..).step_by(8)) {
        put(at, &row.0.to_le_bytes());
        put(at + 4, &row.1.to_le_bytes());
    }
    (list(), rows.len() as u32)
}

pub fn open_with(dir: u32, name: &str, lookup: u32, open: u32, rights: u64, flags: u32) -> Result<u32, u32> {
    let (at, len) = path(name);
    match path_open(dir, lookup, at, len, open, rights, rights, flags, out()) {
        SUCCESS => Ok(word(out())),
        errno => Err(errno),
    }
}

pub fn open(dir: u32, name: &str, open: u32, rights: u64) -> Result<u32, u32> {
    open_with(dir, name, FOLLOW, open, rights, 0)
}

/// Makes an empty file.
#[track_caller]
pub fn create(dir: u32, name: &str) {
    let fd = open(dir, name, CREATE | EXCLUSIVE, FD_WRITE);
    is(fd.err().unwrap_or(SUCCESS), SUCCESS);
    is(fd_close(fd.unwrap_or(0)), SUCCESS);
}

pub fn stat(dir: u32, name: &str, lookup: u32) -> u32 {
    let (at, len) = path(name);
    path_filestat_get(dir, lookup, at, len, out())
}

/// A function `(dir, path, len)`.
pub fn at(function: extern "C" fn(u32, u32, u32) -> u32, dir: u32, name: &str) -> u32 {
    let (at, len) = path(name);
    function(dir, at, len)
}

pub fn write(fd: u32, bytes: &[u8]) -> Result<u32, u32> {
    put(buffer(), bytes);
    let (list, count) = pieces(&[(buffer(), bytes.len() as u32)]);
    match fd_write(fd, list, count, out()) {
        SUCCESS => Ok(word(out())),
        errno => Err(errno),
    }
}

pub fn read(fd: u32, len: u32) -> Result<u32, u32> {
    let (list, count) = pieces(&[(buffer(), len)]);
    match fd_read(fd, list, count, out()) {
        SUCCESS => Ok(word(out())),
        errno => Err(errno),
    }
}

/// Prints decimal digits to standard error.
fn say_number(number: u64) {
    if number >= 10 {
        say_number(number / 10);
    }
    say(&[b'0' + (number % 10) as u8]);
}

fn say(bytes: &[u8]) {
    put(buffer(), bytes);
    let (list, count) = pieces(&[(buffer(), bytes.len() as u32)]);
    fd_write(2, list, count, out());
}

#[track_caller]
fn fail(place: &Location<'_>, what: &[u64]) -> ! {
    say(place.file().as_bytes());
    say(b":");
    say_number(place.line().into());
    for number in what {
        say(b" ");
        say_number(*number);
    }
    say(b"\n");
    proc_exit(1)
}

/// Ends the guest unless the two numbers are the same.
#[track_caller]
pub fn is(actual: impl Into<u64>, expected: impl Into<u64>) {
    let (actual, expected) = (actual.into(), expected.into());
    if actual != expected {
        fail(Location::caller(), &[actual, expected]);
    }
}

/// Ends the guest unless this is so.
#[track_caller]
pub fn holds(condition: bool) {
    if !condition {
        fail(Location::caller(), &[]);
    }
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => fail(place, &[]),
        None => proc_exit(1),
    }
}
