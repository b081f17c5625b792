//! Loans and windows across the lives of a slot: what one instance was lent, another never reaches. The ids name rows of the
//! list of past and possible findings.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use aura_runtime::{
    Access, Engine, Error, GrantSpec, Image, ImageConfig, ImageInstance, Linker, Loan, Module, SharedBuffer, Store,
    Subject, TrapCode, Window, leakcheck,
};
use common::everywhere;

const PAGE: u64 = 65536;
const HOST_PAGE: u64 = 4096;

/// A guest that reads, writes and grows where it is told.
const GUEST: &str = r#"(module (memory (export "memory") 1 200)
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "store") (param i32) (i32.store8 (local.get 0) (i32.const 0xc5)))
    (func (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 0xc5) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "spin") (param i32) (result i32) (loop $l (result i32)
        (drop (i32.load8_u (local.get 0))) (br $l))))"#;

fn image(engine: &Engine, configure: impl FnOnce(&mut ImageConfig<()>)) -> Image<()> {
    let module = Module::new(engine, GUEST).expect("valid");
    let mut config = ImageConfig::new();
    configure(&mut config);
    Image::new(&Linker::new(engine), &module, &config).expect("an image")
}

fn call(instance: &mut ImageInstance<()>, name: &str, at: u64) -> Result<i32, Error> {
    let func = instance.instance().get_typed_func::<u32, i32>(&*instance, name).expect("an export");
    func.call(instance, at as u32)
}

fn store(instance: &mut ImageInstance<()>, at: u64) -> Result<(), Error> {
    let func = instance.instance().get_typed_func::<u32, ()>(&*instance, "store").expect("an export");
    func.call(instance, at as u32)
}

fn size(instance: &mut ImageInstance<()>) -> i32 {
    let func = instance.instance().get_typed_func::<(), i32>(&*instance, "size").expect("an export");
    func.call(instance, ()).expect("a size")
}

fn lend(instance: &mut ImageInstance<()>, window: &Window, at: u64, buffer: &SharedBuffer, access: Access) -> Loan {
    let spec = if access == Access::Write { GrantSpec::map_write("lent") } else { GrantSpec::map_read("lent") };
    let grant = instance.grant(Subject::Store, spec).expect("granted");
    window.lend(instance, &grant, at, buffer, 0..buffer.len(), access).expect("lent")
}

fn assert_trap<T: std::fmt::Debug>(result: Result<T, Error>, code: TrapCode, name: &str) {
    let error = result.expect_err(name);
    assert_eq!(error.trap().unwrap_or_else(|| panic!("{name}: {error}")).code(), code, "{name}");
}

/// What of the process's map of memory lies in an instance's reservation, by its distance from the beginning.
fn mapped(instance: &ImageInstance<()>) -> Vec<String> {
    let reservation = leakcheck::places(instance)[0].reservation.clone();
    let mut text = String::new();
    File::open("/proc/self/maps").and_then(|mut file| file.read_to_string(&mut text)).expect("procfs");
    let address = |text: &str| usize::from_str_radix(text, 16).expect("an address");
    let mut found = Vec::new();
    for line in text.lines() {
        let (addresses, rest) = line.split_once(' ').expect("a range and more");
        let (start, end) = addresses.split_once('-').map(|(start, end)| (address(start), address(end))).expect("two");
        let (start, end) = (start.max(reservation.start), end.min(reservation.end));
        if start < end {
            found.push(format!("{:x}-{:x} {}", start - reservation.start, end - reservation.start, &rest[..4]));
        }
    }
    found
}

