//! Modules whose accesses lie at the edges on purpose: of pages, of the memory, of 2^31, 2^32, 2^63 and 2^64.
//!
//! A random address almost never comes near an edge, and modules made to run without traps never go over
//! one; faults of bounds checks live there. Each function here makes one access, at an address that is
//! written in it or given as an argument, with an offset that brings it to an edge; functions that grow the
//! memory move the edge. Arguments are addresses near edges too: see [`near_edge`].

use std::fmt::Write as _;

use aura_runtime::Features;

use super::case::Random;

/// A kind of memory.
#[derive(Clone, Copy, Debug)]
struct Memory {
    is64: bool,
    /// Exponent of the size of a page.
    page: u32,
    min: u64,
    max: u64,
    shared: bool,
}

/// A number at most 20 away from an edge; with `page`, that exponent's multiples are edges too.
pub fn near_edge(random: &mut Random, page: u32) -> u64 {
    let edge = match random.below(8) {
        0 => 0,
        1 => 1 << 31,
        2 => 1 << 32,
        3 => 1 << 63,
        4 => 1 << 16,
        _ => random.below(6) << page,
    };
    edge.wrapping_add(random.below(41)).wrapping_sub(20)
}

/// Stores and loads as they are written, with the type of the value and the number of bytes.
const ACCESSES: &[(&str, &str, u64)] = &[
    ("i32.load", "i32", 4),
    ("i32.load8_s", "i32", 1),
    ("i32.load16_u", "i32", 2),
    ("i64.load", "i64", 8),
    ("i64.load32_s", "i64", 4),
    ("f32.load", "f32", 4),
    ("f64.load", "f64", 8),
    ("v128.load", "v128", 16),
    ("v128.load8_splat", "v128", 1),
    ("v128.load32x2_u", "v128", 8),
    ("v128.load64_zero", "v128", 8),
    ("i32.store", "i32", 4),
    ("i32.store8", "i32", 1),
    ("i64.store", "i64", 8),
    ("i64.store16", "i64", 2),
    ("f64.store", "f64", 8),
    ("v128.store", "v128", 16),
];

/// Atomic ones; the address must be aligned too.
const ATOMICS: &[(&str, &str, u64)] = &[
    ("i32.atomic.load", "i32", 4),
    ("i64.atomic.load", "i64", 8),
    ("i32.atomic.load8_u", "i32", 1),
    ("i32.atomic.store", "i32", 4),
    ("i64.atomic.store32", "i64", 4),
];

/// A module: its memories and tables, and its functions one by one, so that it can be reduced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edges {
    head: String,
    pub functions: Vec<String>,
}

impl Edges {
    /// The module of a seed, of what the engine implements.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        let memories = memories(random);
        let mut head = String::new();
        for (index, memory) in memories.iter().enumerate() {
            let (index_type, shared) =
                (if memory.is64 { "i64" } else { "i32" }, if memory.shared { " shared" } else { "" });
            let page = match memory.page {
                16 => String::new(),
                log2 => format!(" (pagesize {})", 1_u64 << log2),
            };
            let (min, max) = (memory.min, memory.max);
            let _ = writeln!(head, "(memory (export \"m{index}\") {index_type} {min} {max}{shared}{page})");
        }
        head.push_str("(table (export \"t\") 10 20 funcref) (elem (i32.const 3) 0 0)\n(func (export \"zero\"))\n(data $d \"some bytes\")\n");
        let count = 4 + random.below(12);
        let functions = (0..count).map(|index| function(index, &memories, random)).collect();
        Self { head, functions }
    }

    /// The same module with these functions alone.
    #[must_use]
    pub fn with_functions(&self, functions: &[String]) -> Self {
        Self { head: self.head.clone(), functions: functions.to_vec() }
    }

    /// The module as text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("(module\n{}{})\n", self.head, self.functions.concat())
    }
}

fn memories(random: &mut Random) -> Vec<Memory> {
    let has = |proposal| Features::IMPLEMENTED.has(proposal);
    let count = if has("multi-memory") { 1 + random.below(3) } else { 1 };
    let memory = |_| {
        let is64 = has("memory64") && random.below(2) == 0;
        let shared = has("threads") && random.below(4) == 0;
        let page = if has("custom-page-sizes") && random.below(4) == 0 { 0 } else { 16 };
        let scale = if page == 0 { 30_000 } else { 1 };
        let min = random.below(4) * scale;
        Memory { is64, page, min, max: min + random.below(4) * scale, shared }
    };
    (0..count).map(memory).collect()
}

fn function(index: u64, memories: &[Memory], random: &mut Random) -> String {
    let which = random.below(memories.len() as u64) as usize;
    let memory = memories[which];
    let body = match random.below(10) {
        0 => grow(which, memory, random),
        1 => bulk(which, memory, random),
        2 => table(random),
        3 => stepping(which, memory, random),
        _ => access(which, memory, random),
    };
    format!("(func (export \"f{index}\") {body})\n")
}

