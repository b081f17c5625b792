//! What a module may use and how big it may be: [`Features`] and [`Limits`].
//!
//! Features choose a version of the specification and single proposals on top of it; a proposal the
//! engine does not implement cannot be switched on. Limits bound everything a module's bytes can
//! make the engine do; the defaults admit the large programs that exist, [`Limits::strict`] is for
//! small untrusted skills. Limits above wasmparser's own are lowered to those.

use std::fmt;

use wasmparser::WasmFeatures;

use crate::parse::Error;

/// The WebAssembly version and proposals a module may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Features(WasmFeatures);

impl Features {
    /// WebAssembly 1.0 (2019).
    pub const V1: Self = Self(WasmFeatures::WASM1);
    /// WebAssembly 2.0 (2022): 1.0 with multi-value, reference types, bulk memory, sign extension, saturating
    /// conversions and SIMD.
    pub const V2: Self = Self(WasmFeatures::WASM2);
    /// WebAssembly 3.0 (2025): 2.0 with extended constant expressions, relaxed SIMD, tail calls, several memories, 64-bit
    /// memories and tables, exceptions, typed function references and garbage collection. Threads are no part of it.
    pub const V3: Self = Self(WasmFeatures::WASM3.difference(WasmFeatures::THREADS));

    /// The newest version.
    pub const NEWEST: Self = Self::V3;
    /// All that the engine implements: the newest version, and every proposal beside it.
    pub const IMPLEMENTED: Self = Self::implemented();

    const fn implemented() -> Self {
        let mut features = Self::V2.0;
        let mut index = 0;
        while index < PROPOSALS.len() {
            if PROPOSALS[index].implemented {
                features = features.union(PROPOSALS[index].flag);
            }
            index += 1;
        }
        Self(features)
    }

    const fn is_implemented(self) -> bool {
        let mut index = 0;
        while index < PROPOSALS.len() {
            let row = &PROPOSALS[index];
            if !row.implemented && self.0.contains(row.flag) {
                return false;
            }
            index += 1;
        }
        true
    }

    /// Switches one proposal by its name, such as `simd` or `extended-const`.
    ///
    /// # Errors
    /// If no proposal has this name, or if it would be switched on and the engine does not implement it.
    pub fn with(self, proposal: &str, on: bool) -> Result<Self, UnknownProposal> {
        let row = PROPOSALS.iter().find(|p| p.name == proposal).ok_or_else(|| UnknownProposal::missing(proposal))?;
        if on && !row.implemented {
            return Err(UnknownProposal { name: proposal.to_owned(), exists: true });
        }
        let mut features = self.0;
        features.set(row.flag, on);
        Ok(Self(features))
    }

    /// Whether the proposal of this name is switched on.
    #[must_use]
    pub fn has(self, proposal: &str) -> bool {
        PROPOSALS.iter().any(|p| p.name == proposal && self.0.contains(p.flag))
    }

    /// The names of the proposals that can be switched on, oldest first, with what each brings.
    pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
        PROPOSALS.iter().filter(|p| p.implemented).map(|p| (p.name, p.what.trim()))
    }

    /// The same set for wasmparser.
    #[must_use]
    pub fn wasmparser(self) -> WasmFeatures {
        self.0
    }
}

// Features begin as a version, and `with` adds no other proposals: none that is not implemented is ever on.
const _: () = assert!(Features::NEWEST.is_implemented(), "the engine implements every proposal of the versions");

impl Default for Features {
    /// The newest version.
    fn default() -> Self {
        Self::NEWEST
    }
}

/// A proposal cannot be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProposal {
    name: String,
    exists: bool,
}

impl UnknownProposal {
    fn missing(name: &str) -> Self {
        Self { name: name.to_owned(), exists: false }
    }
}

impl fmt::Display for UnknownProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, exists } = self;
        if *exists {
            write!(f, "the proposal `{name}` is not implemented")
        } else {
            write!(f, "no proposal is named `{name}`")
        }
    }
}

impl std::error::Error for UnknownProposal {}

