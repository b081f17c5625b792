//! The capability model: grants are points, what was taken back stays back, counters add up.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aura_runtime::{
    AuditEvent, AuditOutcome, AuditSink, Caller, Engine, GrantSpec, GrantState, GuestPtr, Instance, Linker, Module,
    ResourceLimiter, Result, Store, StoreLimits, Subject, Tenant, Terms, TrapCode, Usage,
};
use common::everywhere;

/// Calls `h.f` directly, through a reference it kept, and through one that another instance put into its table.
const CALLER: &str = r#"(module (import "h" "f" (func $f (result i32))) (table (export "table") 4 funcref)
    (elem declare func $f) (type $t (func (result i32))) (memory (export "memory") 1)
    (func (export "call") (result i32) (call $f))
    (func (export "keep") (table.set (i32.const 0) (ref.func $f)))
    (func (export "kept") (result i32) (call_indirect (type $t) (i32.const 0)))
    (func (export "loop") (result i32) (loop $l (drop (call $f)) (br $l)) (unreachable)))"#;

/// Holds a table whose elements it calls.
const HOLDER: &str = r#"(module (import "caller" "table" (table 4 funcref)) (type $t (func (result i32)))
    (func (export "held") (result i32) (call_indirect (type $t) (i32.const 0))))"#;

fn code(error: &aura_runtime::Error) -> TrapCode {
    error.trap().unwrap_or_else(|| panic!("a trap, not {error}")).code()
}

fn store_with<T: 'static>(engine: &Engine, linker: &Linker<T>, data: T) -> (Store<T>, Instance) {
    let mut store = Store::new(engine, data);
    let module = Module::new(engine, CALLER).expect("valid");
    let instance = linker.instantiate(&mut store, &module).expect("links");
    (store, instance)
}

fn call<T>(store: &mut Store<T>, instance: Instance, name: &str) -> Result<i32> {
    instance.get_typed_func::<(), i32>(&*store, name).expect(name).call(store, ())
}

fn answering(engine: &Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker.capability("h", "f", || 7).expect("a new name");
    linker
}

#[test]
fn capability_1a_every_way_to_a_function_ends_with_its_grant() {
    everywhere(|name, engine| {
        let mut linker = answering(engine);
        let (mut store, caller) = store_with(engine, &linker, ());
        linker.instance(&store, "caller", caller).expect(name);
        let holder = linker.instantiate(&mut store, &Module::new(engine, HOLDER).expect(name)).expect(name);
        // A reference that is older than the grant finds it, too.
        caller.get_typed_func::<(), ()>(&store, "keep").expect(name).call(&mut store, ()).expect(name);
        let grant = store.grant(Subject::Instance(caller), GrantSpec::call("f")).expect(name);
        let ways = [(caller, "call"), (caller, "kept"), (holder, "held")];
        for (instance, way) in ways {
            assert_eq!(call(&mut store, instance, way).expect(way), 7, "{name}");
        }
        caller.get_typed_func::<(), ()>(&store, "keep").expect(name).call(&mut store, ()).expect(name);
        for (instance, way) in ways {
            assert_eq!(call(&mut store, instance, way).expect(way), 7, "{name}");
        }
        grant.revoke();
        for (instance, way) in ways {
            let error = call(&mut store, instance, way).expect_err(way);
            assert_eq!(code(&error), TrapCode::CapabilityDenied, "{name} {way}");
        }
        assert_eq!((grant.capability().uses(), grant.capability().denials()), (6, 3), "{name}");
    });
}

#[test]
fn capability_h18_a_grant_for_one_instance_is_not_anothers() {
    everywhere(|name, engine| {
        let linker = answering(engine);
        let (mut store, first) = store_with(engine, &linker, ());
        let second = linker.instantiate(&mut store, &Module::new(engine, CALLER).expect(name)).expect(name);
        store.grant(Subject::Instance(first), GrantSpec::call("f")).expect(name);
        store.grant(Subject::Store, GrantSpec::call("other")).expect(name);
        assert_eq!(call(&mut store, first, "call").expect(name), 7);
        assert!(call(&mut store, second, "call").is_err(), "{name}");
        let (mut other, foreign) = store_with(engine, &linker, ());
        assert!(other.grant(Subject::Instance(first), GrantSpec::call("f")).is_err(), "{name}");
        assert!(call(&mut other, foreign, "call").is_err(), "{name}");
    });
}

