//! Buffers that host and guests share: windows and loans, on every engine and bounds mode. The ids name the hazards
//! of data that is shared and not copied.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aura_runtime::{
    Access, AuditEvent, AuditOutcome, AuditSink, Caller, Config, Engine, Error, Features, Grant, GrantSpec, Instance,
    Linker, Loan, Memory, Module, Ring, SharedBuffer, Store, Strategy, Subject, Terms, TrapCode, Window,
};
use common::{engines, everywhere_with};

const PAGE: u64 = 65536;
const HOST_PAGE: u64 = 4096;

/// One export for each way to touch memory, all of them at an address.
const TOUCHES: &str = r#"(module (memory (export "memory") 2 2000) (data $d "0123456789abcdef")
    (func (export "load8") (param i32) (result i64) (i64.load8_u (local.get 0)))
    (func (export "load64") (param i32) (result i64) (i64.load (local.get 0)))
    (func (export "load128") (param i32) (result i64) (i64x2.extract_lane 0 (v128.load (local.get 0))))
    (func (export "atomic.load") (param i32) (result i64) (i64.atomic.load (local.get 0)))
    (func (export "copy out") (param i32) (result i64)
        (memory.copy (i32.const 64) (local.get 0) (i32.const 16)) (i64.load (i32.const 64)))
    (func (export "store8") (param i32) (i64.store8 (local.get 0) (i64.const 7)))
    (func (export "store64") (param i32) (i64.store (local.get 0) (i64.const 7)))
    (func (export "store128") (param i32) (v128.store (local.get 0) (v128.const i64x2 7 7)))
    (func (export "lane") (param i32) (v128.store32_lane 2 (local.get 0) (v128.const i64x2 7 7)))
    (func (export "atomic.store") (param i32) (i64.atomic.store (local.get 0) (i64.const 7)))
    (func (export "rmw") (param i32) (drop (i32.atomic.rmw.add (local.get 0) (i32.const 7))))
    (func (export "rmw8") (param i32) (drop (i32.atomic.rmw8.xchg_u (local.get 0) (i32.const 7))))
    (func (export "cmpxchg") (param i32)
        (drop (i64.atomic.rmw.cmpxchg (local.get 0) (i64.load (local.get 0)) (i64.const 7))))
    (func (export "fill") (param i32) (memory.fill (local.get 0) (i32.const 7) (i32.const 16)))
    (func (export "copy") (param i32) (memory.copy (local.get 0) (i32.const 0) (i32.const 16)))
    (func (export "init") (param i32) (memory.init $d (local.get 0) (i32.const 0) (i32.const 16)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "spin") (param i32) (loop $l (drop (i64.load (local.get 0))) (br $l)))
    (func (export "sum") (param i32 i32) (result i64) (local $sum i64)
        (loop $next
            (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.load (local.get 0))))
            (local.set 0 (i32.add (local.get 0) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get 0) (local.get 1))))
        (local.get $sum)))"#;

const READS: [&str; 5] = ["load8", "load64", "load128", "atomic.load", "copy out"];
const WRITES: [&str; 11] =
    ["store8", "store64", "store128", "lane", "atomic.store", "rmw", "rmw8", "cmpxchg", "fill", "copy", "init"];

fn threads(config: &mut Config) {
    config.features(Features::default().with("threads", true).expect("known"));
}

fn engine(strategy: Strategy) -> Engine {
    let mut config = Config::new();
    threads(config.strategy(strategy));
    Engine::new(&config).expect("this machine has every tier")
}

/// A store with an instance, a window and grants of reading and writing.
struct Fixture {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    window: Window,
    read: Grant,
    write: Grant,
}

