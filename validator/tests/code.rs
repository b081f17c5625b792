//! Goldens of lowering: `tests/code/NAME.wat` lowers to `tests/code/NAME.code`. `BLESS=1` renews them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use aura_validator::{Features, Limits, LowerOptions, Module};

#[test]
fn bodies_lower_to_the_goldens() {
    let mut inputs: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/code"))
        .expect("the folder of goldens")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wat"))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        check(&input);
    }
}

fn check(input: &Path) {
    let bytes = wat::parse_file(input).unwrap_or_else(|error| panic!("{error}"));
    let module =
        Module::new(bytes, &Features::IMPLEMENTED, &Limits::strict()).unwrap_or_else(|e| panic!("{input:?}: {e}"));
    let is_named = |name: &str| input.file_stem().is_some_and(|stem| stem == name);
    let options = LowerOptions { fuel: is_named("fuel"), depth: is_named("depth") };
    let mut text = String::new();
    for own in 0..module.num_own_funcs() {
        let func = module.num_imported_funcs() + own;
        let name = module.func_name(func).unwrap_or_else(|| own.to_string());
        let code = module.lower(own, &options);
        assert_eq!(code.insts.len(), code.offsets.len());
        writeln!(text, "func {name} {}\n{code}", module.func_type(func)).expect("a string");
    }
    let golden = input.with_extension("code");
    if env::var_os("BLESS").is_some() {
        fs::write(&golden, text).expect("a writable golden");
        return;
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(text, expected, "{}; if the change is meant, renew it with BLESS=1", golden.display());
}