/// The number of calls that threads race in the test; the bench has the large one.
const RACING_CALLS: u64 = 200_000;

#[test]
fn capability_1a_no_call_succeeds_after_revoke_returned() {
    everywhere(|name, engine| {
        let linker = answering(engine);
        let (mut store, instance) = store_with(engine, &linker, ());
        let func = instance.get_typed_func::<(), i32>(&store, "call").expect(name);
        let granter = store.granter();
        let (taken, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let revoker = std::thread::spawn({
            let (taken, done) = (taken.clone(), done.clone());
            move || {
                let mut rounds = 0;
                while !done.load(Ordering::Acquire) {
                    // Odd while a grant may stand, even once it was taken back.
                    taken.fetch_add(1, Ordering::SeqCst);
                    let grant = granter.grant(Subject::Store, GrantSpec::call("f"), Terms::default()).expect("grants");
                    std::thread::yield_now();
                    grant.revoke();
                    taken.fetch_add(1, Ordering::SeqCst);
                    rounds += 1;
                    std::thread::sleep(Duration::from_micros(50));
                }
                rounds
            }
        });
        let (mut allowed, mut late) = (0_u64, 0_u64);
        for _ in 0..RACING_CALLS {
            let before = taken.load(Ordering::SeqCst);
            let succeeded = func.call(&mut store, ()).is_ok();
            allowed += u64::from(succeeded);
            late += u64::from(succeeded && before % 2 == 0 && taken.load(Ordering::SeqCst) == before);
        }
        done.store(true, Ordering::Release);
        let rounds = revoker.join().expect("no panic");
        assert_eq!(late, 0, "{name}: {allowed} calls were let through in {rounds} rounds");
    });
}

#[test]
fn capability_1a_a_blocking_call_ends_before_revoke_returns() {
    everywhere(|name, engine| {
        let mut linker: Linker<Arc<AtomicBool>> = Linker::new(engine);
        linker
            .capability("h", "f", |caller: Caller<'_, Arc<AtomicBool>>| -> i32 {
                caller.data().store(true, Ordering::SeqCst);
                while !caller.is_interrupted() {
                    std::thread::sleep(Duration::from_micros(100));
                }
                caller.data().store(false, Ordering::SeqCst);
                9
            })
            .expect(name);
        let inside = Arc::new(AtomicBool::new(false));
        let (mut store, instance) = store_with(engine, &linker, inside.clone());
        let grant = store.grant(Subject::Store, GrantSpec::call("f")).expect(name);
        let thread = std::thread::spawn(move || {
            let first = call(&mut store, instance, "call");
            (first.expect("the call itself ended well"), call(&mut store, instance, "call").is_err())
        });
        while !inside.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        grant.revoke();
        assert!(!inside.load(Ordering::SeqCst), "{name}: revoke returned while the call was in flight");
        assert_eq!(thread.join().expect("no panic"), (9, true), "{name}");
    });
}

#[test]
fn capability_1a_guest_code_inside_a_call_is_interrupted() {
    everywhere(|name, engine| {
        let spin = r#"(module (func (export "spin") (loop $l (br $l))))"#;
        let mut linker: Linker<Arc<AtomicBool>> = Linker::new(engine);
        let spinner = Module::new(engine, spin).expect(name);
        linker
            .capability("h", "f", move |mut caller: Caller<'_, Arc<AtomicBool>>| -> Result<i32> {
                caller.data().store(true, Ordering::SeqCst);
                let spun = Instance::new(&mut caller, &spinner, &[])
                    .and_then(|inner| inner.get_typed_func::<(), ()>(&caller, "spin"))
                    .and_then(|spin| spin.call(&mut caller, ()));
                caller.data().store(false, Ordering::SeqCst);
                spun.map(|()| 1)
            })
            .expect(name);
        let inside = Arc::new(AtomicBool::new(false));
        let (mut store, instance) = store_with(engine, &linker, inside.clone());
        let grant = store.grant(Subject::Store, GrantSpec::call("f")).expect(name);
        let thread = std::thread::spawn(move || call(&mut store, instance, "call").expect_err("interrupted"));
        while !inside.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        grant.revoke();
        assert!(!inside.load(Ordering::SeqCst), "{name}");
        assert_eq!(code(&thread.join().expect("no panic")), TrapCode::Interrupted, "{name}");
    });
}