impl Fixture {
    fn new(engine: &Engine, window: u64) -> Self {
        let module = Module::new(engine, TOUCHES).expect("valid");
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, &module).expect("links");
        let memory = instance.get_memory(&store, "memory").expect("exported");
        let window = memory.add_window(&mut store, window).expect("there is room");
        let mut grant = |spec| store.grant(Subject::Store, spec).expect("a grant");
        let (read, write) = (grant(GrantSpec::map_read("input")), grant(GrantSpec::map_write("output")));
        Self { store, instance, memory, window, read, write }
    }

    fn lend(&mut self, at: u64, buffer: &SharedBuffer, access: Access) -> Loan {
        self.try_lend(at, buffer, 0..buffer.len(), access).expect("lends")
    }

    fn try_lend(
        &mut self,
        at: u64,
        buffer: &SharedBuffer,
        bytes: std::ops::Range<u64>,
        access: Access,
    ) -> Result<Loan, Error> {
        let grant = if access == Access::Write { &self.write } else { &self.read };
        self.window.lend(&mut self.store, grant, at, buffer, bytes, access)
    }

    fn read(&mut self, name: &str, at: u64) -> Result<i64, Error> {
        self.instance.get_typed_func::<u32, i64>(&self.store, name).expect(name).call(&mut self.store, at as u32)
    }

    fn write(&mut self, name: &str, at: u64) -> Result<(), Error> {
        self.instance.get_typed_func::<u32, ()>(&self.store, name).expect(name).call(&mut self.store, at as u32)
    }
}

#[track_caller]
fn assert_trap<T: std::fmt::Debug>(result: Result<T, Error>, code: TrapCode, at: u64, name: &str) -> Error {
    let error = result.expect_err(name);
    let trap = error.trap().unwrap_or_else(|| panic!("{name}: {error}"));
    assert_eq!((trap.code(), trap.fault_address()), (code, Some(at)), "{name}: {error}");
    assert!(trap.frames().first().is_some_and(|frame| frame.module_offset.is_some()), "{name}: {error}");
    error
}

fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8 | 1).collect()
}

fn model_sum(bytes: &[u8]) -> i64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    words.fold(0_u64, |sum, word| sum.wrapping_mul(31).wrapping_add(word)) as i64
}

/// Guest and host see the same bytes, each what the other writes later, and the system says that none was copied.
#[test]
fn ten_megabytes_are_read_and_written_without_a_copy() {
    let bytes = pattern(10 << 20);
    everywhere_with(threads, |name, engine| {
        let buffer = SharedBuffer::from_bytes(&bytes).expect(name);
        let mut guest = Fixture::new(engine, 11 << 20);
        let loan = guest.lend(PAGE, &buffer, Access::Write);
        let (at, len) = loan.as_args();
        assert_eq!((u64::from(at), u64::from(len)), (guest.window.start() + PAGE, 10 << 20), "{name}");
        let sum = guest.instance.get_typed_func::<(u32, u32), i64>(&guest.store, "sum").expect(name);
        assert_eq!(sum.call(&mut guest.store, (at, at + len)).expect(name), model_sum(&bytes), "{name}");
        buffer.write(8 << 10, &[1; 8]).expect(name);
        assert_eq!(guest.read("load64", loan.address() + (8 << 10)).expect(name), 0x0101_0101_0101_0101, "{name}");
        for write in WRITES {
            buffer.write(80, &[0; 16]).expect(name);
            guest.write(write, loan.address() + 80).expect(write);
            let mut seen = [0; 1];
            buffer.read(80, &mut seen).expect(name);
            let expected = match write {
                "copy" => 0,
                "init" => b'0',
                _ => 7,
            };
            assert_eq!(seen[0], expected, "{name} {write}");
        }
        assert_eq!(anonymous_kilobytes(), 0, "{name}: no page of the buffer was copied");
    });
}

/// What the process has copied of mapped buffers.
fn anonymous_kilobytes() -> u64 {
    let mut text = String::new();
    File::open("/proc/self/smaps").and_then(|mut file| file.read_to_string(&mut text)).expect("procfs");
    let (mut inside, mut copied) = (false, 0);
    for line in text.lines() {
        if line.split_whitespace().next().is_some_and(|word| word.contains('-') && !word.ends_with(':')) {
            inside = line.contains("aura-buffer");
        } else if let Some(rest) = line.strip_prefix("Anonymous:").filter(|_| inside) {
            copied += rest.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        }
    }
    copied
}

