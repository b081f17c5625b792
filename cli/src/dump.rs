//! `aura dump`: one stage of a module's life as text.

use std::ops::Range;
use std::process::ExitCode;

use aura_runtime::{Config, Engine, Error, ExternType, Module, inspect};

use crate::args::{DumpArgs, Stage};
use crate::facts::Facts;
use crate::layout::printable;
use crate::load::Source;
use crate::report::{Failure, print};

/// Shows a stage.
///
/// # Errors
/// If the file is no valid module, or it has no such function.
pub(crate) fn dump(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let source = Source::read(&args.file)?;
    let mut config = Config::new();
    args.features.apply(&mut config);
    let engine = Engine::new(&config).map_err(|e| Failure::new(format!("no engine: {e}")))?;
    let module = source.module(&engine)?;
    let of_function: fn(&Module, u32) -> Result<String, Error> = match args.stage {
        Stage::Code => inspect::code_text,
        Stage::Clif => inspect::clif_text,
        Stage::Asm => inspect::asm_text,
        Stage::Sections | Stage::Vmctx if args.func.is_some() => {
            return Err(Failure::usage("--func is for the stages code, clif and asm; this stage has no functions")
                .help("leave --func away"));
        }
        Stage::Sections => return whole(&inspect::sections(&module)),
        Stage::Vmctx => return whole(&inspect::vmctx_text(&module)),
    };
    let facts =
        Facts::read(&source.wasm).map_err(|e| Failure::new(format!("cannot dump: {}: {e}", source.path.display())))?;
    let imported = module.imports().filter(|i| matches!(i.ty(), ExternType::Func(_))).count() as u32;
    let own = imported..imported + facts.functions;
    for func in functions(&source, own, &facts, args.func.as_deref())? {
        let text = of_function(&module, func - imported)
            .map_err(|e| Failure::new(format!("cannot dump: {}: function {func}: {e}", source.path.display())))?;
        let name = facts.function_names.get(&func).map_or_else(String::new, |name| format!(" {}", printable(name)));
        print(&format!("function {func}{name}\n{}\n", text.trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn whole(text: &str) -> Result<ExitCode, Failure> {
    print(&format!("{}\n", text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

/// The functions to show: the one that was chosen, or all of the module's own.
fn functions(source: &Source, own: Range<u32>, facts: &Facts, chosen: Option<&str>) -> Result<Range<u32>, Failure> {
    let Some(chosen) = chosen else {
        return Ok(own);
    };
    let path = source.path.display();
    let Some(index) = facts.function_index(chosen) else {
        return Err(Failure::usage(format!("no such function: {path}: `{chosen}`"))
            .help("`aura inspect FILE` lists the exports; an index counts imported functions first"));
    };
    if own.contains(&index) {
        return Ok(index..index + 1);
    }
    let what = if index < own.start { "is imported and has no body" } else { "does not exist" };
    Err(Failure::usage(format!("no such function: {path}: function {index} {what}")).help(format!(
        "the module's own functions are {} to {}",
        own.start,
        own.end.saturating_sub(1)
    )))
}