#[test]
fn capability_1a_a_host_function_may_revoke_its_own_grant() {
    everywhere(|name, engine| {
        type Own = Option<aura_runtime::Grant>;
        let mut linker: Linker<Own> = Linker::new(engine);
        linker
            .capability("h", "f", |caller: Caller<'_, Own>| -> i32 {
                caller.data().as_ref().expect("set").revoke();
                3
            })
            .expect(name);
        let (mut store, instance) = store_with(engine, &linker, None);
        let grant = store.grant(Subject::Store, GrantSpec::call("f")).expect(name);
        *store.data_mut() = Some(grant);
        assert_eq!(call(&mut store, instance, "call").expect(name), 3);
        assert!(call(&mut store, instance, "call").is_err(), "{name}");
    });
}

#[test]
fn capability_1a_rights_are_handed_on_narrower_and_end_with_their_origin() {
    everywhere(|name, engine| {
        let linker = answering(engine);
        let (mut store, instance) = store_with(engine, &linker, ());
        let (mut other, receiver) = store_with(engine, &linker, ());
        let grant = store.grant(Subject::Store, GrantSpec::call("f")).expect(name);
        assert!(grant.narrow(&GrantSpec::call("g"), Terms::default()).is_err(), "{name}: never wider");
        let two = Terms { calls: Some(2), ..Terms::default() };
        let narrow = grant.narrow(grant.spec(), two).expect(name);
        let given = other.accept(Subject::Instance(receiver), &narrow).expect(name);
        assert!(call(&mut other, receiver, "call").is_ok() && call(&mut other, receiver, "call").is_ok(), "{name}");
        assert!(call(&mut other, receiver, "call").is_err(), "{name}: the quota is used up");
        assert_eq!(given.state(), GrantState::Spent, "{name}");
        let wide = other.accept(Subject::Store, &grant).expect(name);
        assert!(call(&mut other, receiver, "call").is_ok(), "{name}");
        std::thread::scope(|scope| scope.spawn(|| grant.revoke()).join().expect("revokes"));
        assert!(!wide.is_live() && !narrow.is_live(), "{name}");
        assert!(call(&mut other, receiver, "call").is_err() && call(&mut store, instance, "call").is_err(), "{name}");
        let late = other.accept(Subject::Store, &grant).expect(name);
        assert!(!late.is_live() && call(&mut other, receiver, "call").is_err(), "{name}: what is handed on too late");
    });
}

#[test]
fn terms_bound_calls_bytes_and_time() {
    everywhere(|name, engine| {
        let mut linker: Linker<()> = Linker::new(engine);
        linker
            .capability("h", "f", |caller: Caller<'_, ()>| -> i32 {
                caller.moved(10);
                1
            })
            .expect(name);
        let (mut store, instance) = store_with(engine, &linker, ());
        let mut allowed_with = |terms: Terms| {
            let grant = store.grant_with(Subject::Store, GrantSpec::call("f"), terms).expect(name);
            let allowed = (0..20).take_while(|_| call(&mut store, instance, "call").is_ok()).count();
            (allowed, grant.capability().bytes(), grant.state())
        };
        let calls = Terms { calls: Some(3), ..Terms::default() };
        assert_eq!(allowed_with(calls), (3, 30, GrantState::Spent), "{name}");
        let bytes = Terms { bytes: Some(25), ..Terms::default() };
        assert_eq!(allowed_with(bytes), (3, 30, GrantState::Spent), "{name}");
        let until = Terms { until: Some(Instant::now() + Duration::from_millis(30)), ..Terms::default() };
        let grant = store.grant_with(Subject::Store, GrantSpec::call("f"), until).expect(name);
        let start = Instant::now();
        let ended = call(&mut store, instance, "loop").expect_err("it ends by itself");
        assert_eq!((code(&ended), grant.state()), (TrapCode::CapabilityDenied, GrantState::Expired), "{name}");
        assert!(start.elapsed() < Duration::from_secs(5), "{name}");
    });
}

