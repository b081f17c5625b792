//! A module that was validated before: its [head](Module::head) as bytes, and how it comes back from that.
//!
//! What is said once for the module stands in the head. What is said for each function stands in [`Row`]s elsewhere, and is
//! asked for when a function is needed, so that a module with many costs no more than one with few.
//! [`Module::from_head`] trusts its caller: head, rows and bytes are those of a module that was validated whole, and whoever
//! keeps them sees to it that nobody changes them (the runtime's artifacts do).

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aura_host_abi::vm::VmCounts;

use super::{
    ConstExpr, ConstOp, CustomSection, DataSegment, ElementItems, ElementSegment, Export, ExternIndex, ExternType,
    Import, Module, ModuleInner, Ops, SegmentMode, Table,
};
use crate::codec::{Coded, Words, coded_enum, coded_struct, decode};
use crate::parse::Error;
use crate::{Bytes, Features};

/// What is known of one own function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its type index.
    pub ty: u32,
    /// Its body, from the locals' count to the end, in the module's bytes.
    pub body: Range<u32>,
    /// Where its lowered body is, which only who keeps it can say; empty if nowhere.
    pub code: Range<u64>,
}

impl Row {
    /// Bytes of a row.
    pub const LEN: usize = 28;

    /// The row as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let numbers = [self.ty, self.body.start, self.body.end].map(u32::to_le_bytes);
        bytes[..12].copy_from_slice(numbers.as_flattened());
        bytes[12..].copy_from_slice([self.code.start, self.code.end].map(u64::to_le_bytes).as_flattened());
        bytes
    }

    /// A row from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Self { ty: word(0), body: word(4)..word(8), code: long(12)..long(20) }
    }
}

/// Who knows the own functions of a module that was validated before.
pub trait Functions: Send + Sync {
    /// What is known of an own function.
    ///
    /// # Errors
    /// If what is kept is not what it should be: the reason in words.
    fn row(&self, own_func: u32) -> Result<Row, String>;

    /// What is known of all own functions.
    ///
    /// # Errors
    /// As [`Functions::row`].
    fn rows(&self) -> Result<Box<[Row]>, String>;
}

/// The own functions of a module that came back from its head.
pub(crate) struct Known {
    functions: Arc<dyn Functions>,
    count: u32,
    code_size: u64,
    /// Type indices of the functions that a reference may be made to, in the order of [`ModuleInner::escaping`].
    escaping_types: Vec<u32>,
    /// Rows of those that are called first, by index.
    hot: Vec<(u32, Row)>,
    /// Rows of others that were asked for.
    some: RwLock<HashMap<u32, Row>>,
    all: OnceLock<Box<[Row]>>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("count", &self.count).finish_non_exhaustive()
    }
}

/// What a head says of the functions.
struct OfFunctions {
    imported: Vec<u32>,
    count: u32,
    code_size: u64,
    escaping: Words,
    escaping_types: Words,
    /// Rows of functions that are called first.
    hot: Vec<(u32, [u8; Row::LEN])>,
}

/// An import; types of functions and tags by their indices, so that none is there twice.
struct ImportAs {
    module: String,
    name: String,
    ty: ImportType,
}

enum ImportType {
    Func(u32),
    Tag(u32),
    Other(ExternType),
}

/// The parts of a module that stand in a head as they are.
macro_rules! with_parts {
    ($then:ident) => {
        $then! {
            types groups tables memories globals global_inits tags exports exports_by_name start elements data counts
            custom_sections
        }
    };
}

coded_struct! {
    Table { ty, init }
    Export { name, index }
    ConstExpr { ops }
    ElementSegment { mode, ty, items }
    DataSegment { mode, bytes }
    CustomSection { name, bytes }
    ImportAs { module, name, ty }
    VmCounts {
        imported_funcs, memories, imported_memories, tables, imported_tables, globals, imported_globals, tags, imported_tags
    }
    OfFunctions { imported, count, code_size, escaping, escaping_types, hot }
}