/// Z1: a reference to bytes that a guest can write cannot be had: the memory's slice ends before the window, and views of
/// what lies in one copy.
#[test]
fn z1_no_reference_to_bytes_that_are_lent() {
    everywhere_with(threads, |name, engine| {
        let buffer = SharedBuffer::from_bytes(&pattern(100)).expect(name);
        let mut guest = Fixture::new(engine, PAGE);
        let loan = guest.lend(0, &buffer, Access::Write);
        assert_eq!(guest.memory.data(&guest.store).len() as u64, guest.window.start(), "{name}");
        assert_eq!(guest.memory.data_mut(&mut guest.store).len() as u64, guest.window.start(), "{name}");
        assert!(buffer.as_slice().is_none(), "{name}");
        let view = guest.memory.view::<u8, _>(&guest.store, loan.address(), 100).expect(name);
        assert!(view.as_bytes().is_none(), "{name}");
        assert_eq!(view.to_vec().expect(name), pattern(100), "{name}");
        let own = guest.memory.view::<u32, _>(&guest.store, 8, 4).expect(name);
        assert_eq!((own.as_bytes(), own.get(3).expect(name)), (Some(&[0; 16][..]), 0), "{name}");
        assert!(own.get(4).is_err() && guest.memory.view::<u64, _>(&guest.store, u64::MAX, 2).is_err(), "{name}");
    });
}

/// Z2: every kind of write to a loan for reading is a trap that names the loan, the place and the address; every read works.
#[test]
fn z2_writes_to_a_read_only_loan_trap() {
    for (name, engine) in engines(threads) {
        let bytes = pattern(2 * HOST_PAGE);
        let buffer = SharedBuffer::from_bytes(&bytes).expect(&name);
        let mut guest = Fixture::new(&engine, PAGE);
        let loan = guest.lend(0, &buffer, Access::Read);
        let at = loan.address() + 64;
        for read in READS {
            let expected = match read {
                "load8" => i64::from(bytes[64]),
                _ => i64::from_le_bytes(bytes[64..72].try_into().expect("8 bytes")),
            };
            assert_eq!(guest.read(read, at).expect(read), expected, "{name} {read}");
        }
        for write in WRITES {
            // Three times, so that every tier has its turn.
            for _ in 0..3 {
                let error =
                    assert_trap(guest.write(write, at), TrapCode::WriteToReadOnlyLoan, at, &format!("{name} {write}"));
                assert_eq!(error.trap().and_then(|trap| trap.loan()), Some("input"), "{name} {write}");
                assert!(error.to_string().contains("write to a read-only loan at address"), "{error}");
            }
        }
        let mut seen = vec![0; bytes.len()];
        buffer.read(0, &mut seen).expect(&name);
        assert_eq!(seen, bytes, "{name}: nothing was written");
    }
}

/// Z3: the host's writes on the guest's behalf into a loan for reading fail, and nothing happens to the process.
#[test]
fn z3_host_side_writes_into_a_read_only_loan_fail() {
    let wat = r#"(module (import "h" "put" (func $put (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "put") (param i32) (result i32) (call $put (local.get 0)))
        (func (export "random") (param i32) (result i32) (call $random (local.get 0) (i32.const 100000))))"#;
    everywhere_with(threads, |name, engine| {
        let mut linker: Linker<()> = Linker::new(engine);
        let put = |mut caller: Caller<'_, ()>, at: u32| i32::from(caller.memory().write(at.into(), b"host").is_err());
        linker.func_wrap("h", "put", put).expect(name);
        // As WASI's functions write: in pieces, through the same view.
        let random = |mut caller: Caller<'_, ()>, at: u32, len: u32| {
            let mut memory = caller.memory();
            let pieces = (0..len / 1000).map(|piece| memory.write(u64::from(at + piece * 1000), &[7; 1000]));
            pieces.collect::<Result<Vec<_>, _>>().map_or(21, |_| 0)
        };
        linker.func_wrap("wasi_snapshot_preview1", "random_get", random).expect(name);
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &Module::new(engine, wat).expect("valid")).expect(name);
        let memory = instance.get_memory(&store, "memory").expect(name);
        let window = memory.add_window(&mut store, 4 * PAGE).expect(name);
        let grant = store.grant(Subject::Store, GrantSpec::map_write("buffer")).expect(name);
        let buffer = SharedBuffer::new(2 * PAGE).expect(name);
        for access in [Access::Read, Access::Private, Access::Write] {
            let loan = window.lend(&mut store, &grant, 0, &buffer, 0..buffer.len(), access).expect(name);
            for (export, failed) in [("put", 1), ("random", 21)] {
                let func = instance.get_typed_func::<u32, i32>(&store, export).expect(name);
                let expected = if access == Access::Read { failed } else { 0 };
                assert_eq!(
                    func.call(&mut store, loan.as_args().0).expect(name),
                    expected,
                    "{name} {export} {access:?}"
                );
                // Into the end of the ordinary bytes and on.
                let before = window.start() as u32 - 2;
                let expected = if access == Access::Read { failed } else { 0 };
                assert_eq!(func.call(&mut store, before).expect(name), expected, "{name} {export} {access:?}");
            }
            let at = window.start() as usize;
            assert_eq!(memory.write(&mut store, at, b"x").is_err(), access == Access::Read, "{name} {access:?}");
            drop(loan);
            assert!(memory.write(&mut store, at, b"x").is_err(), "{name}: nothing is lent");
            assert!(memory.read(&store, at, &mut [0; 4]).is_err(), "{name}: nothing is lent");
        }
    });
}