/// Slot, outcome, bytes, and the grant that was used or needed.
type Use = (Option<u32>, AuditOutcome, u64, String);

#[derive(Default)]
struct Told(Arc<Mutex<Vec<Use>>>);

impl AuditSink for Told {
    fn record(&mut self, event: &AuditEvent<'_>) -> std::io::Result<()> {
        let needed = event.spec.map_or_else(|| event.actions[0].hint().to_owned(), ToString::to_string);
        self.0.lock().expect("no panic").push((event.slot, event.outcome, event.bytes, needed));
        Ok(())
    }
}

#[test]
fn capability_1a_what_the_audit_is_told_adds_up_to_the_counters() {
    everywhere(|name, engine| {
        let mut linker: Linker<u32> = Linker::new(engine);
        linker
            .capability("h", "f", |mut caller: Caller<'_, u32>| -> Result<i32> {
                *caller.data_mut() += 1;
                caller.moved(5);
                if *caller.data() == 2 { Err(aura_runtime::Error::trap_code(TrapCode::Unreachable)) } else { Ok(1) }
            })
            .expect(name);
        let (mut store, instance) = store_with(engine, &linker, 0);
        let told = Told::default();
        let events = told.0.clone();
        store.set_audit(Some(Box::new(told)));
        let _ = call(&mut store, instance, "call");
        let grant = store.grant(Subject::Store, GrantSpec::call("f")).expect(name);
        let _ = call(&mut store, instance, "call");
        let _ = call(&mut store, instance, "call");
        grant.revoke();
        let _ = call(&mut store, instance, "call");
        use AuditOutcome::{Allowed, Denied, Failed};
        let events = events.lock().expect("no panic").clone();
        let short: Vec<_> = events.iter().map(|event| (event.0, event.1, event.2)).collect();
        let expected = [(None, Denied, 0), (Some(0), Allowed, 5), (Some(0), Failed, 5), (Some(0), Denied, 0)];
        assert_eq!(short, expected, "{name}");
        assert!(events[0].3 == "call:FUNCTION" && events[1].3 == "call:f", "{name}: {events:?}");
        let slot = &store.slots()[0];
        assert_eq!((slot.uses, slot.denials, slot.bytes, slot.state), (2, 1, 10, GrantState::Revoked), "{name}");
        assert_eq!(store.denials_without_slot(), 1, "{name}");
    });
}

struct Full;

impl AuditSink for Full {
    fn record(&mut self, _: &AuditEvent<'_>) -> std::io::Result<()> {
        Err(std::io::Error::other("the disk is full"))
    }
}

#[test]
fn nothing_goes_on_without_its_audit() {
    everywhere(|name, engine| {
        let linker = answering(engine);
        let (mut store, instance) = store_with(engine, &linker, ());
        store.grant(Subject::Store, GrantSpec::call("f")).expect(name);
        store.set_audit(Some(Box::new(Full)));
        let error = call(&mut store, instance, "call").expect_err(name);
        assert!(error.to_string().contains("the disk is full"), "{name}: {error}");
    });
}

