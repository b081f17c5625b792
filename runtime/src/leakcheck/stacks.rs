//! What frames of guests find of the frames that were there before them: nothing.

use std::fmt::Write as _;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::image::{Image, ImageConfig, ImageFunc};
use crate::linker::Linker;
use crate::module::Module;

/// Locals of each frame.
const LOCALS: u32 = 40;
/// Frames of each scan.
const DEPTH: i64 = 40;

/// Two skills: one leaves canaries in as many frames as it can, the other adds up locals that nobody has set.
pub struct Stacks {
    dirty: (Image<()>, ImageFunc<i64, i64>),
    clean: (Image<()>, ImageFunc<i64, i64>),
}

impl std::fmt::Debug for Stacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stacks")
    }
}

impl Stacks {
    /// Makes the two for an engine.
    ///
    /// # Errors
    /// If the engine's limits are too narrow for them.
    pub fn new(engine: &Engine) -> Result<Self> {
        let made = |text: &str| -> Result<(Image<()>, ImageFunc<i64, i64>)> {
            let module = Module::new(engine, text)?;
            let mut config = ImageConfig::new();
            config.fuel(1_000_000);
            let image = Image::new(&Linker::new(engine), &module, &config)?;
            let func = image.typed_func("run")?;
            Ok((image, func))
        };
        let (dirty, clean) = skills();
        Ok(Self { dirty: made(&dirty)?, clean: made(&clean)? })
    }

    /// Fills frames with canaries, ends their instance, and has another look at what it finds in frames at the same
    /// place; how many bytes of locals that were.
    ///
    /// # Errors
    /// If one is not zero, or the skills do not run.
    pub fn scan(&self) -> Result<u64> {
        let (image, func) = &self.dirty;
        image.instantiate(())?.call(func, DEPTH)?;
        let (image, func) = &self.clean;
        match image.instantiate(())?.call(func, DEPTH)? {
            0 => Ok(u64::from(LOCALS + 2) * 8 * DEPTH as u64),
            bits => Err(Error::resource(format!("locals that nobody set have the bits {bits:#x}"))),
        }
    }
}

/// The texts of the two.
fn skills() -> (String, String) {
    let locals = "i64 ".repeat(LOCALS as usize);
    let all = |from: u32| {
        (from..=LOCALS).fold(String::from("(i64.const 0)"), |sum, local| format!("(i64.or {sum} (local.get {local}))"))
    };
    let sets = (1..=LOCALS).fold(String::new(), |mut sets, local| {
        let _ = write!(sets, "(local.set {local} (i64.xor (i64.const 0xc5c5c5c5c5c5c5c5) (local.get 0)))");
        sets
    });
    let deeper = "(if (i64.gt_s (local.get 0) (i64.const 0)) (then
        (local.set 1 (i64.or (local.get 1) (call $run (i64.sub (local.get 0) (i64.const 1)))))))";
    let head = format!("(module (func $run (export \"run\") (param i64) (result i64) (local {locals}");
    let dirty = format!("{head}) {sets} {deeper} {}))", all(1));
    let refs =
        "(i64.extend_i32_u (i32.or (i32.eqz (ref.is_null (local.get 42))) (i32.eqz (ref.is_null (local.get 43)))))
        (i64.extend_i32_u (v128.any_true (local.get 41)))";
    let clean = format!("{head} v128 externref funcref) {deeper} (i64.or {} (i64.or {refs}))))", all(1));
    (dirty, clean)
}
