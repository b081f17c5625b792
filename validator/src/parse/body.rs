//! One function body through wasmparser's validator, under the limits for bodies.
//!
//! Needs nothing of the other bodies, so that bodies can be validated on any thread.

use aura_host_abi::SubType;
use wasmparser::{
    BinaryReader, BlockType, Catch, FrameKind, FrameStack, FuncToValidate, FuncValidator, FuncValidatorAllocations,
    FunctionBody, ModuleArity, Operator, ValType, WasmFeatures, WasmModuleResources,
};

use super::error::{Error, Stop};
use crate::limits::{Limits, check};
use crate::module::ModuleInner;

/// Values that each byte of a body may carry besides [`Limits::carried_values`].
const CARRIED_PER_BYTE: u64 = 4;

/// What a block takes at least: its operator, its type, its end.
const BYTES_PER_BLOCK: u64 = 3;

/// What bounds a body besides validity.
pub(super) struct Bounds<'l> {
    limits: &'l Limits,
    /// No operator but `br_table` carries more values, and `br_table` no more for each of its bytes.
    carried_max: u64,
}

impl<'l> Bounds<'l> {
    pub(super) fn new(module: &ModuleInner, limits: &'l Limits) -> Self {
        let values = |ty: &SubType| ty.composite.as_func().map_or(0, |ty| ty.params().len() + ty.results().len());
        let longest = module.types.iter().map(values).max().unwrap_or(0).max(1) as u64;
        // A branch on a condition takes what its label takes, gives it back, and takes the condition; a call through a table
        // or a reference takes that besides.
        Self { limits, carried_max: 2 * longest + 2 }
    }

    /// Whether a body of so many bytes is too short to reach a limit that is counted by operators.
    fn are_out_of_reach(&self, bytes: u64) -> bool {
        let Limits { nesting, br_table_targets, carried_values, .. } = *self.limits;
        bytes <= BYTES_PER_BLOCK * u64::from(nesting)
            && bytes <= u64::from(br_table_targets)
            && bytes.saturating_mul(self.carried_max) <= u64::from(carried_values)
    }
}

/// Validates one body.
pub(super) fn validate<R: WasmModuleResources>(
    func: FuncToValidate<R>,
    body: &FunctionBody<'_>,
    bytes: &[u8],
    bounds: &Bounds<'_>,
    allocations: FuncValidatorAllocations,
) -> Result<FuncValidatorAllocations, Stop> {
    let limits = bounds.limits;
    check_locals(body, limits)?;
    let features = func.features;
    let mut validator = func.into_validator(allocations);
    let range = body.range();
    if features.contains(WasmFeatures::WASM2) && bounds.are_out_of_reach(range.end - range.start) {
        validator.validate(body)?;
        return Ok(validator.into_allocations());
    }
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    reader.set_features(features);
    let mut carried = Carried::new(body, limits);
    while !reader.eof() {
        let offset = reader.original_position();
        if is_control(bytes[(offset - range.start) as usize]) {
            carried.add(&reader, &validator.visitor(offset), limits)?;
            if !features.contains(WasmFeatures::WASM2) && bytes[(offset - range.start) as usize] == BR_TABLE {
                check_labels(&reader, &mut validator)?;
            }
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

/// Whether an opcode is of an operator that carries as many values as some type says: blocks,
/// branches, returns, calls, throws and handlers.
const fn is_control(opcode: u8) -> bool {
    matches!(opcode, 0x02..=0x13 | 0x18 | 0x19 | 0x1f)
}

const BR_TABLE: u8 = 0x0e;

/// Checks that all labels of the `br_table` that the reader stands at have the same types.
///
/// Version 1.0 says so (3.3.5.8). Version 2.0 asks only that the operands match each label, which
/// differs in unreachable code; wasmparser knows only that rule.
fn check_labels<R: WasmModuleResources>(
    reader: &BinaryReader<'_>,
    validator: &mut FuncValidator<R>,
) -> Result<(), Stop> {
    let offset = reader.original_position();
    let Operator::BrTable { targets } = reader.peek_operator(&validator.visitor(offset))? else { return Ok(()) };
    let default = label_types(validator, targets.default());
    for target in targets.targets() {
        if label_types(validator, target?) != default {
            return Err(Error::invalid("type mismatch: the labels of br_table differ in type", offset).into());
        }
    }
    Ok(())
}

/// The types a branch to a label carries; none if there is no such label, which wasmparser reports.
fn label_types<R: WasmModuleResources>(validator: &FuncValidator<R>, depth: u32) -> Option<Vec<ValType>> {
    let frame = validator.get_control_frame(depth as usize)?;
    let of_func = |index| {
        let ty = validator.resources().sub_type_at(index)?.unwrap_func();
        Some(if frame.kind == FrameKind::Loop { ty.params().to_vec() } else { ty.results().to_vec() })
    };
    match frame.block_type {
        BlockType::Type(ty) if frame.kind != FrameKind::Loop => Some(vec![ty]),
        BlockType::Empty | BlockType::Type(_) => Some(Vec::new()),
        BlockType::FuncType(index) => of_func(index),
    }
}

/// The values carried so far.
struct Carried {
    values: u64,
    bound: u64,
}

impl Carried {
    fn new(body: &FunctionBody<'_>, limits: &Limits) -> Self {
        let range = body.range();
        Self { values: 0, bound: u64::from(limits.carried_values) + CARRIED_PER_BYTE * (range.end - range.start) }
    }

    /// Adds the operator that the reader stands at, before it is validated.
    fn add(
        &mut self,
        reader: &BinaryReader<'_>,
        context: &(impl ModuleArity + FrameStack),
        limits: &Limits,
    ) -> Result<(), Stop> {
        let offset = reader.original_position();
        let operator = reader.peek_operator(context)?;
        let mut times = 1;
        if let Operator::TryTable { try_table } = &operator {
            let carried = |catch: &Catch| match *catch {
                Catch::One { tag, .. } | Catch::OneRef { tag, .. } => {
                    context.tag_type_arity(tag).map_or(0, |arity| arity.0)
                }
                Catch::All { .. } | Catch::AllRef { .. } => 0,
            };
            self.values += try_table.catches.iter().map(|catch| u64::from(carried(catch))).sum::<u64>();
        }
        if let Operator::BrTable { targets } = &operator {
            times = u64::from(targets.len()) + 1;
            check("br_table_targets", times - 1, limits.br_table_targets, offset)?;
        }
        // An operator whose arity cannot be told is invalid: the validator says why.
        let Some((params, results)) = operator.operator_arity(context) else { return Ok(()) };
        self.values += (u64::from(params) + u64::from(results)) * times;
        if self.values > self.bound {
            return Err(Error::limit("carried_values", self.values, self.bound, offset).into());
        }
        Ok(())
    }
}
