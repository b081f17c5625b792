//! Code memory and the registry: protections, look-ups, freeing.

#![cfg(target_os = "linux")]

mod support;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use aura_host_abi::TrapCode;
use aura_jit::registry::{lookup, trap_at};
use aura_jit::{CodeKind, CodeLocation, CompiledFunction, CompilerConfig, KeptCode, ModuleCode};
use support::{compile, compiler};

const LOAD: &str = "(module (memory 1) (func (param i32) (result i32) (i32.load offset=4 (local.get 0))))";

fn load() -> CompiledFunction {
    compile(CompilerConfig::default(), LOAD, 0)
}

fn code(token: u64, reservation: usize) -> ModuleCode {
    ModuleCode::new(&compiler(CompilerConfig::default()), token, reservation).expect("address space")
}

/// Mappings of this process that overlap a range, with their protection.
fn mappings(range: &Range<usize>) -> Vec<(Range<usize>, String)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this is Linux");
    let parse = |line: &str| {
        let (addresses, rest) = line.split_once(' ')?;
        let (start, end) = addresses.split_once('-')?;
        let hex = |text| usize::from_str_radix(text, 16).ok();
        Some((hex(start)?..hex(end)?, rest[..4].to_owned()))
    };
    let overlaps = |mapping: &Range<usize>| mapping.start < range.end && range.start < mapping.end;
    maps.lines().filter_map(parse).filter(|(mapping, _)| overlaps(mapping)).collect()
}

#[test]
fn no_page_is_ever_writable_and_executable() {
    let code = code(1, 1 << 20);
    for batch in 0..3 {
        let function = load();
        let published = code.publish(&[(CodeKind::Function(0), &function), (CodeKind::Stub, &function)]);
        let addresses = published.expect("there is space");
        let protections = mappings(&code.range());
        let executable: Vec<_> = protections.iter().filter(|(_, p)| p.contains('x')).collect();
        assert!(protections.iter().all(|(_, p)| p == "r-xp" || p == "---p"), "batch {batch}: {protections:?}");
        for address in addresses {
            assert!(executable.iter().any(|(range, _)| range.contains(&address.addr().get())), "batch {batch}");
        }
    }
}

#[test]
fn a_batch_begins_on_a_fresh_page() {
    let code = code(1, 1 << 20);
    let page = |code: &ModuleCode| code.publish(&[(CodeKind::Stub, &load())]).expect("space")[0].addr().get() / 4096;
    let (first, second) = (page(&code), page(&code));
    assert!(first < second);
}

#[test]
fn a_full_reservation_is_an_error_and_what_is_there_stays() {
    let code = code(1, 2 * 4096);
    let function = load();
    let address = code.publish(&[(CodeKind::Function(3), &function)]).expect("one page")[0].addr().get();
    code.publish(&[(CodeKind::Function(4), &function)]).expect("another page");
    let error = code.publish(&[(CodeKind::Function(5), &function)]).expect_err("no third page");
    assert!(error.to_string().contains("cannot publish code"), "{error}");
    assert_eq!(lookup(address).expect("still there").kind, CodeKind::Function(3));
}

#[test]
fn counters_lead_to_functions_and_operators() {
    let code = code(42, 1 << 20);
    let function = load();
    let start = code.publish(&[(CodeKind::Function(9), &function)]).expect("space")[0].addr().get();
    let &(offset, trap) = function.traps.first().expect("a load may trap");
    assert_eq!(trap, TrapCode::MemoryOutOfBounds);
    let at = CodeLocation { module: 42, kind: CodeKind::Function(9), start, module_offset: None };
    let operator = at_operator(&function, offset);
    assert_eq!(lookup(start + offset as usize), Some(CodeLocation { module_offset: Some(operator), ..at }));
    assert_eq!(trap_at(start + offset as usize), Some(TrapCode::MemoryOutOfBounds));
    assert_eq!(trap_at(start + offset as usize + 1), None, "only the exact instruction traps");
    assert_eq!(lookup(start), Some(at), "the prologue is no operator's");
    assert_eq!(lookup(start + function.bytes.len()), None);
    assert_eq!(lookup(start - 1), None);
    assert_eq!((lookup(0), lookup(usize::MAX), trap_at(0)), (None, None, None));
    drop(code);
    assert_eq!(lookup(start), None);
}