fn index_type(memory: Memory) -> &'static str {
    if memory.is64 { "i64" } else { "i32" }
}

/// A memory operand, and an address that brings the access near an edge.
fn place(which: usize, memory: Memory, bytes: u64, random: &mut Random) -> (String, u64) {
    let target = match random.below(3) {
        0 => (memory.min << memory.page).wrapping_add(random.below(5)).wrapping_sub(bytes + 2),
        _ => near_edge(random, memory.page),
    };
    let offset = match random.below(5) {
        0 | 1 => 0,
        2 => random.below(40),
        3 => target.wrapping_sub(random.below(40)),
        _ => near_edge(random, memory.page),
    };
    let offset = if memory.is64 { offset } else { offset & 0xffff_ffff };
    let address = target.wrapping_sub(offset);
    let operand = if which == 0 { String::new() } else { format!(" {which}") };
    (format!("{operand} offset={offset}"), if memory.is64 { address } else { address & 0xffff_ffff })
}

fn access(which: usize, memory: Memory, random: &mut Random) -> String {
    let atomic = Features::IMPLEMENTED.has("threads") && random.below(3) == 0;
    let list = if atomic { ATOMICS } else { ACCESSES };
    let (name, ty, bytes) = list[random.below(list.len() as u64) as usize];
    let (operand, address) = place(which, memory, bytes, random);
    let at = index_type(memory);
    let (param, address) = match random.below(2) {
        0 => (String::new(), format!("({at}.const {address})")),
        _ => (format!("(param $a {at}) "), "(local.get $a)".to_owned()),
    };
    let value = match ty {
        "v128" => "(v128.const i64x2 0x1122334455667788 0x99aabbccddeeff00)".to_owned(),
        ty => format!("({ty}.const {})", random.below(1 << 30)),
    };
    if name.contains("store") {
        format!("{param}({name}{operand} {address} {value})")
    } else {
        format!("{param}(result {ty}) ({name}{operand} {address})")
    }
}

fn grow(which: usize, memory: Memory, random: &mut Random) -> String {
    let at = index_type(memory);
    let pages = match random.below(3) {
        0 => near_edge(random, memory.page) & if memory.is64 { u64::MAX } else { 0xffff_ffff },
        _ => random.below(3) << (16 - memory.page),
    };
    format!("(result {at} {at}) (memory.grow {which} ({at}.const {pages})) (memory.size {which})")
}

/// Fill, copy or init over an edge: the whole length counts, also if it is zero.
fn bulk(which: usize, memory: Memory, random: &mut Random) -> String {
    let at = index_type(memory);
    let number = |random: &mut Random| {
        let number = near_edge(random, memory.page);
        if memory.is64 { number } else { number & 0xffff_ffff }
    };
    let (to, from) = (number(random), number(random));
    let length = if random.below(3) == 0 { number(random) } else { random.below(60) };
    match random.below(3) {
        0 => format!("(memory.fill {which} ({at}.const {to}) (i32.const {}) ({at}.const {length}))", random.below(256)),
        1 => format!("(memory.copy {which} {which} ({at}.const {to}) ({at}.const {from}) ({at}.const {length}))"),
        _ => format!(
            "(memory.init {which} $d ({at}.const {to}) (i32.const {}) (i32.const {}))",
            random.below(12),
            length & 0xffff_ffff
        ),
    }
}

fn table(random: &mut Random) -> String {
    let index = if random.below(2) == 0 { random.below(24) } else { near_edge(random, 16) & 0xffff_ffff };
    match random.below(4) {
        0 => format!("(result i32) (ref.is_null (table.get (i32.const {index})))"),
        1 => format!("(table.set (i32.const {index}) (ref.func 0))"),
        2 => format!("(result i32) (table.grow (ref.null func) (i32.const {index}))"),
        _ => format!("(call_indirect (i32.const {index}))"),
    }
}

/// A loop that walks over the edge: the compiler may hoist or merge its checks.
fn stepping(which: usize, memory: Memory, random: &mut Random) -> String {
    let at = index_type(memory);
    let (operand, address) = place(which, memory, 8, random);
    let step = 1 + random.below(9);
    format!(
        "(result i64) (local $i {at}) (local $n i32) (local $sum i64) (local.set $i ({at}.const {address}))
  (loop $next
    (i64.store8{operand} (local.get $i) (i64.extend_i32_u (local.get $n)))
    (local.set $sum (i64.add (local.get $sum) (i64.load{operand} (local.get $i))))
    (local.set $i ({at}.add (local.get $i) ({at}.const {step})))
    (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20))))
  (local.get $sum)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_at_the_edges_are_valid() {
        let mut config = aura_runtime::Config::new();
        config.strategy(aura_runtime::Strategy::Interpreter).features(Features::IMPLEMENTED);
        let engine = aura_runtime::Engine::new(&config).expect("an engine");
        for seed in 0..300 {
            let text = Edges::new(&mut Random::new(seed)).text();
            let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            aura_runtime::Module::from_binary(&engine, &wasm)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        }
    }
}