/// A proposal as wasmparser gates it.
pub(crate) struct Proposal {
    pub(crate) name: &'static str,
    pub(crate) flag: WasmFeatures,
    implemented: bool,
    what: &'static str,
}

/// Calls `$mac!` with the rows of the table of proposals that a core module can need, oldest first: what the proposal
/// brings, the name of its setter in an engine's configuration, its own name, wasmparser's flag, and whether the engine implements it.
#[macro_export]
macro_rules! for_each_proposal {
    ($mac:ident) => {
        $mac! {
            /// Import and export of globals that change.
            wasm_mutable_global = "mutable-global", MUTABLE_GLOBAL, true;
            /// Operators that extend the sign of a part of an integer.
            wasm_sign_extension = "sign-extension", SIGN_EXTENSION, true;
            /// Conversions of floats to integers that do not trap.
            wasm_saturating_float_to_int = "saturating-float-to-int", SATURATING_FLOAT_TO_INT, true;
            /// Several results of functions, and parameters of blocks.
            wasm_multi_value = "multi-value", MULTI_VALUE, true;
            /// Filling and copying of ranges of memories and tables, and passive segments.
            wasm_bulk_memory = "bulk-memory", BULK_MEMORY, true;
            /// References as values, and several tables.
            wasm_reference_types = "reference-types", REFERENCE_TYPES, true;
            /// Vectors of 128 bits.
            wasm_simd = "simd", SIMD, true;
            /// Sums and products in constant expressions.
            wasm_extended_const = "extended-const", EXTENDED_CONST, true;
            /// Vector operators whose results the specification leaves open; here always those of its deterministic profile.
            wasm_relaxed_simd = "relaxed-simd", RELAXED_SIMD, true;
            /// Calls that replace their caller.
            wasm_tail_call = "tail-call", TAIL_CALL, true;
            /// Several memories in a module.
            wasm_multi_memory = "multi-memory", MULTI_MEMORY, true;
            /// Memories and tables with indices of 64 bits.
            wasm_memory64 = "memory64", MEMORY64, true;
            /// Exceptions: tags, `throw` and `try_table`.
            wasm_exceptions = "exception-handling", EXCEPTIONS, true;
            /// References to functions of known type.
            wasm_function_references = "function-references", FUNCTION_REFERENCES, true;
            /// Collected structures and arrays.
            wasm_gc = "gc", GC, true;
            /// Shared memories and atomic accesses.
            wasm_threads = "threads", THREADS, true;
            /// Exceptions as they were before they became part of the standard: `try`, `catch` and `delegate`.
            wasm_legacy_exceptions = "legacy-exceptions", LEGACY_EXCEPTIONS, true;
            /// Memories whose length is no multiple of 64 KiB.
            wasm_custom_page_sizes = "custom-page-sizes", CUSTOM_PAGE_SIZES, true;
            /// Sums, differences and products of 128 bits.
            wasm_wide_arithmetic = "wide-arithmetic", WIDE_ARITHMETIC, true;
            /// A shorter form of import sections.
            wasm_compact_imports = "compact-imports", COMPACT_IMPORTS, false;
            /// Control over the host's pages of a memory.
            wasm_memory_control = "memory-control", MEMORY_CONTROL, false;
            /// Stacks as values.
            wasm_stack_switching = "stack-switching", STACK_SWITCHING, false;
            /// Everything that threads may share.
            wasm_shared_everything_threads = "shared-everything-threads", SHARED_EVERYTHING_THREADS, false;
            /// Descriptors of the host's own for types.
            wasm_custom_descriptors = "custom-descriptors", CUSTOM_DESCRIPTORS, false;
            /// Atomic accesses that order less.
            wasm_acquire_release_atomics = "acquire-release-atomics", ACQUIRE_RELEASE_ATOMICS, false;
        }
    };
}

