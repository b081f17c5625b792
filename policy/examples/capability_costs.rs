//! What capabilities cost: `cargo run --release -p aura-policy --example capability_costs [CALLS]`.
//!
//! Prints nanoseconds of a bare host call, of one behind a grant, of one that is audited; microseconds of a revocation with 1
//! and with 10,000 derived handles; and races CALLS calls (10 million unless given) against revocations on another
//! thread, of which none may succeed after the revocation returned. Exit code 1 if one did.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aura_policy::{AuditLog, digest};
use aura_runtime::{
    Config, Engine, Error, Func, GrantSpec, Instance, Linker, Module, Store, Strategy, Subject, Terms, Val,
};
use aura_wasi::WasiCtx;

const CALLS_PER_ROUND: u32 = 1_000_000;
const ROUNDS: usize = 41;

/// Calls each of its imports in a loop.
const LOOPS: &str = r#"(module (import "h" "bare" (func $bare)) (import "h" "granted" (func $granted))
    (func (export "bare") (param i32) (loop $l (call $bare)
        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "granted") (param i32) (loop $l (call $granted)
        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "once") (call $granted)))"#;

/// Opens the file `f` below the first directory as often as it is told.
const OPENS: &str = r#"(module (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "f")
    (func (export "open") (param i32) (result i32) (local i32)
        (loop $l
            (local.set 1 (i32.or (local.get 1) (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
                (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1)))"#;

fn main() -> ExitCode {
    let calls = std::env::args().nth(1).map_or(10_000_000, |text| text.parse().expect("CALLS is a number"));
    match run(calls) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(late) => {
            println!("{late} calls succeeded after their grant was taken back");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(calls: u64) -> Result<u64, Error> {
    calls_cost()?;
    for handles in [1, 10_000] {
        println!("revoke with {handles:>6} derived handles: {:8.1} us", revocation(handles)?);
    }
    race(calls)
}

fn linker(engine: &Engine) -> Result<Linker<()>, Error> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("h", "bare", || ())?;
    linker.capability("h", "granted", || ())?;
    Ok(linker)
}

/// Nanoseconds per call, the least of several rounds: of each export, their rounds in turns.
fn per_call(store: &mut Store<()>, instance: Instance, names: &[&str], calls: u32) -> Result<Vec<f64>, Error> {
    let typed = |name: &&str| instance.get_typed_func::<i32, ()>(&*store, name);
    let funcs: Vec<_> = names.iter().map(typed).collect::<Result<_, _>>()?;
    let mut least = vec![f64::MAX; funcs.len()];
    for _ in 0..ROUNDS {
        for (func, least) in funcs.iter().zip(&mut least) {
            let start = Instant::now();
            func.call(&mut *store, calls as i32)?;
            *least = least.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
        }
    }
    Ok(least)
}

/// On compiled code, where a host call costs least and a check would show most.
fn calls_cost() -> Result<(), Error> {
    let engine = Engine::new(Config::new().strategy(Strategy::Jit))?;
    let mut store = Store::new(&engine, ());
    store.grant(Subject::Store, GrantSpec::call("granted"))?;
    let instance = linker(&engine)?.instantiate(&mut store, &Module::new(&engine, LOOPS)?)?;
    let costs = per_call(&mut store, instance, &["bare", "granted"], CALLS_PER_ROUND)?;
    println!("bare host call:           {:8.2} ns", costs[0]);
    println!("granted host call:        {:8.2} ns, {:+.2} ns for the check", costs[1], costs[1] - costs[0]);
    let log = AuditLog::begin(Discard, "costs", &digest(LOOPS.as_bytes())).map_err(Error::host)?;
    store.set_audit(Some(log.sink()));
    let audited = per_call(&mut store, instance, &["granted"], 20_000)?;
    println!("audited, without the disk:{:8.0} ns", audited[0]);
    Ok(())
}

#[derive(Debug)]
struct Discard;

impl Write for Discard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Microseconds of taking back a directory through which so many files are open; the median of some.
fn revocation(handles: u32) -> Result<f64, Error> {
    let folder = std::env::temp_dir().join(format!("aura-capability-costs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join("f"), "f")).map_err(Error::host)?;
    let engine = Engine::default();
    let mut linker: Linker<WasiCtx> = Linker::new(&engine);
    linker.host_functions(aura_wasi::FUNCTIONS, |wasi| wasi)?;
    let module = Module::new(&engine, OPENS)?;
    // As many as this process may have open; the rest of them are more of the same.
    let rounds = if handles > 100 { 3 } else { 101 };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut store = Store::new(&engine, WasiCtx::new());
        store.on_grant(|wasi, grant| wasi.attach(grant.clone()).map_err(Error::host));
        let limits = aura_wasi::WasiLimits { handles_max: 20_000, ..aura_wasi::WasiLimits::default() };
        store.data_mut().set_limits(limits);
        let spec = format!("fs.read={}::/d", folder.display()).parse().map_err(Error::host)?;
        let grant = store.grant(Subject::Store, spec)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let failed = instance.get_typed_func::<i32, i32>(&store, "open")?.call(&mut store, handles as i32)?;
        if failed != 0 {
            println!(
                "not all of {handles} files could be opened (error {failed}): raise the limit with `ulimit -n 20000`"
            );
        }
        let start = Instant::now();
        std::thread::scope(|scope| scope.spawn(|| times.push(timed(|| grant.revoke()))).join()).expect("no panic");
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    let _ = std::fs::remove_dir_all(&folder);
    times.sort_unstable();
    Ok(times[times.len() / 2].as_nanos() as f64 / 1000.0)
}

fn timed(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

/// Races calls against grants and revocations; how many succeeded too late.
fn race(calls: u64) -> Result<u64, Error> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let instance = linker(&engine)?.instantiate(&mut store, &Module::new(&engine, LOOPS)?)?;
    let once = instance.get_func(&mut store, "once").expect("the module exports it");
    let (phase, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let granter = store.granter();
    let revoker = std::thread::spawn({
        let (phase, done) = (phase.clone(), done.clone());
        move || {
            // Odd while a grant may stand.
            while !done.load(Ordering::Acquire) {
                phase.fetch_add(1, Ordering::SeqCst);
                let grant = granter.grant(Subject::Store, GrantSpec::call("granted"), Terms::default());
                std::thread::sleep(Duration::from_micros(200));
                grant.expect("the subject is the store").revoke();
                phase.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    let start = Instant::now();
    let (mut allowed, mut late) = (0, 0);
    for _ in 0..calls {
        let (ok, was_late) = raced(&mut store, &once, &phase);
        allowed += u64::from(ok);
        late += u64::from(was_late);
    }
    done.store(true, Ordering::Release);
    revoker.join().expect("no panic");
    let revocations = phase.load(Ordering::SeqCst) / 2;
    println!(
        "{calls} calls raced {revocations} revocations in {:.1?}: {allowed} allowed, {late} too late",
        start.elapsed()
    );
    Ok(late)
}

/// One call: whether it was let through, and whether it began and ended while no grant stood.
fn raced(store: &mut Store<()>, once: &Func, phase: &AtomicU64) -> (bool, bool) {
    let before = phase.load(Ordering::SeqCst);
    let ok = once.call(store, &[], &mut [] as &mut [Val]).is_ok();
    (ok, ok && before.is_multiple_of(2) && phase.load(Ordering::SeqCst) == before)
}