#[test]
fn z9_slots_keep_windows_and_nothing_that_was_lent_in_them() {
    everywhere(|name, engine| {
        let image = image(engine, |config| {
            config.window(4 * PAGE).protect_pages(false);
        });
        let buffer = SharedBuffer::from_bytes(&[0xaa; 3 * HOST_PAGE as usize + 10]).expect(name);
        let first = mapped(&image.instantiate(()).expect(name));
        for round in 0..600_u64 {
            let mut instance = image.instantiate(()).expect(name);
            let window = instance.window().expect("asked for");
            assert_eq!((window.start(), window.len()), (PAGE, 4 * PAGE), "{name}");
            for at in [PAGE, PAGE + HOST_PAGE, 5 * PAGE - 1] {
                assert_trap(call(&mut instance, "load", at), TrapCode::NothingLent, name);
            }
            let access = [Access::Read, Access::Private, Access::Write][round as usize % 3];
            let at = round % 7 * HOST_PAGE;
            let loan = lend(&mut instance, &window, at, &buffer, access);
            assert_eq!(call(&mut instance, "load", loan.address() + 9).expect(name), 0xaa, "{name}");
            if access == Access::Private {
                store(&mut instance, loan.address()).expect(name);
            }
            if round % 2 == 0 {
                drop(loan);
                drop(instance);
                continue;
            }
            // The instance goes first: its end is the loan's, and dropping the handle later does nothing to whoever is there.
            drop(instance);
            assert!(!loan.is_live(), "{name}");
            let mut next = image.instantiate(()).expect(name);
            let again = next.window().expect("asked for");
            let own = lend(&mut next, &again, at, &buffer, Access::Read);
            drop(loan);
            assert_eq!(call(&mut next, "load", own.address()).expect(name), 0xaa, "{name}");
            let grant = next.grant(Subject::Store, GrantSpec::map_read("lent")).expect("granted");
            let stale = window.lend(&mut next, &grant, 3 * PAGE, &buffer, 0..1, Access::Read);
            assert!(stale.is_err(), "{name}: a window of an earlier life");
        }
        assert_eq!(image.slots(), 1, "{name}: every life used the same slot");
        assert_eq!(mapped(&image.instantiate(()).expect(name)), first, "{name}");
    });
}

#[test]
fn z9_windows_that_an_instance_got_itself_go_with_it() {
    everywhere(|name, engine| {
        let image = image(engine, |config| {
            config.protect_pages(false);
        });
        let buffer = SharedBuffer::from_bytes(&[0xaa; 100]).expect(name);
        let first = mapped(&image.instantiate(()).expect(name));
        for round in 0..200 {
            let mut instance = image.instantiate(()).expect(name);
            assert_eq!((instance.window().is_none(), size(&mut instance)), (true, 1), "{name}");
            assert_trap(call(&mut instance, "load", PAGE), TrapCode::MemoryOutOfBounds, name);
            let memory = instance.instance().get_memory(&instance, "memory").expect(name);
            let window = memory.add_window(&mut instance, 2 * PAGE).expect(name);
            let loan = lend(&mut instance, &window, PAGE, &buffer, Access::Read);
            assert_eq!(call(&mut instance, "load", loan.address()).expect(name), 0xaa, "{name}");
            if round % 3 == 0 {
                // Behind the window.
                assert_eq!(call(&mut instance, "grow", 2).expect(name), 3, "{name}");
                store(&mut instance, 4 * PAGE + 5).expect(name);
            }
            drop(instance);
            assert!(!loan.is_live(), "{name}");
        }
        assert_eq!((image.slots(), mapped(&image.instantiate(()).expect(name))), (1, first), "{name}");
        // Growth without a window is ordinary again.
        let mut instance = image.instantiate(()).expect(name);
        assert_eq!(call(&mut instance, "grow", 1).expect(name), 1, "{name}");
        let memory = instance.instance().get_memory(&instance, "memory").expect(name);
        assert_eq!(memory.data(&instance).len() as u64, 2 * PAGE, "{name}");
    });
}

#[test]
fn z9_a_loan_by_a_grant_that_outlives_the_instance_ends_with_it() {
    everywhere(|name, engine| {
        let image = image(engine, |config| {
            config.window(PAGE);
        });
        let buffer = SharedBuffer::from_bytes(&[0xaa; 100]).expect(name);
        let mut other = Store::new(engine, ());
        let grant = other.grant(Subject::Store, GrantSpec::map_read("theirs")).expect("granted");
        for _ in 0..3 {
            let mut instance = image.instantiate(()).expect(name);
            let window = instance.window().expect("asked for");
            let loan = window.lend(&mut instance, &grant, 0, &buffer, 0..buffer.len(), Access::Read).expect(name);
            assert_eq!(call(&mut instance, "load", loan.address()).expect(name), 0xaa, "{name}");
            drop(instance);
            assert!(!loan.is_live(), "{name}");
            let mut next = image.instantiate(()).expect(name);
            assert_trap(call(&mut next, "load", loan.address()), TrapCode::NothingLent, name);
            drop(loan);
        }
        grant.revoke();
        assert_eq!(image.slots(), 1, "{name}");
    });
}

#[test]
fn z7_growth_behind_a_kept_window_is_taken_back() {
    everywhere(|name, engine| {
        let image = image(engine, |config| {
            config.window(PAGE);
        });
        for _ in 0..40 {
            let mut instance = image.instantiate(()).expect(name);
            assert_eq!(size(&mut instance), 2, "{name}");
            assert_trap(call(&mut instance, "load", 2 * PAGE), TrapCode::MemoryOutOfBounds, name);
            assert_eq!(call(&mut instance, "grow", 3).expect(name), 2, "{name}");
            for at in [2 * PAGE, 3 * PAGE - 1, 5 * PAGE - 1] {
                assert_eq!(call(&mut instance, "load", at).expect(name), 0, "{name}");
                store(&mut instance, at).expect(name);
            }
            store(&mut instance, 17).expect(name);
        }
        assert_eq!(image.slots(), 1, "{name}");
    });
}

