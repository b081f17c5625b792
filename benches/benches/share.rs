//! Data that is shared beside data that is copied: `cargo bench -p aura-benches --bench share [-- PART...]`, where parts are
//! named by their functions.
//!
//! Rounds of all contenders are interleaved; figures are medians. Prints, as Markdown: what handing over costs that lies
//! in a window, of an instance that stays and of one that is made for the call; the curve of lending a foreign buffer beside copying it, with the point where they meet; a log of ten
//! megabytes analysed by Aura, by Wasmtime (the same module, the data copied into a fresh instance of its pool) and
//! natively by the same source, with the time split; a stream through one megabyte; what a gigabyte takes of memory.

use std::fs::File;
use std::hint::black_box;
use std::io::{Seek as _, Write as _};
use std::time::Instant;

use aura_benches::{Outcome, machine, median};
use aura_runtime::{
    Access, Config, Engine, Grant, GrantSpec, Image, ImageConfig, ImageFunc, Instance, Linker, Loan, Module, Ring,
    SharedBuffer, Store, Strategy, Subject, TypedFunc, Window,
};

#[path = "../../examples/guests/logscan/scan.rs"]
mod scan;

const LINECOUNT: &[u8] = include_bytes!("../../examples/guests/linecount.wasm");
const LOGSCAN: &[u8] = include_bytes!("../../examples/guests/logscan.wasm");
const LOG: &[u8] = include_bytes!("../../examples/data/access.log");
const OUTPUT: u64 = 65536;
const ROUNDS: usize = 21;

type OneInput = (u32, u32, u32, u32);

fn main() -> Outcome<()> {
    let mut text = String::new();
    machine::describe(&mut text)?;
    println!("{text}");
    // `cargo bench` passes `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    type Part = fn() -> Outcome<()>;
    let parts: [(&str, Part); 5] = [
        ("hand_over", hand_over),
        ("curve", curve),
        ("log_analysis", log_analysis),
        ("streaming", streaming),
        ("peak", peak),
    ];
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    parts.iter().filter(|(name, _)| is_wanted(name)).try_for_each(|(_, part)| part())
}

/// Nanoseconds that something takes, and what it gives.
fn timed<R>(act: impl FnOnce() -> R) -> (f64, R) {
    let start = Instant::now();
    let result = act();
    (start.elapsed().as_nanos() as f64, result)
}

/// An instance of Aura with a window.
struct Guest {
    store: Store<()>,
    instance: Instance,
    window: Window,
    read: Grant,
    write: Grant,
}

fn aura() -> Outcome<Engine> {
    Ok(Engine::new(Config::new().strategy(Strategy::Jit))?)
}

impl Guest {
    fn new(engine: &Engine, module: &Module, window: u64) -> Outcome<Self> {
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, module)?;
        let memory = instance.get_memory(&store, "memory").ok_or("the skill exports its memory")?;
        let window = memory.add_window(&mut store, window)?;
        let read = store.grant(Subject::Store, GrantSpec::map_read("input"))?;
        let write = store.grant(Subject::Store, GrantSpec::map_write("output"))?;
        Ok(Self { store, instance, window, read, write })
    }

    fn lend(&mut self, at: u64, buffer: &SharedBuffer, access: Access) -> Outcome<Loan> {
        let grant = if access == Access::Write { &self.write } else { &self.read };
        Ok(self.window.lend(&mut self.store, grant, at, buffer, 0..buffer.len(), access)?)
    }

    fn pair(&self, name: &str) -> Outcome<TypedFunc<(u32, u32), u32>> {
        Ok(self.instance.get_typed_func(&self.store, name)?)
    }
}

fn sizes() -> impl Iterator<Item = u64> {
    (12..=30).step_by(3).map(|log2| 1 << log2)
}

fn size_text(bytes: u64) -> String {
    match bytes {
        bytes if bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
        bytes if bytes < 1 << 30 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} GiB", bytes >> 30),
    }
}

/// An image that lends this buffer to every instance.
fn lending_image(engine: &Engine, module: &Module, buffer: &SharedBuffer) -> Outcome<Image<()>> {
    let mut config = ImageConfig::new();
    config.window(buffer.len()).lend(GrantSpec::map_read("input"), 0, buffer);
    Ok(Image::new(&Linker::new(engine), module, &config)?)
}