macro_rules! proposals {
    ($(#[doc = $what:literal] $setter:ident = $name:literal, $flag:ident, $implemented:literal;)*) => {
        pub(crate) const PROPOSALS: &[Proposal] = &[$(
            Proposal { name: $name, flag: WasmFeatures::$flag, implemented: $implemented, what: $what },
        )*];
    };
}

for_each_proposal!(proposals);

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident = $default:expr, strict $strict:expr, at_most $hard:expr;)*) => {
        /// How big a module may be. Passing a limit is an error that names the limit; what is as big as the limit is allowed.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits { $($(#[$doc])* pub $name: u32,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Limits for small untrusted skills.
            #[must_use]
            pub fn strict() -> Self {
                Self { $($name: $strict,)* }
            }

            /// The same limits, none above wasmparser's own.
            pub(crate) fn clamped(&self) -> Self {
                Self { $($name: self.$name.min($hard),)* }
            }
        }
    };
}

limits! {
    /// Bytes of the whole module.
    module_bytes = 1 << 30, strict 32 << 20, at_most i32::MAX as u32;
    /// Types of the type section, those of recursion groups one by one.
    types = 100_000, strict 10_000, at_most 1_000_000;
    /// Functions, imported ones included.
    functions = 150_000, strict 20_000, at_most 1_000_000;
    /// Import entries.
    imports = 100_000, strict 10_000, at_most 1_000_000;
    /// Export entries.
    exports = 150_000, strict 20_000, at_most 1_000_000;
    /// Globals, imported ones included.
    globals = 100_000, strict 10_000, at_most 1_000_000;
    /// Tags, imported ones included.
    tags = 100_000, strict 1_000, at_most 1_000_000;
    /// Tables, imported ones included.
    tables = 100, strict 10, at_most 100;
    /// Memories, imported ones included.
    memories = 100, strict 10, at_most 100;
    /// Elements a table has at the start; the greatest number stands for no limit. A store has a limit of its own for tables
    /// that are made.
    table_elements = u32::MAX, strict 100_000, at_most u32::MAX;
    /// Element segments.
    element_segments = 100_000, strict 10_000, at_most 100_000;
    /// Elements of one element segment.
    segment_elements = 10_000_000, strict 100_000, at_most 10_000_000;
    /// Data segments.
    data_segments = 100_000, strict 10_000, at_most 100_000;
    /// Bytes of the name of one import, export or custom section.
    name_bytes = 100_000, strict 10_000, at_most 100_000;
    /// Parameters of one function type.
    params = 1_000, strict 255, at_most 1_000;
    /// Results of one function type.
    results = 1_000, strict 255, at_most 1_000;
    /// Fields of one structure type.
    struct_fields = 10_000, strict 1_000, at_most 10_000;
    /// Operators of one constant expression.
    const_expr_operators = 100_000, strict 1_000, at_most u32::MAX;
    /// Bytes of one function body.
    body_bytes = 7_654_321, strict 1 << 20, at_most 7_654_321;
    /// Locals of one function besides its parameters.
    locals = 50_000, strict 5_000, at_most 50_000;
    /// Blocks, loops and ifs open at once in one function.
    nesting = 10_000, strict 512, at_most u32::MAX;
    /// Targets of one `br_table` besides the default.
    br_table_targets = 65_536, strict 4_096, at_most 7_654_321;
    /// Values that the branches, calls, returns and blocks of one function carry, besides four for each byte of its
    /// body. Bounds lowered code: with a type of many results, two bytes can stand for a thousand moves.
    carried_values = 1 << 20, strict 1 << 16, at_most u32::MAX;
    /// Custom sections that are kept; more are dropped, which is no error.
    custom_sections_kept = 1_000, strict 100, at_most u32::MAX;
    /// Bytes of one custom section that is kept; a longer one is dropped, which is no error.
    custom_section_bytes_kept = 1 << 30, strict 16 << 20, at_most u32::MAX;
}

/// Compares a value with a bound.
///
/// # Errors
/// If the value is greater.
pub(crate) fn check(name: &'static str, value: u64, bound: u32, offset: u64) -> Result<(), Error> {
    if value <= u64::from(bound) {
        return Ok(());
    }
    Err(Error::limit(name, value, u64::from(bound), offset))
}
