//! The shapes: modules of some hundred KiB to some MiB in which one thing is as many, as long or as deep as can be.

use super::encode::{F64, I32, I64, NO_VALUES, V128, Wasm, body, export, leb, list, name};

/// A module that is made to cost.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) make: fn() -> Vec<u8>,
}

/// All shapes, by what there is much of.
pub(super) const SHAPES: &[Shape] = &[
    Shape { name: "types", make: types },
    Shape { name: "imports", make: imports },
    Shape { name: "exports", make: exports },
    Shape { name: "long-names", make: long_names },
    Shape { name: "locals", make: locals },
    Shape { name: "locals-everywhere", make: locals_everywhere },
    Shape { name: "deep-blocks", make: || nested(&[0x02, 0x40], 9_000) },
    Shape { name: "deep-loops", make: || nested(&[0x03, 0x40], 9_000) },
    Shape { name: "deep-ifs", make: || nested(&[0x41, 1, 0x04, 0x40], 9_000) },
    Shape { name: "too-deep", make: || nested(&[0x02, 0x40], 1_000_000) },
    Shape { name: "long-table", make: || tables_of_labels(1, 60_000) },
    Shape { name: "many-tables", make: || tables_of_labels(100, 5_000) },
    Shape { name: "many-values", make: many_values },
    Shape { name: "straight-adds", make: || straight(&[0x41, 1, 0x6a], 600_000) },
    Shape { name: "straight-vectors", make: straight_vectors },
    Shape { name: "straight-calls", make: || Wasm::new().one_function(&[], &calls(400_000)) },
    Shape { name: "branches-to-all", make: branches_to_all },
    Shape { name: "loops-with-locals", make: loops_with_locals },
    Shape { name: "data-segments", make: data_segments },
    Shape { name: "huge-tables", make: huge_tables },
    Shape { name: "long-constant", make: long_constant },
    Shape { name: "element-segments", make: element_segments },
    Shape { name: "many-functions", make: many_functions },
    Shape { name: "custom-sections", make: custom_sections },
    Shape { name: "broken-names", make: broken_names },
];

fn types() -> Vec<u8> {
    // All of them different: the parameters count in base four.
    let ty = |n: u32| {
        let params: Vec<u8> = (0..9).map(|place| [I32, I64, F64, V128][(n >> (2 * place) & 3) as usize]).collect();
        [vec![0x60], leb(params.len() as u64), params, vec![0]].concat()
    };
    Wasm::new().list(1, &(0..90_000).map(ty).collect::<Vec<_>>()).finish()
}

fn imports() -> Vec<u8> {
    let import = |n: u32| [name("m"), name(&format!("f{n}")), vec![0, 0]].concat();
    Wasm::new().list(1, &[NO_VALUES.to_vec()]).list(2, &(0..90_000).map(import).collect::<Vec<_>>()).finish()
}

fn exports() -> Vec<u8> {
    let export = |n: u32| export(&format!("export{n}"), 0, 0);
    Wasm::new()
        .list(1, &[NO_VALUES.to_vec()])
        .section(3, &[1, 0])
        .list(7, &(0..140_000).map(export).collect::<Vec<_>>())
        .list(10, &[body(&[], &[])])
        .finish()
}

fn long_names() -> Vec<u8> {
    let export = |n: u32| export(&format!("{}{n}", "x".repeat(90_000)), 0, 0);
    Wasm::new()
        .list(1, &[NO_VALUES.to_vec()])
        .section(3, &[1, 0])
        .list(7, &(0..40).map(export).collect::<Vec<_>>())
        .list(10, &[body(&[], &[])])
        .finish()
}

fn locals() -> Vec<u8> {
    let runs: Vec<_> = (0..49_996).map(|n| (1, [I32, I64, F64, V128][n % 4])).collect();
    Wasm::new().one_function(&runs, &[])
}

/// Functions of a few bytes each with as many locals as can be; `run` calls each once.
fn locals_everywhere() -> Vec<u8> {
    const COUNT: u64 = 10_000;
    let all: Vec<u8> = (1..=COUNT).flat_map(|func| [vec![0x10], leb(func)].concat()).collect();
    let mut bodies = vec![body(&[], &all)];
    bodies.resize(COUNT as usize + 1, body(&[(50_000, I64)], &[]));
    Wasm::new()
        .list(1, &[NO_VALUES.to_vec()])
        .list(3, &vec![vec![0]; bodies.len()])
        .list(7, &[export("run", 0, 0)])
        .list(10, &bodies)
        .finish()
}

fn nested(open: &[u8], depth: usize) -> Vec<u8> {
    Wasm::new().one_function(&[], &[open.repeat(depth), vec![0x0b; depth]].concat())
}

fn tables_of_labels(count: usize, targets: usize) -> Vec<u8> {
    let table = [vec![0x41, 0, 0x0e], list(&vec![vec![0]; targets]), vec![0]].concat();
    let block = [vec![0x02, 0x40], table, vec![0x0b]].concat();
    Wasm::new().one_function(&[], &block.repeat(count))
}