/// Z4: of the first and the last page of what is lent nothing else is visible.
#[test]
fn z4_bytes_beside_what_is_lent_are_not_visible() {
    everywhere_with(threads, |name, engine| {
        let secret = vec![0xaa; 4 * HOST_PAGE as usize];
        let buffer = SharedBuffer::from_bytes(&secret).expect(name);
        let mut guest = Fixture::new(engine, 2 * PAGE);
        for part in [100..200, 100..HOST_PAGE, HOST_PAGE..HOST_PAGE + 1, 4095..2 * HOST_PAGE + 9, 5000..12_000] {
            let loan = guest.try_lend(HOST_PAGE, &buffer, part.clone(), Access::Read).expect(name);
            assert_eq!(loan.len(), part.end - part.start, "{name}");
            let (mut first, mut seen) = (None, 0);
            for at in guest.window.start()..guest.window.start() + 6 * HOST_PAGE {
                let mut byte = [0];
                if guest.memory.read(&guest.store, at as usize, &mut byte).is_ok() && byte == [0xaa] {
                    first = first.or(Some(at));
                    seen += 1;
                }
            }
            assert_eq!((first, seen), (Some(loan.address()), loan.len()), "{name} {part:?}");
            let last = loan.address() + loan.len();
            assert_eq!(guest.read("load8", last - 1).expect(name), 0xaa, "{name}");
            if !last.is_multiple_of(HOST_PAGE) {
                assert_eq!(guest.read("load8", last).expect(name), 0, "{name}");
            }
            let refused = guest.try_lend(PAGE, &buffer, part.clone(), Access::Write).expect_err(name);
            assert!(refused.to_string().contains("whole pages"), "{refused}");
        }
        let file = temporary(&secret);
        let mapped = SharedBuffer::map_file(&file).expect(name);
        let loan = guest.try_lend(0, &mapped, 0..10_000, Access::Read).expect(name);
        assert_eq!(guest.read("load64", loan.address() + 9_996).expect(name), 0xaaaa_aaaa, "{name}");
    });
}

/// A file that nobody else knows, open for reading and writing.
fn temporary(bytes: &[u8]) -> File {
    let fd = rustix::fs::open(
        std::env::temp_dir(),
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    );
    let mut file = File::from(fd.expect("a temporary file"));
    file.write_all(bytes).expect("room");
    file
}

/// Z5: a lent file is truncated by somebody else: accesses of the guest are traps, those of the host fail; a copy does not care.
#[test]
fn z5_a_truncated_file_is_a_trap() {
    for (name, engine) in engines(threads) {
        let bytes = pattern(8 * HOST_PAGE);
        let file = temporary(&bytes);
        let (copied, mapped) =
            (SharedBuffer::copy_file(&file).expect(&name), SharedBuffer::map_file(&file).expect(&name));
        let written = SharedBuffer::map_file_to_write(&file).expect(&name);
        let mut guest = Fixture::new(&engine, 3 * PAGE);
        let lent = guest.lend(0, &mapped, Access::Read);
        let of_copy = guest.lend(PAGE, &copied, Access::Read);
        let to_write = guest.lend(2 * PAGE, &written, Access::Write);
        let at = 4 * HOST_PAGE + 64;
        file.set_len(HOST_PAGE).expect("truncates");
        for read in READS {
            for _ in 0..3 {
                let place = lent.address() + at;
                let error =
                    assert_trap(guest.read(read, place), TrapCode::LoanTruncated, place, &format!("{name} {read}"));
                assert_eq!(error.trap().and_then(|trap| trap.loan()), Some("input"), "{name}");
            }
            guest.read(read, lent.address() + 64).expect("what is left");
            guest.read(read, of_copy.address() + at).expect("a copy");
        }
        for write in WRITES {
            let place = to_write.address() + at;
            assert_trap(guest.write(write, place), TrapCode::LoanTruncated, place, &format!("{name} {write}"));
        }
        let mut into = [0; 8];
        assert!(mapped.read(at, &mut into).is_err() && written.write(at, &into).is_err(), "{name}: the host");
        assert!(guest.memory.read(&guest.store, (lent.address() + at) as usize, &mut into).is_err(), "{name}");
        assert_eq!(copied.as_slice().map(<[u8]>::len), Some(bytes.len()), "{name}");
    }
}

