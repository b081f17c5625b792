//! CLIF and machine code of small functions, as text beside their sources; `BLESS=1` renews them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use aura_jit::{Bounds, CompilerConfig, OptLevel, disassemble};
use support::{compile, compiler, lower, module};

/// Sources: `name.wat` with the first own function compiled under guards and under explicit bounds.
const NAMES: &[&str] = &["fac", "load", "loop", "call_indirect", "br_table", "fuel", "globals"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn config(bounds: Bounds) -> CompilerConfig {
    CompilerConfig { bounds, ..CompilerConfig::default() }
}

#[test]
fn clif_is_as_blessed() {
    for name in NAMES {
        let wat = fs::read_to_string(path(&format!("{name}.wat"))).expect(name);
        for (bounds, mode) in [(Bounds::Guard, "guard"), (Bounds::Explicit, "explicit")] {
            let module = module(&wat);
            let code = lower(&module, 0, *name == "fuel");
            let text = compiler(config(bounds)).clif_text(&module, 0, &code).expect(name);
            if bounds == Bounds::Explicit && module.memories().is_empty() {
                continue;
            }
            let golden = path(&format!("{name}.{mode}.clif"));
            if std::env::var_os("BLESS").is_some() {
                fs::write(&golden, &text).expect("the golden is written");
            }
            assert_eq!(fs::read_to_string(&golden).unwrap_or_default(), text, "{name}: BLESS=1 renews it");
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod machine_code {
    use super::*;

    fn text(bounds: Bounds, opt_level: OptLevel, wat: &str) -> String {
        disassemble(&compile(CompilerConfig { bounds, opt_level, ..CompilerConfig::default() }, wat, 0))
    }

    const LOAD: &str = "(module (memory 1) (func (param i32) (result i32) (i32.load offset=4 (local.get 0))))";

    #[test]
    fn a_guarded_load_has_no_compare() {
        for opt_level in [OptLevel::None, OptLevel::Speed] {
            let text = text(Bounds::Guard, opt_level, LOAD);
            assert!(!text.contains("cmp") && !text.contains(" j"), "{text}");
            assert_eq!(text.matches("trap: out of bounds memory access").count(), 1, "{text}");
        }
    }

    /// C14 of the list of hostile inputs: the address of a checked load depends on the compare by data, not by a branch.
    #[test]
    fn c14_a_checked_load_has_a_conditional_move_and_no_branch() {
        for opt_level in [OptLevel::None, OptLevel::Speed] {
            let text = text(Bounds::Explicit, opt_level, LOAD);
            let (checked, rest) = text.split_once("cmov").unwrap_or_else(|| panic!("no conditional move: {text}"));
            assert!(checked.contains("cmp"), "{text}");
            assert!(!text.contains(" j"), "{text}");
            assert!(rest.contains("trap: out of bounds memory access"), "{text}");
        }
    }

    /// An offset beyond the guard is checked in guard mode too.
    #[test]
    fn c12_a_load_beyond_the_guard_is_checked() {
        let wat = "(module (memory 1) (func (param i32) (result i32) (i32.load offset=0x7fffffff (local.get 0))))";
        assert!(text(Bounds::Guard, OptLevel::Speed, wat).contains("cmov"));
        let wat = "(module (memory 1) (func (param i32) (result i32) (i32.load offset=0x7ffffffc (local.get 0))))";
        assert!(!text(Bounds::Guard, OptLevel::Speed, wat).contains("cmov"));
    }

    #[test]
    fn c14_a_table_access_has_a_conditional_move() {
        let wat = "(module (table 1 funcref) (func (param i32) (result funcref) (table.get 0 (local.get 0))))";
        assert!(text(Bounds::Guard, OptLevel::Speed, wat).contains("cmov"));
    }

    /// The read of the store's page stays in the loop: between its head and the jump back there.
    #[test]
    fn an_empty_loop_keeps_its_poll() {
        for opt_level in [OptLevel::None, OptLevel::Speed] {
            let text = text(Bounds::Guard, opt_level, "(module (func (loop $l (br $l))))");
            let offset = |line: &str| u32::from_str_radix(line.split_whitespace().next().unwrap_or(""), 16);
            let lines: Vec<_> = text.lines().filter_map(|line| Some((offset(line).ok()?, line))).collect();
            let back = |&&(at, line): &&(u32, &str)| {
                let target = line.split_once(" j").and_then(|(_, jump)| jump.split_whitespace().last());
                let target = target.and_then(|t| u32::from_str_radix(t.trim_end_matches('h'), 16).ok());
                target.is_some_and(|target| target <= at)
            };
            let &(end, jump) = lines.iter().find(back).unwrap_or_else(|| panic!("no loop: {text}"));
            let target = jump.split_whitespace().last().expect("a jump has a target");
            let start = u32::from_str_radix(target.trim_end_matches('h'), 16).expect("a target is a number");
            let body: Vec<_> =
                lines.iter().filter(|(at, _)| (start..=end).contains(at)).map(|(_, line)| *line).collect();
            let reads = |line: &&str| line.contains('[') && line.contains("trap: interrupted");
            assert!(body.iter().any(reads), "the loop does not read the page: {text}");
        }
    }

    #[test]
    fn code_lists_where_it_comes_from() {
        let function = compile(CompilerConfig::default(), LOAD, 0);
        let text = disassemble(&function);
        assert!(function.srclocs.is_sorted_by_key(|entry| entry.0));
        assert!(function.traps.is_sorted_by_key(|trap| trap.0));
        assert!(text.contains("module offset"), "{text}");
    }
}
