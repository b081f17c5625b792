//! Each stage of a module's life as text, for people and for goldens.

use std::fmt::Write as _;
use std::mem::offset_of;

use aura_host_abi::vm::{VmCtx, VmFuncEntry, VmStore};

use crate::error::{Error, ErrorKind, Result};
use crate::module::Module;

/// Whether the interpreter's handlers can jump to each other in this build ([`crate::Config::interpreter_jumps`]).
pub const INTERPRETER_JUMPS: bool = crate::interp::HAS_JUMPS;

/// How many cells of an own function have machine code of their own by now ([`crate::Config::baseline`]); nothing if the function
/// has none.
#[must_use]
pub fn cells_with_code(module: &Module, own_func: u32) -> Option<usize> {
    module.inner().cells_with_code(own_func)
}

/// The sections of the module: what it defines, with counts and sizes.
#[must_use]
pub fn sections(module: &Module) -> String {
    let m = module.validated();
    let mut text = String::new();
    let rows: [(&str, usize); 11] = [
        ("types", m.types().len()),
        ("imports", m.imports().len()),
        ("functions", m.num_own_funcs() as usize),
        ("tables", m.tables().len()),
        ("memories", m.memories().len()),
        ("globals", m.globals().len()),
        ("exports", m.exports().len()),
        ("element segments", m.elements().len()),
        ("data segments", m.data().len()),
        ("code bytes", m.code_size() as usize),
        ("bytes", m.bytes().len()),
    ];
    for (what, count) in rows {
        let _ = writeln!(text, "{what:<17}{count:>10}");
    }
    for section in m.custom_sections() {
        let _ = writeln!(text, "custom section `{}`: {} bytes", section.name, section.bytes.len());
    }
    text
}

/// The lowered body of an own function.
///
/// # Errors
/// If the module has no such function.
pub fn code_text(module: &Module, own_func: u32) -> Result<String> {
    check(module, own_func)?;
    Ok(module.inner().code(own_func)?.to_string())
}

/// The function as the compiler sees it before optimisation.
///
/// # Errors
/// If the module has no such function, or the engine has no compiler, or it refuses the function.
pub fn clif_text(module: &Module, own_func: u32) -> Result<String> {
    check(module, own_func)?;
    let (validated, code) = (module.validated(), module.inner().code(own_func)?);
    module.inner().make_callees(code)?;
    compiler(module)?.clif_text(validated, own_func, code).map_err(refused)
}

/// The machine code of the function.
///
/// # Errors
/// As [`clif_text`].
pub fn asm_text(module: &Module, own_func: u32) -> Result<String> {
    check(module, own_func)?;
    let (validated, code) = (module.validated(), module.inner().code(own_func)?);
    module.inner().make_callees(code)?;
    let compiled = compiler(module)?.compile(validated, own_func, code).map_err(refused)?;
    Ok(aura_jit::disassemble(&compiled))
}

/// How an instance of the module lies in memory.
#[must_use]
pub fn vmctx_text(module: &Module) -> String {
    let layout = module.validated().layout();
    let counts = *layout.counts();
    let mut text = String::new();
    let mut row = |offset: usize, what: String| {
        let _ = writeln!(text, "{offset:>6}  {what}");
    };
    row(offset_of!(VmCtx, store), format!("store -> VmStore (stack_limit at {})", offset_of!(VmStore, stack_limit)));
    row(offset_of!(VmCtx, entries), format!("entries -> VmFuncEntry ({} bytes each)", size_of::<VmFuncEntry>()));
    row(offset_of!(VmCtx, host), "host -> engine's own data".to_owned());
    let names = module.validated().imports();
    let funcs = names.iter().filter(|i| matches!(i.ty, aura_validator::module::ExternType::Func(_)));
    for (index, import) in funcs.enumerate() {
        row(layout.imports(index as u32) as usize, format!("import {index} {}.{}", import.module, import.name));
    }
    for index in 0..counts.memories {
        row(layout.memories(index) as usize, format!("memory {index}: base, length"));
    }
    for index in 0..counts.tables {
        row(layout.tables(index) as usize, format!("table {index}"));
    }
    for index in 0..counts.imported_globals {
        row(layout.globals(index) as usize, format!("global {index} (imported)"));
    }
    for index in 0..counts.globals - counts.imported_globals {
        row(layout.own_globals(index) as usize, format!("global {}", counts.imported_globals + index));
    }
    row(layout.size(), "end".to_owned());
    text
}

fn check(module: &Module, own_func: u32) -> Result<()> {
    let funcs = module.validated().num_own_funcs();
    if own_func < funcs {
        return Ok(());
    }
    Err(Error::usage(format!("the module defines {funcs} functions, there is no number {own_func}")))
}

fn compiler(module: &Module) -> Result<&aura_jit::Compiler> {
    module.engine().compiler().ok_or_else(|| Error::usage("the engine has no compiler; use Strategy::Jit or Auto"))
}

fn refused(error: aura_jit::CompileError) -> Error {
    Error::new(ErrorKind::Resource, error.to_string())
}