#[test]
fn what_an_image_lends_is_there_in_every_instance_for_reading() {
    everywhere(|name, engine| {
        let buffer = SharedBuffer::from_bytes(&[1; 2 * HOST_PAGE as usize + 1]).expect(name);
        let image = image(engine, |config| {
            config.window(PAGE).lend(GrantSpec::map_read("input"), HOST_PAGE, &buffer);
        });
        let mut both = [image.instantiate(()).expect(name), image.instantiate(()).expect(name)];
        for (value, round) in (2..40_u8).zip(0..) {
            buffer.write(5, &[value]).expect(name);
            let instance = &mut both[round % 2];
            *instance = image.instantiate(()).expect(name);
            let (at, len) = instance.lent(0).expect("lent by the image");
            assert_eq!((at, len), (PAGE + HOST_PAGE, buffer.len()), "{name}");
            assert_eq!(call(instance, "load", at + 5).expect(name), value.into(), "{name}");
            assert_eq!(call(instance, "load", at + len - 1).expect(name), 1, "{name}");
            // Z2 and Z3: neither the guest nor the host on its behalf writes there.
            assert_trap(store(instance, at + 5), TrapCode::WriteToReadOnlyLoan, name);
            let memory = instance.instance().get_memory(&*instance, "memory").expect(name);
            assert!(memory.write(&mut *instance, at as usize, &[9]).is_err(), "{name}");
            let window = instance.window().expect("asked for");
            let grant = instance.grant(Subject::Store, GrantSpec::map_read("more")).expect(name);
            let over = window.lend(instance, &grant, HOST_PAGE, &buffer, 0..1, Access::Read);
            assert!(over.expect_err(name).to_string().contains("lent there already"), "{name}");
        }
        let mut byte = [0];
        buffer.read(5, &mut byte).expect(name);
        assert_eq!(byte, [39], "{name}");
        drop(both);
        let before = image.slots();
        image.revoke_lent();
        let mut instance = image.instantiate(()).expect(name);
        assert_eq!(image.slots(), before, "{name}");
        assert_trap(call(&mut instance, "load", PAGE + HOST_PAGE), TrapCode::NothingLent, name);
        let more: Vec<_> = (0..before).map(|_| image.instantiate(()).expect(name)).collect();
        assert!(image.slots() > before, "{name}");
        let gone = more.iter().filter(|instance| instance.lent(0).is_none()).count();
        assert_eq!(gone, 1, "{name}: the new slot is lent nothing");
    });
}

#[test]
fn z8_what_an_image_lends_is_taken_from_a_guest_that_runs() {
    everywhere(|name, engine| {
        let buffer = SharedBuffer::from_bytes(&[1; 100]).expect(name);
        let image = image(engine, |config| {
            config.window(PAGE).lend(GrantSpec::map_read("input"), 0, &buffer);
        });
        let runs = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let guest = scope.spawn(|| {
                let mut instance = image.instantiate(()).expect(name);
                let at = instance.lent(0).expect("lent by the image").0;
                runs.store(true, Ordering::Release);
                call(&mut instance, "spin", at)
            });
            while !runs.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            image.revoke_lent();
            assert_trap(guest.join().expect("no panic"), TrapCode::NothingLent, name);
        });
    });
}

#[test]
fn z10_private_writes_in_a_slot_reach_neither_the_file_nor_the_next_instance() {
    everywhere(|name, engine| {
        let mut file = tempfile();
        file.write_all(&[7; 2 * HOST_PAGE as usize]).expect("room");
        let buffer = SharedBuffer::map_file(&file).expect(name);
        let image = image(engine, |config| {
            config.window(PAGE);
        });
        for _ in 0..4 {
            let mut instance = image.instantiate(()).expect(name);
            let window = instance.window().expect("asked for");
            let loan = lend(&mut instance, &window, 0, &buffer, Access::Private);
            assert_eq!(call(&mut instance, "load", loan.address()).expect(name), 7, "{name}");
            store(&mut instance, loan.address()).expect(name);
            drop(instance);
        }
        let mut bytes = vec![0; 2 * HOST_PAGE as usize];
        buffer.read(0, &mut bytes).expect(name);
        assert!(bytes.iter().all(|byte| *byte == 7), "{name}");
    });
}