fn at_operator(function: &CompiledFunction, offset: u32) -> u32 {
    function.srclocs.iter().rfind(|entry| entry.0 <= offset).expect("an operator").1
}

#[test]
fn many_functions_are_each_found() {
    let code = code(5, 8 << 20);
    let function = load();
    let batch: Vec<_> = (0..3000).map(|i| (CodeKind::Function(i), &function)).collect();
    let addresses = code.publish(&batch).expect("space");
    for (i, address) in addresses.iter().enumerate() {
        let last = address.addr().get() + function.bytes.len() - 1;
        assert_eq!(lookup(last).map(|at| at.kind), Some(CodeKind::Function(i as u32)));
    }
}

#[test]
fn readers_see_modules_come_and_go() {
    let done = AtomicBool::new(false);
    let code = code(1000, 1 << 20);
    let function = load();
    let stays = code.publish(&[(CodeKind::Function(1), &function)]).expect("space")[0].addr().get();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(lookup(stays).map(|at| at.module), Some(1000));
                    // Near by is where the other thread's modules are; an answer is theirs or none.
                    for distance in [1 << 20, 2 << 20, 3 << 20] {
                        for pc in [stays - distance, stays + distance] {
                            let found = lookup(pc).map(|at| at.module);
                            assert!(found.is_none_or(|module| module < 500 || module == 1000), "{found:?}");
                        }
                    }
                }
            });
        }
        for token in 0..300 {
            let compiler = compiler(CompilerConfig::default());
            let code = ModuleCode::new(&compiler, token, 1 << 20).expect("address space");
            let start = code.publish(&[(CodeKind::Stub, &function)]).expect("space")[0].addr().get();
            assert_eq!(lookup(start).map(|at| at.module), Some(token));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_loop_begins_with_a_line_of_the_cache() {
    let text = "(module (func (param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))";
    let function = compile(CompilerConfig::default(), text, 0);
    let header = function.traps.iter().rev().find(|(_, code)| *code == TrapCode::Interrupted).expect("it has a loop").0;
    let code = code(1, 1 << 20);
    let batch =
        [(CodeKind::Function(0), &load()), (CodeKind::Function(1), &function), (CodeKind::Function(2), &function)];
    for address in &code.publish(&batch).expect("space")[1..] {
        assert_eq!((address.addr().get() + header as usize) % 64, 0, "no constants, so that nothing else aligns it");
        assert_eq!(lookup(address.addr().get()).expect("registered").start, address.addr().get());
    }
}

/// Code that is refused while it is read, as that of an artifact that was changed.
#[test]
fn refused_code_is_never_executable() {
    const PAGE: usize = 4096;
    let code = KeptCode::new(1, 1 << 20).expect("space");
    let refused = code.publish(2 * PAGE, |bytes| {
        bytes.fill(0xcc);
        Err("changed")
    });
    assert_eq!(refused, Err("changed"));
    let mut place = 0..0;
    let published = code.publish(1, |bytes| {
        bytes[0] = 0xc3;
        place = bytes.as_ptr().expose_provenance()..bytes.as_ptr().addr() + PAGE;
        Ok::<_, ()>(Vec::new())
    });
    assert_eq!(published, Ok(Some(Vec::new())));
    assert_eq!(mappings(&place)[0].1, "r-xp");
    // SAFETY: the page is mapped for reading, and nobody writes it any more.
    let page = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(place.start), PAGE) };
    assert_eq!(page.iter().filter(|&&byte| byte != 0).collect::<Vec<_>>(), [&0xc3]);
}
