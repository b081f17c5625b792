//! A case: bytes from which wasm-smith makes a module, drawn from a seed, shrunk by halves.

use wasm_smith::{Config, Module};

/// A small generator of pseudo-random numbers (SplitMix64), the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}

/// Bytes that a module is made from, and the seed that its calls' arguments are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    seed: u64,
    bytes: Vec<u8>,
}

/// The host's functions that modules may import; see `observe` for what they do.
const IMPORTS: &str = r#"(module
    (import "host" "mix" (func (param i32 i64) (result i64)))
    (import "host" "float" (func (param f32 f64) (result f64)))
    (import "host" "many" (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "host" "tick" (func))
)"#;

impl Case {
    /// The case of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let words = 64 << random.below(5);
        let bytes = (0..words).flat_map(|_| random.number().to_le_bytes()).collect();
        Self { seed, bytes }
    }

    /// The seed the case was drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The module's bytes; none if wasm-smith can make no module of them.
    #[must_use]
    pub fn module(&self) -> Option<Vec<u8>> {
        let mut source = arbitrary::Unstructured::new(&self.bytes);
        Some(Module::new(config(self.seed), &mut source).ok()?.to_bytes())
    }

    /// The module's bytes with a few faults: changed, lost or cut off. Most are no valid module any more.
    #[must_use]
    pub fn damaged_module(&self) -> Option<Vec<u8>> {
        let mut wasm = self.module()?;
        let mut random = Random::new(self.seed ^ 0xda_3a6e);
        for _ in 0..=random.below(3) {
            let at = random.below(wasm.len() as u64) as usize;
            match random.below(8) {
                0 => wasm.truncate(at.max(1)),
                1 if wasm.len() > 1 => drop(wasm.remove(at)),
                2 => wasm.insert(at, random.number() as u8),
                3 => wasm[at] = random.number() as u8,
                _ => wasm[at] ^= 1 << random.below(8),
            }
        }
        Some(wasm)
    }

    /// The smallest case that can be found from this one for which `fails` holds.
    #[must_use]
    pub fn reduce(&self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut best = self.clone();
        let mut step = best.bytes.len().div_ceil(2);
        while step > 0 {
            let mut at = 0;
            while at < best.bytes.len() {
                let mut smaller = best.clone();
                smaller.bytes.drain(at..(at + step).min(best.bytes.len()));
                if fails(&smaller) {
                    best = smaller;
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        best
    }
}

/// What modules are made of: all of version 2.0, bounded so that a run is short.
///
/// Modules of even seeds have checks around all that could trap, so that they run further.
fn config(seed: u64) -> Config {
    let imports = wat::parse_str(IMPORTS).expect("the list of imports is well formed");
    Config {
        available_imports: Some(imports),
        export_everything: true,
        disallow_traps: seed.is_multiple_of(2),
        min_funcs: 1,
        max_funcs: 12,
        max_imports: 4,
        max_instructions: 120,
        max_memories: 1,
        max_memory32_bytes: 8 << 16,
        memory_max_size_required: true,
        max_tables: 3,
        max_table_elements: 200,
        table_max_size_required: true,
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        extended_const_enabled: false,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_module_every_time() {
        for seed in 0..20 {
            assert_eq!(Case::new(seed).module(), Case::new(seed).module(), "seed {seed}");
        }
        assert!((0..20).all(|seed| Case::new(seed).module().is_some()));
    }

    #[test]
    fn reducing_keeps_what_fails_and_drops_the_rest() {
        let case = Case { seed: 0, bytes: (0..=255).collect() };
        let reduced = case.reduce(|case| case.bytes.contains(&7) && case.bytes.contains(&200));
        assert_eq!(reduced.bytes, [7, 200]);
    }
}