/// Z6: whoever wants bytes that stay as they are takes a frozen copy; the host reads each of the guest's bytes once.
#[test]
fn z6_a_snapshot_does_not_change_under_the_guest() {
    everywhere_with(threads, |name, engine| {
        let file = temporary(&[1; 4096]);
        let (snapshot, live) =
            (SharedBuffer::copy_file(&file).expect(name), SharedBuffer::map_file(&file).expect(name));
        let mut guest = Fixture::new(engine, 3 * PAGE);
        let (still, moving) = (guest.lend(0, &snapshot, Access::Read), guest.lend(PAGE, &live, Access::Read));
        let own = guest.lend(2 * PAGE, &snapshot, Access::Private);
        rustix::io::pwrite(&file, &[2; 8], 0).expect("writes");
        assert_eq!(guest.read("load8", still.address()).expect(name), 1, "{name}");
        assert_eq!(guest.read("load8", moving.address()).expect(name), 2, "{name}");
        guest.write("store8", own.address()).expect("a page of its own");
        assert_eq!(guest.read("load8", own.address()).expect(name), 7, "{name}");
        assert_eq!(guest.read("load8", still.address()).expect(name), 1, "{name}");
        assert_eq!(snapshot.as_slice().map(|bytes| bytes[0]), Some(1), "{name}");
        assert!(guest.try_lend(PAGE + HOST_PAGE, &snapshot, 0..4096, Access::Write).is_err(), "{name}");
    });
}

/// Z7: growth goes past windows, which are part of the size, and a guest's own pages behind one work like others.
#[test]
fn z7_growth_goes_past_windows() {
    for (name, engine) in engines(threads) {
        let mut guest = Fixture::new(&engine, PAGE);
        let buffer = SharedBuffer::from_bytes(&pattern(PAGE)).expect(&name);
        let loan = guest.lend(0, &buffer, Access::Read);
        let size = guest.instance.get_typed_func::<(), u32>(&guest.store, "size").expect(&name);
        let grow = guest.instance.get_typed_func::<u32, u32>(&guest.store, "grow").expect(&name);
        assert_eq!(size.call(&mut guest.store, ()).expect(&name), 3, "{name}: the window is inside the size");
        assert_eq!(grow.call(&mut guest.store, 2).expect(&name), 3, "{name}");
        let behind = guest.window.start() + PAGE;
        for write in WRITES {
            guest.write(write, behind).expect(write);
            guest.write(write, behind - 2 * PAGE).expect(write);
        }
        for read in READS {
            let (behind, before) = (guest.read(read, behind).expect(read), guest.read(read, behind - 2 * PAGE));
            assert_eq!(behind, before.expect(read), "{name} {read}");
        }
        let mut across = [0; 16];
        let at = (behind - 8) as usize;
        guest.memory.read(&guest.store, at, &mut across).expect(&name);
        assert_eq!(across[..8], pattern(PAGE)[PAGE as usize - 8..], "{name}");
        // From the end of the loan into what is the guest's own: two pages, one of which cannot be written.
        assert!(guest.write("store64", behind - 4).is_err(), "{name}");
        let second = guest.memory.add_window(&mut guest.store, PAGE).expect(&name);
        assert_eq!(second.start(), behind + 2 * PAGE, "{name}");
        assert!(guest.memory.add_window(&mut guest.store, 1 << 40).is_err(), "{name}");
        assert_trap(guest.read("load8", second.start()), TrapCode::NothingLent, second.start(), &name);
        drop(loan);
        assert_trap(guest.read("load64", behind - 8), TrapCode::NothingLent, behind - 8, &name);
        guest.read("load64", behind).expect("the guest's own");
    }
}

