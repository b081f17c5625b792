//! Whether bytes decode, whatever they mean: the binary grammar (specification, chapter 5) alone.
//!
//! Runs only over modules that were refused, to tell malformed from invalid.

use wasmparser::{
    BinaryReader, ConstExpr, ElementItems, ElementKind, FromReader, MemArg, Operator, OperatorsReader, Parser, Payload,
    SectionLimited, TableInit, WasmFeatures,
};

/// A place that does not follow the binary grammar.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) offset: u64,
    /// The feature that would allow it.
    pub(super) feature: Option<WasmFeatures>,
}

impl Fault {
    fn new(message: &str, offset: u64) -> Self {
        Self { message: message.to_owned(), offset, feature: None }
    }
}

impl From<wasmparser::Error> for Fault {
    fn from(error: wasmparser::Error) -> Self {
        Self { message: error.message().to_owned(), offset: error.offset(), feature: error.missing_wasm_feature() }
    }
}

type Result<T = ()> = std::result::Result<T, Fault>;

/// Decodes a module to its end.
///
/// # Errors
/// The first place that does not follow the binary grammar.
pub(super) fn check(bytes: &[u8], features: WasmFeatures) -> Result {
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut has_data_count = false;
    for payload in parser.parse_all(bytes) {
        match payload? {
            Payload::TypeSection(s) => items(s)?,
            Payload::ImportSection(s) => all(s.into_imports())?,
            Payload::FunctionSection(s) => items(s)?,
            Payload::TableSection(s) => tables(s)?,
            Payload::MemorySection(s) => items(s)?,
            Payload::TagSection(s) => items(s)?,
            Payload::GlobalSection(s) => s.into_iter().try_for_each(|g| expr(&g?.init_expr))?,
            Payload::ExportSection(s) => items(s)?,
            Payload::ElementSection(s) => s.into_iter().try_for_each(|e| element(e?))?,
            Payload::DataCountSection { .. } => has_data_count = true,
            Payload::DataSection(s) => s.into_iter().try_for_each(|d| match d?.kind {
                wasmparser::DataKind::Active { offset_expr, .. } => expr(&offset_expr),
                wasmparser::DataKind::Passive => Ok(()),
            })?,
            Payload::CodeSectionEntry(body) => {
                function(body.get_binary_reader(), has_data_count)?;
            }
            Payload::UnknownSection { range, .. } => return Err(Fault::new("malformed section id", range.start)),
            _ => {}
        }
    }
    Ok(())
}

fn items<'a, T: FromReader<'a>>(section: SectionLimited<'a, T>) -> Result {
    all(section.into_iter())
}

fn all<T>(mut items: impl Iterator<Item = wasmparser::Result<T>>) -> Result {
    items.try_for_each(|item| Ok(item.map(drop)?))
}

fn tables(section: SectionLimited<'_, wasmparser::Table<'_>>) -> Result {
    section.into_iter().try_for_each(|table| match table?.init {
        TableInit::Expr(init) => expr(&init),
        TableInit::RefNull => Ok(()),
    })
}

fn element(element: wasmparser::Element<'_>) -> Result {
    if let ElementKind::Active { offset_expr, .. } = &element.kind {
        expr(offset_expr)?;
    }
    match element.items {
        ElementItems::Functions(funcs) => items(funcs),
        ElementItems::Expressions(_, exprs) => exprs.into_iter().try_for_each(|e| expr(&e?)),
    }
}

fn expr(expr: &ConstExpr<'_>) -> Result {
    operators(expr.get_operators_reader(), true)
}

fn function(mut reader: BinaryReader<'_>, has_data_count: bool) -> Result {
    let runs = reader.read_var_u32()?;
    let mut locals = 0_u32;
    for _ in 0..runs {
        let offset = reader.original_position();
        let count: u32 = reader.read()?;
        reader.read::<wasmparser::ValType>()?;
        locals = locals.checked_add(count).ok_or_else(|| Fault::new("too many locals", offset))?;
    }
    operators(OperatorsReader::new(reader), has_data_count)
}

fn operators(mut reader: OperatorsReader<'_>, has_data_count: bool) -> Result {
    // The exponent of an alignment: below 32 in version 2.0, below 64 since there are several memories.
    let features = reader.get_binary_reader().features();
    let max_align_bits = if features.multi_memory() { 64 } else { 32 };
    while !reader.eof() {
        let offset = reader.original_position();
        let operator = reader.read()?;
        if let Some(proposal) = missing_proposal(&operator, features) {
            let feature = WasmFeatures::from_name(&proposal.to_uppercase());
            return Err(Fault { feature, ..Fault::new("illegal opcode", offset) });
        }
        if matches!(operator, Operator::MemoryInit { .. } | Operator::DataDrop { .. }) && !has_data_count {
            return Err(Fault::new("data count section required", offset));
        }
        if memarg(&operator).is_some_and(|memarg| memarg.align >= max_align_bits) {
            return Err(Fault::new("malformed memop flags", offset));
        }
    }
    Ok(reader.finish()?)
}

macro_rules! define_memarg {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        /// The static part of a memory access.
        #[allow(unused_variables, reason = "only immediates of the one name are looked at")]
        fn memarg(operator: &Operator<'_>) -> Option<MemArg> {
            match operator {
                $($(Operator::$op { $($arg),* } => define_memarg!(@one [$($arg)*] $($arg)*),)?)*
                _ => None,
            }
        }
    };
    (@one [memarg $($names:ident)*] $memarg:ident $($rest:ident)*) => { Some(*$memarg) };
    (@one [$($names:ident)*] $($rest:ident)*) => { None };
}

wasmparser::for_each_operator!(define_memarg);

macro_rules! define_missing_proposal {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        /// The proposal that has the operator, if it is switched off: without it there is no such opcode.
        fn missing_proposal(operator: &Operator<'_>, features: WasmFeatures) -> Option<&'static str> {
            let (has, proposal) = match operator {
                $(Operator::$op { .. } => define_missing_proposal!(@has features $proposal),)*
                _ => return None,
            };
            (!has).then_some(proposal)
        }
    };
    (@has $features:ident mvp) => { (true, "") };
    (@has $features:ident $proposal:ident) => { ($features.$proposal(), stringify!($proposal)) };
}

wasmparser::for_each_operator!(define_missing_proposal);