/// A call with address and length of what lies in the window, whatever its size; the guest looks at both ends.
fn hand_over() -> Outcome<()> {
    println!("\n## Handing over what lies in the window\n\n| size | call | fresh instance, call, end |\n|--:|--:|--:|");
    const CALLS: u32 = 20_000;
    let engine = aura()?;
    let module = Module::from_binary(&engine, LINECOUNT)?;
    for size in sizes() {
        let buffer = SharedBuffer::new(size)?;
        let mut guest = Guest::new(&engine, &module, size)?;
        let loan = guest.lend(0, &buffer, Access::Read)?;
        let call = guest.pair("first_and_last")?;
        let image = lending_image(&engine, &module, &buffer)?;
        let fresh: ImageFunc<(u32, u32), u32> = image.typed_func("first_and_last")?;
        let [mut times, mut fresh_times] = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            let (ns, result) = timed(|| {
                (0..CALLS).try_for_each(|_| call.call(&mut guest.store, black_box(loan.as_args())).map(|_| ()))
            });
            result?;
            times.push(ns / f64::from(CALLS));
            let (ns, result) = timed(|| (0..CALLS).try_for_each(|_| fresh_call(&image, &fresh)));
            result?;
            fresh_times.push(ns / f64::from(CALLS));
        }
        let (stays, fresh) = (machine::time(median(&mut times)), machine::time(median(&mut fresh_times)));
        println!("| {} | {stays} | {fresh} |", size_text(size));
    }
    Ok(())
}

fn fresh_call(image: &Image<()>, func: &ImageFunc<(u32, u32), u32>) -> Outcome<()> {
    let mut instance = image.instantiate(())?;
    let (at, len) = instance.lent(0).ok_or("the image lends it")?;
    black_box(instance.call(func, black_box((at as u32, len as u32)))?);
    Ok(())
}

/// Lending a buffer that the guest has not seen, touching every page and taking it back, beside copying it into the guest's
/// memory and touching every page there.
fn curve() -> Outcome<()> {
    println!("\n## A foreign buffer: lent, or copied\n");
    println!("| size | lend | first touch of each page | take back | together | copy and touch | lent / copied |");
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    let engine = aura()?;
    let module = Module::from_binary(&engine, LINECOUNT)?;
    let mut meets = None;
    for size in (12..=30).map(|log2| 1_u64 << log2) {
        let buffer = SharedBuffer::new(size)?;
        let bytes = vec![7; size as usize];
        buffer.write(0, &bytes)?;
        let mut guest = Guest::new(&engine, &module, size)?;
        let touch = guest.pair("touch")?;
        // Without a window, as whoever copies has none; touched once, as a copy's target mostly was before.
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
        let memory = instance.get_memory(&store, "memory").ok_or("the skill exports its memory")?;
        let own = memory.data_size(&store);
        memory.grow(&mut store, size.div_ceil(65536))?;
        memory.write(&mut store, own, &bytes)?;
        let touch_own = instance.get_typed_func::<(u32, u32), u32>(&store, "touch")?;
        let [mut lent, mut touched, mut taken, mut all, mut copied] = [const { Vec::new() }; 5];
        let rounds = if size > 64 << 20 { 7 } else { ROUNDS };
        for _ in 0..rounds {
            let (lend, loan) = timed(|| guest.lend(0, &buffer, Access::Read));
            let loan = loan?;
            let (first, result) = timed(|| touch.call(&mut guest.store, loan.as_args()));
            result?;
            let (back, ()) = timed(|| drop(loan));
            let (copy, result) = timed(|| {
                memory.write(&mut store, own, &bytes)?;
                touch_own.call(&mut store, (own as u32, size as u32))
            });
            result?;
            lent.push(lend);
            touched.push(first);
            taken.push(back);
            all.push(lend + first + back);
            copied.push(copy);
        }
        let (all, copied) = (median(&mut all), median(&mut copied));
        // Twice in a row: one size alone may be an accident of the caches.
        meets = match meets {
            _ if all >= copied && !matches!(meets, Some((_, true))) => None,
            None => Some((size, false)),
            Some((size, _)) => Some((size, true)),
        };
        let time = machine::time;
        let (lent, touched, taken) = (median(&mut lent), median(&mut touched), median(&mut taken));
        println!(
            "| {} | {} | {} | {} | {} | {} | {:.2} |",
            size_text(size),
            time(lent),
            time(touched),
            time(taken),
            time(all),
            time(copied),
            all / copied
        );
    }
    match meets {
        Some((size, true)) => println!("\nLending costs less from {} on.", size_text(size)),
        _ => println!("\nCopying costs less at every size but the largest."),
    }
    Ok(())
}