/// Z8: a loan is taken back while a guest reads it on another thread: after that returns the guest is at its end.
#[test]
fn z8_revoked_while_another_thread_runs_the_guest() {
    everywhere_with(threads, |name, engine| {
        for by_grant in [false, true] {
            let mut guest = Fixture::new(engine, PAGE);
            let buffer = SharedBuffer::from_bytes(&pattern(PAGE)).expect(name);
            let loan = guest.lend(0, &buffer, Access::Read);
            let (at, grant, address) = (loan.as_args().0, guest.read.clone(), loan.address());
            let spin = guest.instance.get_typed_func::<u32, ()>(&guest.store, "spin").expect(name);
            std::thread::scope(|scope| {
                let running = scope.spawn(move || {
                    guest.store.set_deadline(Duration::from_secs(20));
                    let ended = spin.call(&mut guest.store, at);
                    (guest, ended)
                });
                std::thread::sleep(Duration::from_millis(10));
                match by_grant {
                    true => grant.revoke(),
                    false => loan.revoke(),
                }
                assert!(!loan.is_live(), "{name}");
                let (mut guest, ended) = running.join().expect("no panic");
                assert_trap(ended, TrapCode::NothingLent, address, name);
                guest.store.clear_deadline();
                assert_trap(guest.read("load64", address), TrapCode::NothingLent, address, name);
                let again = guest.try_lend(0, &buffer, 0..8, Access::Read);
                assert_eq!(again.is_err(), by_grant, "{name}: the grant stands unless it was what was taken back");
            });
        }
    });
}

/// Z8, as a race: whoever withdraws while the host and the guest copy sees each copy whole or failed, and never the process die.
#[test]
fn z8_withdrawing_races_with_copies() {
    let engine = engine(Strategy::Interpreter);
    let mut guest = Fixture::new(&engine, PAGE);
    let buffer = SharedBuffer::from_bytes(&[5; 16 << 10]).expect("a buffer");
    let (done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut seen, mut failed) = (0, 0);
    while rounds.fetch_add(1, Ordering::Relaxed) < 300 {
        let loan = guest.lend(0, &buffer, Access::Read);
        done.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let done = &done;
            let taker = scope.spawn(move || {
                std::thread::yield_now();
                loan.revoke();
                done.store(true, Ordering::Release);
            });
            loop {
                let after = done.load(Ordering::Acquire);
                let mut into = vec![0; 16 << 10];
                let at = guest.window.start() as usize;
                match guest.memory.read(&guest.store, at, &mut into) {
                    Ok(()) => {
                        assert!(!after && into.iter().all(|byte| *byte == 5), "a success after the end");
                        seen += 1;
                    }
                    Err(_) => failed += 1,
                }
                assert!(guest.read("copy out", guest.window.start()).is_err() || !after, "a success after the end");
                if after {
                    break;
                }
            }
            taker.join().expect("no panic");
        });
    }
    assert!(failed >= 300, "each round ends by a failure: {seen} {failed}");
}

/// Z9: lending and taking back leaves the mappings of the process as they were.
#[test]
fn z9_no_mapping_stays() {
    let maps = || {
        let mut text = String::new();
        File::open("/proc/self/maps").and_then(|mut file| file.read_to_string(&mut text)).expect("procfs");
        text
    };
    let engine = engine(Strategy::Auto);
    let (mut first, mut second) = (Fixture::new(&engine, 4 * PAGE), Fixture::new(&engine, 4 * PAGE));
    let buffer = SharedBuffer::from_bytes(&pattern(3 * HOST_PAGE + 10)).expect("a buffer");
    let places = |guest: &Fixture| {
        let at = guest.memory.data(&guest.store).as_ptr().addr();
        at..at + (16 << 20)
    };
    let ranges = [places(&first), places(&second)];
    // Other tests run beside this one, and the system joins mappings that are alike: only what lies in these two counts.
    let inside = |text: &str| -> Vec<(usize, usize, String)> {
        let mut found = Vec::new();
        for line in text.lines() {
            let (addresses, rest) = line.split_once(' ').expect("a range and more");
            let address = |text: &str| usize::from_str_radix(text, 16).expect("an address");
            let (start, end) =
                addresses.split_once('-').map(|(start, end)| (address(start), address(end))).expect("two");
            for range in ranges.iter().filter(|range| start < range.end && range.start < end) {
                found.push((start.max(range.start), end.min(range.end), rest.to_owned()));
            }
        }
        found
    };
    let before = inside(&maps());
    for round in 0..50_000_u64 {
        for guest in [&mut first, &mut second] {
            let access = if round % 2 == 0 { Access::Read } else { Access::Private };
            let at = round % 7 * HOST_PAGE;
            let loan = guest.try_lend(at, &buffer, round % 5..buffer.len(), access).expect("lends");
            if round % 97 == 0 {
                guest.read("load8", loan.address()).expect("reads");
            }
        }
    }
    assert_eq!(inside(&maps()), before);
}

