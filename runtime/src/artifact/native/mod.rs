//! Machine code in artifacts: compiled once, by `Module::compile_native`, and taken as it is by every run.
//!
//! Compiled code names no address and no number of an engine: what it needs it finds through the instance. So its bytes serve
//! wherever they lie. They stand in *groups*, functions that are called first in the first ones, others by their place in the
//! module; each group is the code of its functions, in pieces of its own, and behind it what is known of that code.
//!
//! ```text
//! rows     for each own function, its group (0: it is interpreted)
//! groups   for each, where its code begins, how long code and tables are
//! native   code | tables | code | tables ...      each begins with a piece
//! stubs    between the conventions, for types of functions with code and of imported ones
//! ```
//!
//! A group is read when a function of it is first called: into fresh pages, which are compared there, become
//! executable and never writable again (`aura_jit::KeptCode`). Code is used only by engines whose compiler would make code of the
//! same meaning ([`Target`]): a processor that lacks what it uses refuses the artifact; with other options the code is left aside.

mod made;
mod taken;

use super::format::{Section, digest};
use super::pieces::Content;
use crate::engine::Engine;
use crate::module;

pub use made::Native;
pub(crate) use taken::KeptNative;

/// Bytes of a function's row, and of a group's.
pub(super) const ROW: u64 = 4;
const GROUP_ROW: u64 = 16;

/// What machine code was made for, as far as its meaning depends on it.
pub(super) struct Target {
    /// Of the processor, what the code may use.
    processor: Vec<String>,
    /// Options of the engine, in words.
    options: String,
}

impl Target {
    /// What an engine's compiler makes code for; none if the engine has no compiler.
    pub(super) fn of(engine: &Engine) -> Option<Self> {
        let compiler = engine.compiler()?;
        let config = compiler.config();
        let lowering = engine.lowering();
        let options = format!(
            "bounds {:?}, canonical NaNs {}, fuel {}, depth {}",
            config.bounds, config.deterministic, lowering.fuel, lowering.depth
        );
        Some(Self { processor: compiler.processor_features(), options })
    }

    pub(super) fn to_text(&self) -> String {
        format!("{}\n{}", self.options, self.processor.join(" "))
    }

    /// Whether code that was made for `there` serves here; why not, if it never can.
    fn serves(&self, there: &str) -> Result<bool, String> {
        let (options, processor) = there.split_once('\n').unwrap_or_default();
        if options != self.options {
            return Ok(false);
        }
        let lacks = |feature: &&str| !self.processor.iter().any(|has| has == feature);
        match processor.split(' ').filter(|feature| !feature.is_empty()).find(lacks) {
            None => Ok(true),
            Some(feature) => Err(format!(
                "its machine code is for a processor with `{feature}`, which this one lacks; compile the module again"
            )),
        }
    }
}

/// What an engine's machine code is for, in words; `None` if it makes none.
pub(crate) fn target_text(engine: &Engine) -> Option<String> {
    Target::of(engine).map(|target| target.to_text())
}

/// The digest of what an engine's machine code is for; zeros if it makes none.
pub(crate) fn target_digest(engine: &Engine) -> [u8; 32] {
    Target::of(engine).map_or([0; 32], |target| digest(target.to_text().as_bytes()))
}

/// Whether the engine takes the machine code of an artifact.
///
/// # Errors
/// If this processor cannot run it, or the artifact was changed.
pub(super) fn is_for(content: &Content, engine: &Engine) -> Result<bool, String> {
    let there = content.header().native;
    if there == [0; 32] || engine.compiler().is_none() {
        return Ok(false);
    }
    if there == engine.native_target() {
        return Ok(true);
    }
    let text = content.section(Section::NativeTarget)?;
    let text = String::from_utf8_lossy(&text);
    Target::of(engine).map_or(Ok(false), |here| here.serves(&text))
}

/// Whether a function is not to be compiled, for a test.
fn is_skipped(module: &module::Inner, own: u32) -> bool {
    own % 2 == 1 && module.engine().config().odd_functions_interpreted
}

/// The types of imported functions, by index.
fn imported_types(module: &aura_validator::Module) -> impl Iterator<Item = u32> + '_ {
    (0..module.num_imported_funcs()).map(|func| module.func_type_index(func))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_serves_processors_with_all_it_uses_and_engines_with_its_options() {
        let target = |processor: &[&str], options: &str| Target {
            processor: processor.iter().map(|&feature| feature.to_owned()).collect(),
            options: options.to_owned(),
        };
        let here = target(&["has_avx", "has_bmi2"], "bounds Guard");
        let serves = |processor, options| here.serves(&target(processor, options).to_text());
        assert_eq!(serves(&["has_avx", "has_bmi2"], "bounds Guard"), Ok(true));
        assert_eq!(serves(&["has_bmi2"], "bounds Guard"), Ok(true));
        assert_eq!(serves(&[], "bounds Guard"), Ok(true));
        let why = serves(&["has_avx", "has_avx512f"], "bounds Guard").expect_err("this processor lacks one");
        assert!(why.contains("`has_avx512f`"), "{why}");
        // Other options leave it aside, whatever the processor.
        assert_eq!(serves(&["has_avx512f"], "bounds Explicit"), Ok(false));
        assert_eq!(here.serves(""), Ok(false));
    }
}