/// Wasmtime with its pool, as tuned as it gets for this: the pages of an instance stay resident.
fn wasmtime_engine() -> Outcome<wasmtime::Engine> {
    let mut pool = wasmtime::PoolingAllocationConfig::default();
    pool.max_memory_size(64 << 20).linear_memory_keep_resident(64 << 20).total_memories(4).total_core_instances(4);
    let mut config = wasmtime::Config::new();
    config.allocation_strategy(wasmtime::InstanceAllocationStrategy::Pooling(pool));
    Ok(wasmtime::Engine::new(&config)?)
}

/// What one analysis took: handing over, the first touch of the input's pages, work, return and clearing up.
#[derive(Clone, Copy, Default)]
struct Split {
    hand_over: f64,
    work: f64,
    back: f64,
}

impl Split {
    fn all(self) -> f64 {
        self.hand_over + self.work + self.back
    }
}

fn wasmtime_once(
    engine: &wasmtime::Engine,
    pre: &wasmtime::InstancePre<()>,
    input: &[u8],
    report: &mut Vec<u8>,
) -> Outcome<Split> {
    let start = Instant::now();
    let mut store = wasmtime::Store::new(engine, ());
    let instance = pre.instantiate(&mut store)?;
    let memory = instance.get_memory(&mut store, "memory").ok_or("the skill exports its memory")?;
    let at = memory.data_size(&store);
    memory.grow(&mut store, (input.len() as u64 + OUTPUT).div_ceil(65536))?;
    memory.write(&mut store, at, input)?;
    let scan = instance.get_typed_func::<OneInput, i64>(&mut store, "scan")?;
    let hand_over = start.elapsed().as_nanos() as f64;
    let out = at + input.len();
    let (work, count) = timed(|| scan.call(&mut store, (at as u32, input.len() as u32, out as u32, OUTPUT as u32)));
    let count = usize::try_from(count?)?;
    let (back, ()) = timed(|| {
        report.clear();
        report.extend_from_slice(&memory.data(&store)[out..out + count]);
        drop(store);
    });
    Ok(Split { hand_over, work, back })
}

/// A fresh instance and a loan each time, as the rival has to.
fn aura_once(
    engine: &Engine,
    module: &Module,
    input: &SharedBuffer,
    output: &SharedBuffer,
    report: &mut Vec<u8>,
) -> Outcome<Split> {
    let start = Instant::now();
    let mut guest = Guest::new(engine, module, input.len().next_multiple_of(65536) + OUTPUT)?;
    let lent = guest.lend(0, input, Access::Read)?;
    let out = guest.lend(input.len().next_multiple_of(65536), output, Access::Write)?;
    let hand_over = start.elapsed().as_nanos() as f64;
    let (work, count) = timed(|| scan_call(&mut guest, &lent, &out));
    let count = count?;
    let (back, result) = timed(|| {
        report.resize(count, 0);
        let result = output.read(0, report);
        drop((lent, out, guest));
        result
    });
    result?;
    Ok(Split { hand_over, work, back })
}

/// What lies in the window of an instance that stays.
fn window_once(
    guest: &mut Guest,
    lent: &Loan,
    out: &Loan,
    output: &SharedBuffer,
    report: &mut Vec<u8>,
) -> Outcome<Split> {
    let (work, count) = timed(|| scan_call(guest, lent, out));
    let count = count?;
    let (back, result) = timed(|| {
        report.resize(count, 0);
        output.read(0, report)
    });
    result?;
    Ok(Split { hand_over: 0.0, work, back })
}