/// Z10: what a guest writes into a loan that is its own never reaches the file; into one for writing it does.
#[test]
fn z10_writes_reach_the_file_only_where_they_are_to() {
    everywhere_with(threads, |name, engine| {
        let bytes = pattern(3 * HOST_PAGE);
        let file = temporary(&bytes);
        let content = || {
            let mut content = vec![0; bytes.len()];
            rustix::io::pread(&file, &mut content, 0).expect("reads");
            content
        };
        let mut guest = Fixture::new(engine, PAGE);
        let mapped = SharedBuffer::map_file(&file).expect(name);
        {
            let private = guest.lend(0, &mapped, Access::Private);
            for write in ["store64", "fill", "copy", "init"] {
                guest.write(write, private.address() + 4090).expect(write);
            }
            assert_eq!(content(), bytes, "{name}: private");
        }
        assert!(guest.try_lend(0, &mapped, 0..4096, Access::Write).is_err(), "{name}: mapped for reading");
        let written = SharedBuffer::map_file_to_write(&file).expect(name);
        let loan = guest.lend(0, &written, Access::Write);
        guest.write("store64", loan.address() + 8).expect(name);
        assert_eq!((content()[8], &content()[16..]), (7, &bytes[16..]), "{name}");
    });
}

/// Loans are uses of their grant: counted, bounded, told to the audit, denied by what they are not for.
#[test]
fn loans_are_counted_bounded_and_audited() {
    #[derive(Clone, Default)]
    struct Heard(std::sync::Arc<std::sync::Mutex<Vec<(AuditOutcome, u64)>>>);
    impl AuditSink for Heard {
        fn record(&mut self, event: &AuditEvent<'_>) -> std::io::Result<()> {
            assert_eq!(event.function, ("aura", "lend"));
            self.0.lock().expect("no panic").push((event.outcome, event.bytes));
            Ok(())
        }
    }
    let engine = engine(Strategy::Auto);
    let mut guest = Fixture::new(&engine, 2 * PAGE);
    let heard = Heard::default();
    guest.store.set_audit(Some(Box::new(heard.clone())));
    let terms = Terms { calls: Some(2), ..Terms::default() };
    let grant = guest.store.grant_with(Subject::Store, GrantSpec::map_read("a"), terms).expect("a grant");
    let buffer = SharedBuffer::from_bytes(&pattern(1000)).expect("a buffer");
    let mut lend = |access| guest.window.lend(&mut guest.store, &grant, 0, &buffer, 0..1000, access);
    assert!(lend(Access::Write).is_err(), "the grant is for reading");
    lend(Access::Read).expect("the first use");
    lend(Access::Private).expect("the second");
    assert!(lend(Access::Read).is_err(), "the quota is used up");
    let report = guest.store.slots().into_iter().find(|slot| slot.spec == GrantSpec::map_read("a")).expect("a slot");
    assert_eq!((report.uses, report.denials, report.bytes), (2, 2, 2000));
    let (allowed, denied) = ((AuditOutcome::Allowed, 1000), (AuditOutcome::Denied, 0));
    assert_eq!(*heard.0.lock().expect("no panic"), [denied, allowed, allowed, denied]);
    let args = guest.store.grant(Subject::Store, GrantSpec::of(aura_runtime::Action::Args)).expect("a grant");
    assert!(guest.window.lend(&mut guest.store, &args, 0, &buffer, 0..1000, Access::Read).is_err());
}

