//! The binary format as far as hostile shapes need it: written byte by byte, because they are not what a writer of modules makes.

/// A module in the making.
pub(super) struct Wasm(Vec<u8>);

/// The type `[] -> []`.
pub(super) const NO_VALUES: &[u8] = &[0x60, 0, 0];
/// The types `i32`, `i64`, `f64` and `v128`.
pub(super) const I32: u8 = 0x7f;
pub(super) const I64: u8 = 0x7e;
pub(super) const F64: u8 = 0x7c;
pub(super) const V128: u8 = 0x7b;

impl Wasm {
    pub(super) fn new() -> Self {
        Self(b"\0asm\x01\0\0\0".to_vec())
    }

    /// Adds a section.
    pub(super) fn section(mut self, id: u8, contents: &[u8]) -> Self {
        self.0.push(id);
        self.0.extend(leb(contents.len() as u64));
        self.0.extend_from_slice(contents);
        self
    }

    /// Adds a section that is a list.
    pub(super) fn list(self, id: u8, items: &[Vec<u8>]) -> Self {
        self.section(id, &list(items))
    }

    /// One function of the type `[] -> []` that is exported as `run`.
    pub(super) fn one_function(self, locals: &[(u32, u8)], code: &[u8]) -> Vec<u8> {
        self.list(1, &[NO_VALUES.to_vec()])
            .section(3, &[1, 0])
            .list(7, &[export("run", 0, 0)])
            .list(10, &[body(locals, code)])
            .finish()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// An unsigned number.
pub(super) fn leb(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// Items behind their count.
pub(super) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = leb(items.len() as u64);
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}

/// A name behind its length.
pub(super) fn name(text: &str) -> Vec<u8> {
    [leb(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// An export.
pub(super) fn export(text: &str, kind: u8, index: u64) -> Vec<u8> {
    [name(text), vec![kind], leb(index)].concat()
}

/// A function body: runs of locals, code without its end.
pub(super) fn body(locals: &[(u32, u8)], code: &[u8]) -> Vec<u8> {
    let runs: Vec<_> = locals.iter().map(|(count, ty)| [leb(u64::from(*count)), vec![*ty]].concat()).collect();
    let contents = [list(&runs), code.to_vec(), vec![0x0b]].concat();
    [leb(contents.len() as u64), contents].concat()
}