/// What the image's slots keep in their window, and a fresh instance, which writes its report into memory of its own.
fn slot_once(image: &Image<()>, scan: &ImageFunc<OneInput, i64>, report: &mut Vec<u8>) -> Outcome<Split> {
    let start = Instant::now();
    let mut instance = image.instantiate(())?;
    let (at, len) = instance.lent(0).ok_or("the image lends it")?;
    let memory = instance.instance().get_memory(&*instance, "memory").ok_or("the skill exports its memory")?;
    let out = memory.grow(&mut *instance, OUTPUT / 65536)? * 65536;
    let hand_over = start.elapsed().as_nanos() as f64;
    let (work, count) = timed(|| instance.call(scan, (at as u32, len as u32, out as u32, OUTPUT as u32)));
    let count = usize::try_from(count?)?;
    let (back, result) = timed(|| {
        report.resize(count, 0);
        let result = memory.read(&*instance, out as usize, report);
        drop(instance);
        result
    });
    result?;
    Ok(Split { hand_over, work, back })
}

fn scan_call(guest: &mut Guest, lent: &Loan, out: &Loan) -> Outcome<usize> {
    let scan = guest.instance.get_typed_func::<OneInput, i64>(&guest.store, "scan")?;
    let ((at, len), (out, room)) = (lent.as_args(), out.as_args());
    Ok(usize::try_from(scan.call(&mut guest.store, (at, len, out, room))?)?)
}

fn native_once(input: &SharedBuffer, report: &mut Vec<u8>) -> Outcome<Split> {
    let bytes = input.as_slice().ok_or("the input is frozen")?;
    let (work, count) = timed(|| {
        report.resize(OUTPUT as usize, 0);
        let mut scan = scan::Scan::NEW;
        scan.take(black_box(bytes), true);
        scan.report(report)
    });
    report.truncate(count.ok_or("the report has room")?);
    Ok(Split { work, ..Split::default() })
}

fn log_analysis() -> Outcome<()> {
    let mut log = Vec::new();
    while log.len() < 10 << 20 {
        log.extend_from_slice(LOG);
    }
    log.truncate(10 << 20);
    let input = SharedBuffer::from_bytes(&log)?.freeze()?;
    let output = SharedBuffer::new(OUTPUT)?;
    let engine = aura()?;
    let module = Module::from_binary(&engine, LOGSCAN)?;
    let mut guest = Guest::new(&engine, &module, input.len().next_multiple_of(65536) + OUTPUT)?;
    let lent = guest.lend(0, &input, Access::Read)?;
    let out = guest.lend(input.len().next_multiple_of(65536), &output, Access::Write)?;
    let rival = wasmtime_engine()?;
    let compiled = wasmtime::Module::from_binary(&rival, LOGSCAN)?;
    let pre = wasmtime::Linker::new(&rival).instantiate_pre(&compiled)?;

    let image = lending_image(&engine, &module, &input)?;
    let scan = image.typed_func::<OneInput, i64>("scan")?;
    let names = [
        "native",
        "aura, window",
        "aura, fresh instance, window",
        "aura, fresh instance, lent",
        "wasmtime, fresh instance, copied",
    ];
    let mut splits = [const { Vec::new() }; 5];
    let (mut expected, mut report) = (Vec::new(), Vec::new());
    native_once(&input, &mut expected)?;
    for _ in 0..ROUNDS {
        for (contender, splits) in splits.iter_mut().enumerate() {
            splits.push(match contender {
                0 => native_once(&input, &mut report)?,
                1 => window_once(&mut guest, &lent, &out, &output, &mut report)?,
                2 => slot_once(&image, &scan, &mut report)?,
                3 => aura_once(&engine, &module, &input, &output, &mut report)?,
                _ => wasmtime_once(&rival, &pre, &log, &mut report)?,
            });
            assert_eq!(report, expected, "{}: the reports are the same", names[contender]);
        }
    }
    println!("\n## A log of ten megabytes\n");
    println!("| contender | hand over | work, faults included | return, end | together | of native |");
    println!("|---|--:|--:|--:|--:|--:|");
    let of =
        |splits: &[Split], part: fn(Split) -> f64| median(&mut splits.iter().copied().map(part).collect::<Vec<_>>());
    let native = of(&splits[0], Split::all);
    for (name, splits) in names.iter().zip(&splits) {
        let parts: [fn(Split) -> f64; 4] =
            [|split| split.hand_over, |split| split.work, |split| split.back, Split::all];
        let times = parts.map(|part| machine::time(of(splits, part)));
        let ratio = of(splits, Split::all) / native;
        println!("| {name} | {} | {ratio:.2} |", times.join(" | "));
    }
    let touch = faults(&log)?;
    println!("\nOf the work on a fresh loan, {} are the faults of its first touch.", machine::time(touch));
    Ok(())
}