/// The ends of a loan's life: with its time, with its store; places that are not free; memories without windows.
#[test]
fn loans_end_with_grant_and_store_and_do_not_overlap() {
    let engine = engine(Strategy::Auto);
    let mut guest = Fixture::new(&engine, 2 * PAGE);
    let buffer = SharedBuffer::from_bytes(&pattern(2 * HOST_PAGE)).expect("a buffer");
    let loan = guest.lend(0, &buffer, Access::Read);
    for (at, bytes) in [(HOST_PAGE, 0..8), (1, 0..8), (2 * PAGE, 0..8), (2 * PAGE - HOST_PAGE, 0..8192), (0, 0..0)] {
        assert!(guest.try_lend(at, &buffer, bytes.clone(), Access::Read).is_err(), "{at} {bytes:?}");
    }
    assert!(guest.try_lend(u64::MAX - 4095, &buffer, 0..8, Access::Read).is_err());
    assert!(guest.try_lend(PAGE, &buffer, 0..8193, Access::Read).is_err());
    let soon = std::time::Instant::now() + Duration::from_millis(20);
    let terms = Terms { until: Some(soon), ..Terms::default() };
    let brief = guest.store.grant_with(Subject::Store, GrantSpec::map_read("brief"), terms).expect("a grant");
    let brief = guest.window.lend(&mut guest.store, &brief, PAGE, &buffer, 0..8, Access::Read).expect("lends");
    let start = std::time::Instant::now();
    while brief.is_live() {
        assert!(start.elapsed() < Duration::from_secs(20), "the grant's time is over");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(loan.is_live());
    drop(guest);
    assert!(!loan.is_live());
    drop(loan);
    let module = Module::new(&engine, r#"(module (memory (export "memory") 1 1))"#).expect("valid");
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("links");
    let memory = instance.get_memory(&store, "memory").expect("exported");
    let error = memory.add_window(&mut store, 1).expect_err("the maximum is one page");
    assert!(error.to_string().contains("maximum"), "{error}");
}

/// A stream of many times the ring's size goes through it, whole and in order, in pieces of any length; what a guest
/// claims beyond what there is is refused.
#[test]
fn a_ring_passes_a_stream_in_one_piece_each() {
    let engine = engine(Strategy::Auto);
    let mut guest = Fixture::new(&engine, 4 * PAGE);
    let capacity = 2 * HOST_PAGE;
    let mut ring = Ring::new(&mut guest.store, &guest.window, &guest.read, 0, capacity, Access::Read).expect("a ring");
    let bytes = pattern(10 * capacity + 77);
    let mut source = temporary(&bytes);
    std::io::Seek::rewind(&mut source).expect("rewinds");
    let mut seen = Vec::new();
    loop {
        let count = ring.fill_from(&mut source).expect("reads");
        let (at, pending) = ring.pending();
        if count == 0 && pending == 0 {
            break;
        }
        let take = pending.min(1 + seen.len() as u64 * 7 % 5000);
        let view = guest.memory.view::<u8, _>(&guest.store, at, take).expect("inside");
        let piece = view.to_vec().expect("lent");
        assert_eq!(guest.read("load8", at + take - 1).expect("lent"), i64::from(piece[piece.len() - 1]));
        seen.extend(piece);
        assert!(ring.consume(pending + 1).is_err());
        ring.consume(take).expect("as many");
    }
    assert_eq!(seen, bytes);
    assert!(Ring::new(&mut guest.store, &guest.window, &guest.read, 0, 100, Access::Read).is_err());
    let mut out =
        Ring::new(&mut guest.store, &guest.window, &guest.write, PAGE, capacity, Access::Write).expect("a ring");
    let mut sink = temporary(&[]);
    for round in 0..20 {
        let (at, free) = out.free();
        assert_eq!(free, capacity);
        guest.write("store64", at).expect("lent for writing");
        guest.write("store64", at + 3000 + round).expect("lent for writing");
        assert!(out.produce(free + 1).is_err());
        out.produce(3008 + round).expect("room");
        out.drain_to(&mut sink).expect("writes");
    }
    let mut content = vec![0; 20 * 3008 + 190];
    rustix::io::pread(&sink, &mut content, 0).expect("reads");
    let mut start = 0;
    for round in 0..20 {
        assert_eq!((content[start], content[start + 3000 + round]), (7, 7), "{round}");
        start += 3008 + round;
    }
}
