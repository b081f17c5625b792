//! Bytes to [`Module`]: one pass of wasmparser's reader and validator.
//!
//! Invariant: a `Module` exists only if the whole of its bytes validated under the features asked
//! for and stayed within the limits; with [`Validation::Lazy`], all but its bodies, each of which
//! is validated before it is lowered. Nothing recurses over the input, and what is kept is
//! proportional to it: a body is a range of the bytes.

mod bodies;
mod body;
pub(crate) mod convert;
mod data;
mod decode;
mod error;
mod kept;
mod numbers;
mod plain;
mod sections;

use std::ops::Range;
use std::sync::Arc;

use wasmparser::{BinaryReader, Chunk, FunctionBody, Parser, Payload};

pub use error::{Error, ErrorKind};

use crate::Bytes;
use crate::limits::{Features, Limits, check};
use crate::module::{Module, ModuleInner};
use error::{Stop, classify};
use sections::Builder;

pub(crate) use bodies::Unvalidated;

/// When function bodies are validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Validation {
    /// All before the module exists: whatever is invalid is refused before a byte of it runs.
    #[default]
    Eager,
    /// Each before it is lowered for the first time (specification, appendix "Implementation Limitations" allows it): an
    /// invalid function is refused when it is called. All else is validated before the module exists.
    Lazy,
}

impl Module {
    /// Parses and validates a module in the binary format.
    ///
    /// # Errors
    /// If the bytes are not a module, the module is not valid, it needs a feature that is off, or
    /// it passes a limit.
    pub fn new(bytes: impl Into<Bytes>, features: &Features, limits: &Limits) -> Result<Self, Error> {
        Self::with(bytes, features, limits, Validation::Eager)
    }

    /// As [`Module::new`]; says when bodies are validated.
    ///
    /// # Errors
    /// As [`Module::new`], where bodies count only if they are validated now.
    pub fn with(
        bytes: impl Into<Bytes>,
        features: &Features,
        limits: &Limits,
        validation: Validation,
    ) -> Result<Self, Error> {
        let bytes = bytes.into();
        let limits = limits.clamped();
        check("module_bytes", bytes.len() as u64, limits.module_bytes, 0)?;
        let whole = bytes.get(0..bytes.len()).map_err(|why| Error::malformed(why, 0))?;
        check_header(whole)?;
        // Where the module is to lie it is made: it is long.
        let mut inner = Arc::new(ModuleInner::empty(bytes.clone(), *features));
        let module = Arc::get_mut(&mut inner).expect("nobody else has it yet");
        match read(module, whole, &limits, validation) {
            Ok(()) => Ok(Self { inner }),
            Err(Stop::Refused(error)) => Err(error.or_malformed(whole, features.wasmparser())),
            Err(Stop::Wasmparser(error)) => Err(classify(whole, features.wasmparser(), &error)),
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

/// Reads a module from its bytes, which it has already, into its parts.
fn read(module: &mut ModuleInner, whole: &[u8], limits: &Limits, validation: Validation) -> Result<(), Stop> {
    let features = module.features.wasmparser();
    let mut kept = kept::take(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut builder = Builder::new(module, limits);
    // What bodies are validated with: of the first body, since it is the same for all.
    let mut resources = None;
    let mut in_code = false;
    let mut rest = whole;
    loop {
        let payload = next(&mut parser, &mut rest)?;
        if let Payload::CodeSectionEntry(body) = &payload {
            builder.check_limits(&payload)?;
            let func = kept.validator.code_section_entry(body)?;
            resources.get_or_insert(func.resources);
            in_code = true;
            builder.add(payload)?;
            continue;
        }
        if in_code && let (Some(resources), Validation::Eager) = (&resources, validation) {
            in_code = false;
            bodies::validate_all(builder.module(), resources, limits, &mut kept.allocations)?;
        }
        if let Payload::End(offset) = payload {
            kept.validator.end(offset)?;
            break;
        }
        builder.check_limits(&payload)?;
        if let Payload::DataSection(section) = &payload
            && let Some(segments) = data::simple(section, whole, builder.module(), limits)
        {
            builder.add_data(segments);
            continue;
        }
        kept.validator.payload(&payload)?;
        if let Payload::CodeSectionStart { count, size, .. } = payload
            && let Some(bodies) = numbers::bodies(rest, whole.len() - rest.len(), (count, size), limits.body_bytes)
        {
            if let Some(Range { start, end }) = bodies.first().cloned() {
                let first = BinaryReader::new_features(&whole[start as usize..end as usize], start.into(), features);
                resources = Some(kept.validator.code_section_entry(&FunctionBody::new(first))?.resources);
            }
            in_code = true;
            builder.add_bodies(bodies);
            parser.skip_section();
            rest = &rest[size as usize..];
            continue;
        }
        // The section is valid: what follows converts it.
        builder.add(payload)?;
    }
    builder.finish();
    kept::give(kept, whole.len());
    if let (Some(resources), Validation::Lazy) = (resources, validation) {
        module.unvalidated = Some(Unvalidated::new(resources, limits));
    }
    Ok(())
}

/// The next part of a module.
fn next<'a>(parser: &mut Parser, rest: &mut &'a [u8]) -> wasmparser::Result<Payload<'a>> {
    match parser.parse(rest, true)? {
        Chunk::Parsed { consumed, payload } => {
            *rest = &rest[consumed..];
            Ok(payload)
        }
        Chunk::NeedMoreData(_) => unreachable!("the parser was told that there is no more"),
    }
}

impl Module {
    /// Sees to it that the body of an own function can be lowered: validates it, if that was left for later; has its bytes
    /// compared, if they come in pieces, and the types of all functions asked for.
    ///
    /// # Errors
    /// If it is not valid, passes a limit, or was changed.
    ///
    /// # Panics
    /// If the module defines no such function.
    pub fn validate_body(&self, own_func: u32) -> Result<(), Error> {
        let module = &*self.inner;
        self.know_all_functions()?;
        let Range { start, end } = module.body(own_func);
        // What was validated before must be here, and be what it was.
        module.bytes.get(start as usize..end as usize).map_err(|why| Error::changed(why, start.into()))?;
        let Some(unvalidated) = &module.unvalidated else { return Ok(()) };
        bodies::validate_one(module, unvalidated, own_func).map_err(|stop| match stop {
            Stop::Refused(error) => error,
            Stop::Wasmparser(error) => Error::invalid(error.message(), error.offset()),
        })
    }
}