#[test]
fn host_functions_see_guest_memory_through_checked_pointers() {
    everywhere(|name, engine| {
        let mut linker: Linker<()> = Linker::new(engine);
        linker
            .capability("h", "sum", |mut caller: Caller<'_, ()>, from: GuestPtr<u32>, len: u32, to: GuestPtr<u64>| {
                let mut memory = caller.memory();
                let sum = from.slice(len).read(&memory, 1000)?.into_iter().map(u64::from).sum();
                to.write(&mut memory, sum)?;
                Ok::<_, aura_runtime::Error>(())
            })
            .expect(name);
        let module = r#"(module (import "h" "sum" (func $sum (param i32 i32 i32))) (memory (export "memory") 1)
            (data (i32.const 0) "\01\00\00\00\02\00\00\00\ff\ff\ff\ff")
            (func (export "sum") (param i32 i32 i32) (result i64)
                (call $sum (local.get 0) (local.get 1) (local.get 2)) (i64.load (i32.const 64))))"#;
        let mut store = Store::new(engine, ());
        store.grant(Subject::Store, GrantSpec::call("sum")).expect(name);
        let instance = linker.instantiate(&mut store, &Module::new(engine, module).expect(name)).expect(name);
        let sum = instance.get_typed_func::<(i32, i32, i32), u64>(&store, "sum").expect(name);
        assert_eq!(sum.call(&mut store, (0, 3, 64)).expect(name), 0x1_0000_0002, "{name}");
        for wrong in [(65533, 1, 64), (0, 3, 65529), (0, -1, 64), (-1, 1, 64), (0, 2000, 64)] {
            let error = sum.call(&mut store, wrong).expect_err(name);
            assert_eq!(code(&error), TrapCode::MemoryOutOfBounds, "{name} {wrong:?}");
        }
    });
}

#[derive(Default)]
struct Counts(Vec<(u64, u64)>, u64);

impl ResourceLimiter for Counts {
    fn memory_growing(&mut self, grow_by: u64, desired: u64) -> bool {
        self.0.push((grow_by, desired));
        desired <= 3 << 16
    }
    fn table_growing(&mut self, _: u64, desired: u64) -> bool {
        desired <= 10
    }
    fn instance_making(&mut self, desired: u64) -> bool {
        self.1 = desired;
        desired <= 2
    }
}

const GROWS: &str = r#"(module (memory 1) (table 2 funcref)
    (func (export "grow") (result i32) (memory.grow (i32.const 1)))
    (func (export "table") (result i32) (table.grow (ref.null func) (i32.const 6))))"#;

#[test]
fn the_hosts_limiter_is_asked_about_all_growth() {
    everywhere(|name, engine| {
        let module = Module::new(engine, GROWS).expect(name);
        let mut store = Store::new(engine, Counts::default());
        store.limiter(|counts| counts);
        let instance = Instance::new(&mut store, &module, &[]).expect(name);
        assert_eq!(call(&mut store, instance, "grow").expect(name), 1);
        assert_eq!(call(&mut store, instance, "grow").expect(name), 2);
        assert_eq!(call(&mut store, instance, "grow").expect(name), -1, "{name}: the limiter says no");
        assert_eq!(call(&mut store, instance, "table").expect(name), 2);
        assert_eq!(call(&mut store, instance, "table").expect(name), -1, "{name}");
        assert_eq!(store.data().0, [1, 2, 3, 4].map(|pages| (1 << 16, pages << 16)), "{name}");
        assert_eq!(store.usage(), Usage { memory_bytes: 3 << 16, table_elements: 8, instances: 1 }, "{name}");
        assert!(Instance::new(&mut store, &module, &[]).is_err(), "{name}: its memory passes the limiter's bound");
        assert_eq!(store.data().1, 2, "{name}");
    });
}

#[test]
fn stores_of_a_tenant_share_its_limits() {
    everywhere(|name, engine| {
        let module = Module::new(engine, GROWS).expect(name);
        let tenant = Tenant::new(Usage { memory_bytes: 3 << 16, table_elements: 100, instances: 3 });
        let mut stores = [(); 2].map(|()| Store::new(engine, ()));
        for store in &mut stores {
            store.set_tenant(&tenant).expect(name);
            store.set_limits(StoreLimits::default());
        }
        let [first, second] = &mut stores;
        let one = Instance::new(&mut *first, &module, &[]).expect(name);
        let two = Instance::new(&mut *second, &module, &[]).expect(name);
        assert!(first.set_tenant(&tenant).is_err(), "{name}");
        assert_eq!(call(first, one, "grow").expect(name), 1);
        assert_eq!(call(second, two, "grow").expect(name), -1, "{name}: the other store has it");
        assert_eq!(tenant.usage(), Usage { memory_bytes: 3 << 16, table_elements: 4, instances: 2 }, "{name}");
        drop(stores);
        assert_eq!(tenant.usage(), Usage::default(), "{name}");
    });
}