/// What the first touch of every page of a loan takes beyond a second one.
fn faults(log: &[u8]) -> Outcome<f64> {
    let engine = aura()?;
    let module = Module::from_binary(&engine, LINECOUNT)?;
    let buffer = SharedBuffer::from_bytes(log)?.freeze()?;
    let mut guest = Guest::new(&engine, &module, buffer.len().next_multiple_of(65536))?;
    let touch = guest.pair("touch")?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let loan = guest.lend(0, &buffer, Access::Read)?;
        let (first, result) = timed(|| touch.call(&mut guest.store, loan.as_args()));
        result?;
        let (second, result) = timed(|| touch.call(&mut guest.store, loan.as_args()));
        result?;
        times.push(first - second);
    }
    Ok(median(&mut times))
}

/// A file of a gigabyte in the page cache, that nobody else knows.
fn big_file() -> Outcome<File> {
    let mut file = tempfile::tempfile()?;
    let piece = LOG.repeat((16 << 20) / LOG.len());
    while file.stream_position()? < 1 << 30 {
        file.write_all(&piece)?;
    }
    file.set_len(1 << 30)?;
    Ok(file)
}

fn streaming() -> Outcome<()> {
    println!(
        "\n## A stream of a gigabyte through a window of one megabyte\n\n| skill | rate | of it reading |\n|---|--:|--:|"
    );
    let mut file = big_file()?;
    let engine = aura()?;
    for (name, wasm) in [("counts lines", LINECOUNT), ("analyses a log", LOGSCAN)] {
        let module = Module::from_binary(&engine, wasm)?;
        let (mut rates, mut shares) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            file.rewind()?;
            let (ns, reading) = stream(&engine, &module, &mut file)?;
            rates.push((1_u64 << 30) as f64 / ns);
            shares.push(reading / ns * 100.0);
        }
        println!("| {name} | {:.2} GB/s | {:.0} % |", median(&mut rates), median(&mut shares));
    }
    Ok(())
}

/// Streams a file; nanoseconds of all of it, and of reading.
fn stream(engine: &Engine, module: &Module, file: &mut File) -> Outcome<(f64, f64)> {
    const HALF: u64 = 256 << 10;
    let mut guest = Guest::new(engine, module, 2 * HALF + OUTPUT)?;
    let output = SharedBuffer::new(OUTPUT)?;
    let out = guest.lend(2 * HALF, &output, Access::Write)?;
    let (out_at, room) = out.as_args();
    let mut ring = Ring::new(&mut guest.store, &guest.window, &guest.read, 0, HALF, Access::Read)?;
    let step = guest.instance.get_typed_func::<(u32, u32, u32, u32, u32), i64>(&guest.store, "aura_stream")?;
    let (start, mut reading) = (Instant::now(), 0.0);
    loop {
        let (ns, count) = timed(|| ring.fill_from(file));
        reading += ns;
        let last = u32::from(count? == 0 && ring.free().1 > 0);
        let (at, len) = ring.pending();
        let result = step.call(&mut guest.store, (at as u32, len as u32, last, out_at, room))?;
        ring.consume(u64::try_from(result)? & u64::from(u32::MAX))?;
        if last == 1 {
            return Ok((start.elapsed().as_nanos() as f64, reading));
        }
    }
}

/// Kilobytes of the process's own memory, without pages of files.
fn own_memory() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("the system says so")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn peak() -> Outcome<()> {
    let file = big_file()?;
    let before = own_memory()?;
    let engine = aura()?;
    let module = Module::from_binary(&engine, LINECOUNT)?;
    let buffer = SharedBuffer::map_file(&file)?;
    let mut guest = Guest::new(&engine, &module, 1 << 30)?;
    let loan = guest.lend(0, &buffer, Access::Read)?;
    let (first, result) = timed(|| guest.pair("touch")?.call(&mut guest.store, loan.as_args()).map_err(Into::into));
    let result: Outcome<u32> = result;
    result?;
    let after = own_memory()?;
    println!(
        "\n## Memory of an input of a gigabyte\n\nA file of 1 GiB, lent and touched whole ({}): {} KiB of the process's own memory beside the page cache.",
        machine::time(first),
        after.saturating_sub(before)
    );
    Ok(())
}