coded_enum! {
    ExternIndex { Func(index), Table(index), Memory(index), Global(index), Tag(index) }
    ExternType { Func(ty), Table(ty), Memory(ty), Global(ty), Tag(ty) }
    ImportType { Func(index), Tag(index), Other(ty) }
    SegmentMode { Passive, Active { target, offset }, Declared }
    Ops { One(op), Many(ops) }
    ConstOp {
        I32(value), I64(value), F32(bits), F64(bits), V128(bytes), GlobalGet(index), RefNull(ty), RefFunc(index), RefI31,
        StructNew(index), StructNewDefault(index), ArrayNew(index), ArrayNewDefault(index), ArrayNewFixed { type_index, len },
        Binary(op)
    }
}

/// Long lists of functions are as long as they are.
impl Coded for ElementItems {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Funcs(funcs) => {
                out.push(0);
                Words(funcs.to_vec()).put(out);
            }
            Self::Exprs(exprs) => {
                out.push(1);
                exprs.put(out);
            }
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        match u8::take(bytes)? {
            0 => Some(Self::Funcs(Words::take(bytes)?.0.into())),
            1 => Some(Self::Exprs(Coded::take(bytes)?)),
            _ => None,
        }
    }
}

/// The imports with their types by index.
fn imports_of(module: &ModuleInner) -> Vec<ImportAs> {
    let (mut funcs, mut tags) = (module.funcs.iter().copied(), module.tags.iter().copied());
    let mut next = |import: &Import| {
        let (module, name) = (import.module.clone(), import.name.clone());
        let ty = match &import.ty {
            ExternType::Func(_) => ImportType::Func(funcs.next().expect("imported functions come first")),
            ExternType::Tag(_) => ImportType::Tag(tags.next().expect("imported tags come first")),
            other => ImportType::Other(other.clone()),
        };
        ImportAs { module, name, ty }
    };
    module.imports.iter().map(&mut next).collect()
}

impl ImportAs {
    fn resolve(self, module: &ModuleInner) -> Import {
        let ty = match self.ty {
            ImportType::Func(index) => ExternType::Func(module.func_type_at(index).clone()),
            ImportType::Tag(index) => ExternType::Tag(module.func_type_at(index).clone()),
            ImportType::Other(ty) => ty,
        };
        Import { module: self.module, name: self.name, ty }
    }
}

impl OfFunctions {
    fn of(module: &Module, hot: &[(u32, Row)]) -> Self {
        let inner = &*module.inner;
        let imported = inner.counts.imported_funcs;
        Self {
            imported: inner.funcs[..imported as usize].to_vec(),
            count: module.num_own_funcs(),
            code_size: module.code_size(),
            escaping: Words(inner.escaping.clone()),
            escaping_types: Words(inner.escaping.iter().map(|own| module.func_type_index(imported + own)).collect()),
            hot: hot.iter().map(|(own, row)| (*own, row.to_bytes())).collect(),
        }
    }
}

impl Module {
    /// What is known of the module but for its functions' bodies, as bytes. `hot` are rows of functions that are called first:
    /// they are known without being asked for.
    #[must_use]
    pub fn head(&self, hot: &[(u32, Row)]) -> Vec<u8> {
        let (inner, mut out) = (&*self.inner, Vec::new());
        macro_rules! put {
            ($($part:ident)*) => {$(inner.$part.put(&mut out);)*};
        }
        with_parts!(put);
        imports_of(inner).put(&mut out);
        OfFunctions::of(self, hot).put(&mut out);
        out
    }