/// Blocks in blocks, each of which takes and gives a thousand values.
fn many_values() -> Vec<u8> {
    let values = [leb(1000), vec![I64; 1000]].concat();
    let wide = [vec![0x60], values.clone(), values].concat();
    let (begin, end) = ([0x42, 1].repeat(1000), vec![0x1a; 1000]);
    let code = [begin, [0x02, 1].repeat(500), vec![0x0b; 500], end].concat();
    Wasm::new()
        .list(1, &[NO_VALUES.to_vec(), wide])
        .section(3, &[1, 0])
        .list(7, &[export("run", 0, 0)])
        .list(10, &[body(&[], &code)])
        .finish()
}

fn straight(step: &[u8], count: usize) -> Vec<u8> {
    Wasm::new().one_function(&[], &[vec![0x41, 0], step.repeat(count), vec![0x1a]].concat())
}

fn straight_vectors() -> Vec<u8> {
    // local.get 0, local.get 1, i8x16.add, local.set 0
    Wasm::new().one_function(&[(2, V128)], &[0x20, 0, 0x20, 1, 0xfd, 0x6e, 0x21, 0].repeat(200_000))
}

/// Calls of the first function, which is `run` itself, after a return.
fn calls(count: usize) -> Vec<u8> {
    [vec![0x41, 1, 0x04, 0x40, 0x0f, 0x0b], [0x10, 0].repeat(count)].concat()
}

/// In each of many loops in loops a branch to every one of them.
fn branches_to_all() -> Vec<u8> {
    const DEPTH: u64 = 400;
    let mut code = Vec::new();
    for depth in 0..DEPTH {
        code.extend([0x03, 0x40]);
        (0..depth).for_each(|label| code.extend([vec![0x20, 0, 0x0d], leb(label)].concat()));
    }
    code.extend(vec![0x0b; DEPTH as usize]);
    Wasm::new().one_function(&[(1, I32)], &code)
}

/// Loops in loops that change many locals: what makes compilers slow.
fn loops_with_locals() -> Vec<u8> {
    const LOCALS: u32 = 200;
    let mut code = Vec::new();
    for depth in 0..200_u32 {
        code.extend([0x03, 0x40]);
        let (to, from) = (depth % LOCALS, (7 * depth + 1) % LOCALS);
        code.extend([vec![0x20], leb(from.into()), vec![0x41, 1, 0x6a, 0x21], leb(to.into())].concat());
    }
    (0..200).for_each(|label| code.extend([vec![0x20], leb(label), vec![0x0d, 0, 0x0b]].concat()));
    Wasm::new().one_function(&[(LOCALS, I32)], &code)
}

fn data_segments() -> Vec<u8> {
    let segment = |n: u32| [vec![0, 0x41], leb_signed(n % 60_000), vec![0x0b, 1, n as u8]].concat();
    Wasm::new().section(5, &[1, 0, 1]).list(11, &(0..99_000).map(segment).collect::<Vec<_>>()).finish()
}

/// A number that is not negative, as a signed one.
fn leb_signed(value: u32) -> Vec<u8> {
    let mut out = leb(value.into());
    let last = out.last_mut().expect("a number has a byte");
    if *last & 0x40 != 0 {
        *last |= 0x80;
        out.push(0);
    }
    out
}

fn huge_tables() -> Vec<u8> {
    let table = [vec![0x70, 0], leb(10_000_000)].concat();
    Wasm::new().list(4, &vec![table; 100]).finish()
}

fn long_constant() -> Vec<u8> {
    let init = [vec![0x41, 1], [0x41, 1, 0x6a].repeat(90_000), vec![0x0b]].concat();
    Wasm::new().list(6, &[[vec![I32, 0], init].concat()]).finish()
}

fn element_segments() -> Vec<u8> {
    let segment = [vec![0, 0x41, 0, 0x0b], list(&vec![vec![0]; 8])].concat();
    Wasm::new()
        .list(1, &[NO_VALUES.to_vec()])
        .section(3, &[1, 0])
        .section(4, &[1, 0x70, 0, 100])
        .list(9, &vec![segment; 90_000])
        .list(10, &[body(&[], &[])])
        .finish()
}

fn many_functions() -> Vec<u8> {
    const COUNT: usize = 140_000;
    Wasm::new()
        .list(1, &[NO_VALUES.to_vec()])
        .list(3, &vec![vec![0]; COUNT])
        .list(7, &[export("run", 0, 0)])
        .list(10, &vec![body(&[], &[]); COUNT])
        .finish()
}

fn custom_sections() -> Vec<u8> {
    let sections = |wasm: Wasm, n: u32| wasm.section(0, &[name(&format!("section{n}")), vec![0; 20]].concat());
    (0..60_000).fold(Wasm::new(), sections).finish()
}

/// A name section whose sizes lie.
fn broken_names() -> Vec<u8> {
    let lies = [name("name"), vec![1], leb(1 << 20), leb(1 << 31), vec![0xff; 1 << 20]].concat();
    Wasm::new().section(0, &lies).one_function(&[], &[])
}
