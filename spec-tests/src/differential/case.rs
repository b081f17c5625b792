//! A case: a module drawn from a seed, and smaller ones like it.
//!
//! Three of four are made by wasm-smith from bytes, shrunk by halves; one of four has accesses at edges
//! (see [`super::edges`]), shrunk by its functions. A case uses whatever the engine implements.

use aura_runtime::Features;
use wasm_smith::{Config, MemoryOffsetChoices, Module};

use super::edges::Edges;

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

/// What a module is made from, and the seed that its calls' arguments are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    seed: u64,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// Bytes for wasm-smith.
    Smith(Vec<u8>),
    Edges(Edges),
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
        if seed % 4 == 3 {
            return Self { seed, source: Source::Edges(Edges::new(&mut random)) };
        }
        let words = 64 << random.below(5);
        let bytes = (0..words).flat_map(|_| random.number().to_le_bytes()).collect();
        Self { seed, source: Source::Smith(bytes) }
    }

    /// The seed the case was drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The module's bytes; none if wasm-smith can make no module of them.
    #[must_use]
    pub fn module(&self) -> Option<Vec<u8>> {
        match &self.source {
            Source::Smith(bytes) => {
                let mut source = arbitrary::Unstructured::new(bytes);
                Some(Module::new(config(self.seed), &mut source).ok()?.to_bytes())
            }
            Source::Edges(edges) => wat::parse_str(edges.text()).ok(),
        }
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
        match &self.source {
            Source::Smith(bytes) => {
                let with = |bytes| Self { seed: self.seed, source: Source::Smith(bytes) };
                with(reduce_list(bytes.clone(), |bytes| fails(&with(bytes.to_vec()))))
            }
            Source::Edges(edges) => {
                let with = |functions: &[String]| Self {
                    seed: self.seed,
                    source: Source::Edges(edges.with_functions(functions)),
                };
                with(&reduce_list(edges.functions.clone(), |functions| fails(&with(functions))))
            }
        }
    }
}

/// The shortest list that can be found for which `fails` holds, by leaving out longer and shorter runs.
fn reduce_list<T: Clone>(mut best: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut step = best.len().div_ceil(2);
    while step > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut smaller = best.clone();
            smaller.drain(at..(at + step).min(best.len()));
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

/// What modules are made of: all that the engine implements, bounded so that a run is short.
///
/// Modules of even seeds have checks around all that could trap, so that they run further. In the others
/// half of the static offsets are near the end of the memory or anywhere.
fn config(seed: u64) -> Config {
    let imports = wat::parse_str(IMPORTS).expect("the list of imports is well formed");
    let has = |proposal| Features::IMPLEMENTED.has(proposal);
    let disallow_traps = seed.is_multiple_of(2);
    Config {
        available_imports: Some(imports),
        export_everything: true,
        disallow_traps,
        memory_offset_choices: if disallow_traps {
            MemoryOffsetChoices(90, 9, 1)
        } else {
            MemoryOffsetChoices(2, 1, 1)
        },
        min_funcs: 1,
        max_funcs: 12,
        max_imports: 4,
        max_instructions: 120,
        max_memories: if has("multi-memory") { 3 } else { 1 },
        max_memory32_bytes: 8 << 16,
        max_memory64_bytes: 8 << 16,
        memory_max_size_required: true,
        max_tables: 3,
        max_table_elements: 200,
        table_max_size_required: true,
        exceptions_enabled: has("exception-handling"),
        gc_enabled: has("gc"),
        compact_imports_enabled: has("compact-imports"),
        memory64_enabled: has("memory64"),
        relaxed_simd_enabled: has("relaxed-simd"),
        tail_call_enabled: has("tail-call"),
        threads_enabled: has("threads"),
        wide_arithmetic_enabled: has("wide-arithmetic"),
        extended_const_enabled: has("extended-const"),
        custom_page_sizes_enabled: has("custom-page-sizes"),
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
        let case = Case { seed: 0, source: Source::Smith((0..=255).collect()) };
        let reduced = case.reduce(|case| match &case.source {
            Source::Smith(bytes) => bytes.contains(&7) && bytes.contains(&200),
            Source::Edges(_) => false,
        });
        assert_eq!(reduced.source, Source::Smith(vec![7, 200]));
        let edges = Case::new(3);
        let reduced = edges.reduce(|case| matches!(&case.source, Source::Edges(edges) if !edges.functions.is_empty()));
        assert!(matches!(reduced.source, Source::Edges(edges) if edges.functions.len() == 1));
    }
}
