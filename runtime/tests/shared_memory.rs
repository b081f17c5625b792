//! Host pages mapped into a linear memory: guest and host share the bytes, nothing is copied.

mod common;

use std::io::Write as _;
use std::os::fd::OwnedFd;

use aura_runtime::{ErrorKind, Memory, TrapCode, Val};
use common::{everywhere, instantiate};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

const TEN_MEGABYTES: u64 = 10 << 20;

const SUM: &str = r#"(module (memory (export "m") 200)
    (func (export "sum") (param i32 i32) (result i64) (local $sum i64)
        (loop $next
            (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.load (local.get 0))))
            (local.set 0 (i32.add (local.get 0) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get 0) (local.get 1))))
        (local.get $sum))
    (func (export "store") (param i32 i64) (i64.store (local.get 0) (local.get 1))))"#;

/// A sealed file of these bytes that only its holders can reach.
fn memfd(bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("shared", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("makes a memfd");
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).expect("the memfd has room");
    fcntl_add_seals(&file, seals).expect("seals");
    file.into()
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
}

fn model_sum(bytes: &[u8]) -> i64 {
    words(bytes).fold(0_u64, |sum, word| sum.wrapping_mul(31).wrapping_add(word)) as i64
}

fn content() -> Vec<u8> {
    (0..TEN_MEGABYTES / 8).flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

/// What the system says of the mappings in a range of addresses: kilobytes of the file's pages that are
/// present, and kilobytes that are the process's own copies.
fn present_and_copied(range: std::ops::Range<usize>) -> (u64, u64) {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("the system has procfs");
    let (mut inside, mut present, mut copied) = (false, 0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = first.split_once('-').map(|(a, b)| (address(a), address(b))) {
            inside = range.start <= start && end <= range.end && line.contains("memfd:shared");
        } else if inside && (first == "Rss:" || first == "Anonymous:") {
            let kilobytes: u64 = words.next().and_then(|number| number.parse().ok()).expect("a number");
            *(if first == "Rss:" { &mut present } else { &mut copied }) += kilobytes;
        }
    }
    (present, copied)
}

/// The guest reads ten megabytes of a file of the host: every page of the range is the file's own and none a
/// copy, and each side sees what the other writes later.
#[test]
fn ten_megabytes_of_a_memfd_are_read_without_a_copy() {
    let bytes = content();
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, SUM);
        let memory = instance.get_memory(&store, "m").expect(name);
        let sum = instance.get_typed_func::<(u32, u32), i64>(&store, "sum").expect(name);
        let at = 1 << 20;
        let range = (at, at + TEN_MEGABYTES as u32);
        let file = memfd(&bytes, SealFlags::SHRINK);
        // SAFETY: the file is sealed against shrinking; no Rust reference to its bytes is held while the guest runs.
        unsafe { memory.map_host_pages(&mut store, at.into(), &file, TEN_MEGABYTES, true) }.expect(name);
        assert_eq!(sum.call(&mut store, range).expect(name), model_sum(&bytes), "{name}");
        let place = memory.data(&store)[at as usize..].as_ptr().addr();
        let place = place..place + TEN_MEGABYTES as usize;
        assert_eq!(present_and_copied(place.clone()), (TEN_MEGABYTES >> 10, 0), "{name}: every page is the file's own");

        rustix::io::pwrite(&file, &7_u64.to_le_bytes(), 8 << 10).expect(name);
        let mut changed = bytes.clone();
        changed[8 << 10..][..8].copy_from_slice(&7_u64.to_le_bytes());
        assert_eq!(sum.call(&mut store, range).expect(name), model_sum(&changed), "{name}: the host's write is seen");

        let set = instance.get_typed_func::<(u32, u64), ()>(&store, "store").expect(name);
        set.call(&mut store, (at + 80, 99)).expect(name);
        let mut seen = [0; 8];
        rustix::io::pread(&file, &mut seen, 80).expect(name);
        assert_eq!(u64::from_le_bytes(seen), 99, "{name}: the guest's write is seen");
        assert_eq!(present_and_copied(place).1, 0, "{name}: writing copied no page");
        let end = memory.data_size(&store) as u32;
        let error = sum.call(&mut store, (end - 4, end)).expect_err(name);
        assert_eq!(error.trap().expect("a trap").code(), TrapCode::MemoryOutOfBounds, "{name}");
    });
}

/// Pages that are not lent for writing are the guest's to change, and the file stays as it was.
#[test]
fn pages_lent_for_reading_are_copied_when_the_guest_writes() {
    let bytes = content();
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, SUM);
        let memory = instance.get_memory(&store, "m").expect(name);
        let file = memfd(&bytes[..1 << 16], SealFlags::SHRINK | SealFlags::WRITE);
        // SAFETY: the file is sealed against any change.
        unsafe { memory.map_host_pages(&mut store, 0, &file, 1 << 16, false) }.expect(name);
        let set = instance.get_func(&store, "store").expect(name);
        set.call(&mut store, &[Val::I32(8), Val::I64(-1)], &mut []).expect(name);
        assert_eq!(words(&memory.data(&store)[..16]).collect::<Vec<_>>(), [0, u64::MAX], "{name}");
        let mut seen = [0; 16];
        rustix::io::pread(&file, &mut seen, 0).expect(name);
        assert_eq!(seen, bytes[..16], "{name}: the file is unchanged");
    });
}

/// Ranges that are not whole pages inside the memory, and files that could shrink, are refused.
#[test]
fn ranges_and_files_that_do_not_fit_are_refused() {
    let bytes = vec![1; 1 << 16];
    everywhere(|name, engine| {
        let (mut store, instance) = instantiate(engine, SUM);
        let memory = instance.get_memory(&store, "m").expect(name);
        let sealed = memfd(&bytes, SealFlags::SHRINK);
        let loose = memfd(&bytes, SealFlags::empty());
        let size = 200 << 16;
        let mut refused = |memory: &Memory, at: u64, file: &OwnedFd, len: u64| {
            // SAFETY: nothing is mapped.
            let error = unsafe { memory.map_host_pages(&mut store, at, file, len, true) }.expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Resource, "{name} {at} {len}: {error}");
        };
        for (at, len) in
            [(1, 4096), (0, 1), (0, 0), (size, 4096), (size - 4096, 8192), (u64::MAX - 4095, 4096), (0, 1 << 17)]
        {
            refused(&memory, at, &sealed, len);
        }
        refused(&memory, 0, &loose, 4096);
        assert!(memory.data(&store).iter().all(|byte| *byte == 0), "{name}");
    });
}