/// A file that nobody else knows.
fn tempfile() -> File {
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR;
    let fd = rustix::fs::open(std::env::temp_dir(), flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    File::from(fd.expect("a temporary file"))
}

#[test]
fn snapshots_leave_windows_out_and_refuse_loans() {
    everywhere(|name, engine| {
        let buffer = SharedBuffer::from_bytes(&[1; 100]).expect(name);
        let image = image(engine, |config| {
            config.window(PAGE).lend(GrantSpec::map_read("input"), 0, &buffer);
        });
        let mut instance = image.instantiate(()).expect(name);
        store(&mut instance, 100).expect(name);
        let window = instance.window().expect("asked for");
        let loan = lend(&mut instance, &window, 4 * HOST_PAGE, &buffer, Access::Read);
        let refused = instance.snapshot(&image, &ImageConfig::new()).expect_err(name).to_string();
        assert!(refused.contains("lent to it"), "{name}: {refused}");
        drop(loan);
        let mut config = ImageConfig::new();
        config.window(2 * PAGE);
        let snapshot = instance.snapshot(&image, &config).expect(name);
        for _ in 0..3 {
            let mut fork = snapshot.instantiate(()).expect(name);
            assert_eq!(call(&mut fork, "load", 100).expect(name), 0xc5, "{name}");
            assert_eq!((size(&mut fork), fork.lent(0)), (3, None), "{name}");
            assert_trap(call(&mut fork, "load", PAGE), TrapCode::NothingLent, name);
            store(&mut fork, 101).expect(name);
        }
        assert_eq!(call(&mut instance, "grow", 1).expect(name), 2, "{name}");
        let refused = instance.snapshot(&image, &config).expect_err(name).to_string();
        assert!(refused.contains("behind a window"), "{name}: {refused}");
    });
}

#[test]
fn images_say_what_stands_in_the_way_of_a_window() {
    everywhere(|name, engine| {
        let made = |text: &str, config: &ImageConfig<()>| {
            let module = Module::new(engine, text).expect("valid");
            Image::new(&Linker::new(engine), &module, config).expect_err(name).to_string()
        };
        let mut config = ImageConfig::new();
        config.window(PAGE);
        let none = made("(module)", &config);
        assert!(none.contains("no memory"), "{name}: {none}");
        let full = made("(module (memory 1 1))", &config);
        assert!(full.contains("maximum"), "{name}: {full}");
        let buffer = SharedBuffer::new(2 * PAGE).expect(name);
        let mut config = ImageConfig::new();
        config.window(PAGE).lend(GrantSpec::map_read("input"), 0, &buffer);
        let large = made("(module (memory 1 9))", &config);
        assert!(large.contains("not inside a window"), "{name}: {large}");
        let mut config = ImageConfig::new();
        config.window(2 * PAGE).lend("stdio".parse().expect("a grant"), 0, &buffer);
        let other = made("(module (memory 1 9))", &config);
        assert!(other.contains("map.read"), "{name}: {other}");
    });
}

#[test]
fn z4_z9_leakcheck_finds_nothing_in_slots_with_loans() {
    everywhere(|name, engine| {
        let image = image(engine, |config| {
            config.window(PAGE);
        });
        let buffer = SharedBuffer::from_bytes(&vec![leakcheck::CANARY; leakcheck::LENT_MIN as usize]).expect(name);
        let stacks = leakcheck::Stacks::new(engine).expect(name);
        let mut beside = 0;
        for round in 0..500_u64 {
            let mut instance = image.instantiate(()).expect(name);
            leakcheck::compare(&instance).expect(name);
            let seed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let lent = leakcheck::lend(&mut instance, &buffer, seed).expect(name).expect("room for a window");
            beside += lent.beside;
            leakcheck::spoil(&mut instance, seed);
            drop(instance);
            assert!(!lent.loan.is_live(), "{name}");
        }
        assert!(beside > 500_000 && image.slots() == 1, "{name}: {beside} bytes were looked at");
        assert!(stacks.scan().expect(name) > 10_000, "{name}");
    });
}

#[test]
fn leakcheck_tells_of_a_loan_that_is_left() {
    everywhere(|name, engine| {
        let image = image(engine, |config| {
            config.window(PAGE);
        });
        let mut instance = image.instantiate(()).expect(name);
        let buffer = SharedBuffer::from_bytes(&[1; 100]).expect(name);
        let window = instance.window().expect("asked for");
        let _loan = lend(&mut instance, &window, 0, &buffer, Access::Read);
        let found = leakcheck::compare(&instance).expect_err(name);
        assert!(found.contains("a loan"), "{name}: {found}");
    });
}
