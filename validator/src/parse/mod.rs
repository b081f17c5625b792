//! Bytes to [`Module`]: one pass of wasmparser's reader and validator.
//!
//! Invariant: a `Module` exists only if the whole of its bytes validated under the features asked
//! for and stayed within the limits. Nothing recurses over the input, and what is kept is
//! proportional to it.

pub(crate) mod convert;
mod decode;
mod error;
mod sections;

use std::sync::Arc;

use wasmparser::{
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, Payload, ValidPayload, Validator,
    ValidatorResources,
};

pub use error::{Error, ErrorKind};

use crate::limits::{Features, Limits, check};
use crate::module::{Module, ModuleInner};
use error::{Stop, classify};
use sections::Builder;

impl Module {
    /// Parses and validates a module in the binary format.
    ///
    /// # Errors
    /// If the bytes are not a module, the module is not valid, it needs a feature that is off, or
    /// it passes a limit.
    pub fn new(bytes: impl Into<Arc<[u8]>>, features: &Features, limits: &Limits) -> Result<Self, Error> {
        let bytes = bytes.into();
        let limits = limits.clamped();
        check("module_bytes", bytes.len() as u64, limits.module_bytes, 0)?;
        check_header(&bytes)?;
        match read(&bytes, *features, &limits) {
            Ok(inner) => Ok(Self { inner: Arc::new(inner) }),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Wasmparser(error)) => Err(classify(&bytes, features.wasmparser(), &error)),
        }
    }
}

/// Refuses what is not a core module with words that say what it is instead.
fn check_header(bytes: &[u8]) -> Result<(), Error> {
    const MAGIC: &[u8; 4] = b"\0asm";
    let head = &bytes[..bytes.len().min(4)];
    if head != MAGIC {
        return Err(Error::malformed(describe_foreign(bytes), 0));
    }
    match bytes.get(4..8) {
        Some([1, 0, 0, 0]) => Ok(()),
        Some([_, _, 1, 0]) => Err(Error::unsupported(
            "component-model",
            "this is a component (WASI 0.2), not a core module; build a core module instead, for example for the target wasm32-wasip1",
            4,
        )),
        Some([a, b, c, d]) => {
            Err(Error::malformed(format!("unknown binary version: bytes {a:02x} {b:02x} {c:02x} {d:02x}"), 4))
        }
        _ => Err(Error::malformed("unexpected end of the version number", bytes.len() as u64)),
    }
}

fn describe_foreign(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(8)];
    if head.is_empty() {
        return "magic header not found: the input is empty".to_owned();
    }
    let shown: Vec<_> = head.iter().map(|b| format!("{b:02x}")).collect();
    let is_text = head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    let hint = if is_text { "; it looks like text: module text needs a file name that ends in .wat" } else { "" };
    format!("magic header not found: this is not a WebAssembly module, it begins with {}{hint}", shown.join(" "))
}

fn read(bytes: &Arc<[u8]>, features: Features, limits: &Limits) -> Result<ModuleInner, Stop> {
    let mut validator = Validator::new_with_features(features.wasmparser());
    let mut parser = Parser::new(0);
    parser.set_features(features.wasmparser());
    let mut builder = Builder::new(bytes.clone(), features, limits);
    let mut allocations = FuncValidatorAllocations::default();
    for payload in parser.parse_all(bytes) {
        let payload = payload?;
        builder.check_limits(&payload)?;
        match validator.payload(&payload)? {
            ValidPayload::Func(func, body) => allocations = validate_body(func, &body, bytes, limits, allocations)?,
            ValidPayload::Ok | ValidPayload::Parser(_) | ValidPayload::End(_) => {}
        }
        // The section is valid: what follows converts it.
        if !matches!(payload, Payload::End(_)) {
            builder.add(payload)?;
        }
    }
    Ok(builder.finish())
}

/// Validates one body. Needs nothing of the other bodies, so that bodies can be validated on any thread.
fn validate_body(
    func: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    bytes: &[u8],
    limits: &Limits,
    allocations: FuncValidatorAllocations,
) -> Result<FuncValidatorAllocations, Stop> {
    const BR_TABLE: u8 = 0x0e;
    check_locals(body, limits)?;
    let features = func.features;
    let mut validator = func.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    reader.set_features(features);
    while !reader.eof() {
        let offset = reader.original_position();
        if bytes[offset as usize] == BR_TABLE {
            check_br_table(reader.clone(), limits)?;
        }
        reader.visit_operator(&mut validator.visitor(offset))??;
        // The function itself is a frame.
        let nesting = u64::from(validator.control_stack_height().saturating_sub(1));
        check("nesting", nesting, limits.nesting, offset)?;
    }
    let end = reader.original_position();
    reader.finish_expression(&validator.visitor(end))?;
    Ok(validator.into_allocations())
}

fn check_locals(body: &FunctionBody<'_>, limits: &Limits) -> Result<(), Stop> {
    let mut reader = body.get_locals_reader()?;
    let offset = reader.original_position();
    let mut locals = 0_u64;
    for _ in 0..reader.get_count() {
        locals += u64::from(reader.read()?.0);
    }
    if locals > u64::from(u32::MAX) {
        return Err(Error::malformed("too many locals", offset).into());
    }
    Ok(check("locals", locals, limits.locals, offset)?)
}

/// Checks the count of a `br_table` that the reader stands at. A count that the rest of the body
/// cannot hold is a fault of decoding, which the validator reports.
fn check_br_table(mut reader: wasmparser::BinaryReader<'_>, limits: &Limits) -> Result<(), Stop> {
    let offset = reader.original_position();
    reader.read_u8()?;
    let targets = u64::from(reader.read_var_u32()?);
    if targets > reader.bytes_remaining() as u64 {
        return Ok(());
    }
    Ok(check("br_table_targets", targets, limits.br_table_targets, offset)?)
}