    /// Makes a module that was validated before, from its bytes, its head and who knows its functions; `None` if the head does
    /// not decode. It was validated under these features.
    #[must_use]
    pub fn from_head(bytes: Bytes, head: &[u8], functions: Arc<dyn Functions>, features: &Features) -> Option<Self> {
        let (mut inner, mut rest) = (ModuleInner::empty(bytes, *features), head);
        macro_rules! take {
            ($($part:ident)*) => {$(inner.$part = Coded::take(&mut rest)?;)*};
        }
        with_parts!(take);
        let imports = Vec::<ImportAs>::take(&mut rest)?;
        inner.kinds = inner.types.iter().map(|ty| ty.composite.kind()).collect();
        inner.imports = imports.into_iter().map(|import| import.resolve(&inner)).collect();
        let OfFunctions { imported, count, code_size, escaping, escaping_types, hot } = decode(rest)?;
        (inner.funcs, inner.escaping) = (imported, escaping.0);
        let mut hot: Vec<_> = hot.iter().map(|(own, row)| (*own, Row::from_bytes(row))).collect();
        hot.sort_unstable_by_key(|(own, _)| *own);
        let (some, all, escaping_types) = (RwLock::default(), OnceLock::new(), escaping_types.0);
        inner.known = Some(Known { functions, count, code_size, escaping_types, hot, some, all });
        Some(Self { inner: Arc::new(inner) })
    }

    /// What is known of an own function; its code is nowhere unless the module came back from a head.
    ///
    /// # Errors
    /// If it has to be asked for, and what is kept of it was changed.
    ///
    /// # Panics
    /// If the module defines no such function.
    pub fn row(&self, own_func: u32) -> Result<Row, Error> {
        let inner = &*self.inner;
        match &inner.known {
            Some(known) => known.row(own_func).map_err(|why| Error::changed(why, 0)),
            None => {
                let ty = inner.funcs[(inner.counts.imported_funcs + own_func) as usize];
                Ok(Row { ty, body: inner.bodies[own_func as usize].clone(), code: 0..0 })
            }
        }
    }

    /// Sees to it that the types of all functions are known, as [`Module::func_type_index`] wants them.
    ///
    /// # Errors
    /// As [`Module::row`].
    pub fn know_all_functions(&self) -> Result<(), Error> {
        let Some(known) = &self.inner.known else { return Ok(()) };
        if known.all.get().is_none() {
            let rows = known.functions.rows().map_err(|why| Error::changed(why, 0))?;
            // Another thread may have been first: what both asked for is the same.
            let _ = known.all.set(rows);
        }
        Ok(())
    }
}

impl Known {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn code_size(&self) -> u64 {
        self.code_size
    }

    /// What is known of a function without asking for it.
    fn at_hand(&self, own_func: u32) -> Option<Row> {
        if let Ok(place) = self.hot.binary_search_by_key(&own_func, |(own, _)| *own) {
            return Some(self.hot[place].1.clone());
        }
        if let Some(all) = self.all.get() {
            return Some(all[own_func as usize].clone());
        }
        self.some.read().unwrap_or_else(PoisonError::into_inner).get(&own_func).cloned()
    }

    fn row(&self, own_func: u32) -> Result<Row, String> {
        assert!(own_func < self.count, "the module defines no such function");
        if let Some(row) = self.at_hand(own_func) {
            return Ok(row);
        }
        let row = self.functions.row(own_func)?;
        self.some.write().unwrap_or_else(PoisonError::into_inner).insert(own_func, row.clone());
        Ok(row)
    }

    /// The type index of an own function that was asked for, or that a reference may be made to.
    pub(super) fn type_index(&self, escaping: &[u32], own_func: u32) -> u32 {
        match escaping.binary_search(&own_func) {
            Ok(place) => self.escaping_types[place],
            Err(_) => self.at_hand(own_func).expect("the function was asked for").ty,
        }
    }

    /// The body of an own function that was asked for.
    pub(super) fn body(&self, own_func: u32) -> Range<u32> {
        self.at_hand(own_func).expect("the function was asked for").body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_their_bytes() {
        let row = Row { ty: 3, body: 70..0xffff_ffff, code: 5..0x12_3456_789a };
        assert_eq!(Row::from_bytes(&row.to_bytes()), row);
    }
}
