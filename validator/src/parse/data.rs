//! Data sections as compilers make them: every segment at a constant offset of the first memory.
//!
//! Programs have tens of thousands of segments. wasmparser validates each offset as it does a function's body, which takes
//! most of the time in which a program's module is read lazily. A section of nothing but such segments is validated here
//! while it is read; any other goes the general way, whole, and is refused there if it is to be.
//!
//! What makes a segment valid (specification, section 3.4, data segments): the memory exists, and the offset has its address
//! type. That the section stands in its place, and has as many segments as was announced, is the parser's to check.

use wasmparser::{BinaryReader, DataSectionReader, WasmFeatures};

use crate::limits::Limits;
use crate::module::{ConstExpr, ConstOp, DataSegment, ModuleInner, SegmentMode};

const ACTIVE_IN_FIRST: u8 = 0;
const I32_CONST: u8 = 0x41;
const END: u8 = 0x0b;

/// The segments of a section, if all of them are as said above; `whole` are the module's bytes.
pub(super) fn simple(
    section: &DataSectionReader<'_>,
    whole: &[u8],
    module: &ModuleInner,
    limits: &Limits,
) -> Option<Vec<DataSegment>> {
    let range = section.range();
    let contents = whole.get(range.start as usize..range.end as usize)?;
    let is_narrow = module.memories.first().is_some_and(|memory| !memory.memory64);
    if !is_narrow || limits.const_expr_operators == 0 || section.count() > limits.data_segments {
        return None;
    }
    let mut reader = BinaryReader::new_features(contents, range.start, WasmFeatures::empty());
    let count = reader.read_var_u32().ok()? as usize;
    let mut segments = Vec::with_capacity(count.min(contents.len()));
    for _ in 0..count {
        segments.push(segment(&mut reader)?);
    }
    reader.eof().then_some(segments)
}

fn segment(reader: &mut BinaryReader<'_>) -> Option<DataSegment> {
    if reader.read_u8().ok()? != ACTIVE_IN_FIRST {
        return None;
    }
    let offset = offset(reader)?;
    let len = reader.read_var_u32().ok()?;
    let start = reader.original_position() as u32;
    reader.read_bytes(len as usize).ok()?;
    Some(DataSegment { mode: SegmentMode::Active { target: 0, offset }, bytes: start..start + len })
}

/// The expression that a reader stands at, if it is `i32.const` alone.
pub(super) fn offset(reader: &mut BinaryReader<'_>) -> Option<ConstExpr> {
    let value = (reader.read_u8().ok()? == I32_CONST).then(|| reader.read_var_i32().ok())??;
    (reader.read_u8().ok()? == END).then(|| ConstExpr::new(&[ConstOp::I32(value)]))
}

#[cfg(test)]
mod tests {
    use crate::{Features, Limits, Module};

    fn module(text: &str) -> Result<Module, String> {
        let bytes = wat::parse_str(text).expect("text");
        Module::new(bytes, &Features::NEWEST, &Limits::default()).map_err(|error| error.to_string())
    }

    const SEGMENTS: &str = r#"(data (i32.const 0) "a") (data (i32.const -5) "") (data (i32.const 0x7fffffff) "bcd")
        (data (i32.const 70000) "\00\01\02")"#;

    #[test]
    fn segments_are_the_same_either_way() {
        let simple = module(&format!("(module (memory 1) {SEGMENTS})")).expect("valid");
        let general = module(&format!("(module (memory 1) {SEGMENTS} (data \"passive\"))")).expect("valid");
        let bytes = |module: &Module, index| module.data_bytes(index).to_vec();
        assert_eq!((simple.data().len(), general.data().len()), (4, 5));
        for (index, (one, other)) in simple.data().iter().zip(general.data()).enumerate() {
            assert_eq!(format!("{:?}", one.mode), format!("{:?}", other.mode));
            assert_eq!(bytes(&simple, index as u32), bytes(&general, index as u32));
        }
    }

    #[test]
    fn what_is_invalid_is_refused() {
        for (text, why) in [
            ("(module (data (i32.const 0) \"a\"))", "unknown memory"),
            ("(module (memory i64 1) (data (i32.const 0) \"a\"))", "type mismatch"),
            ("(module (memory 1) (data (i64.const 0) \"a\"))", "type mismatch"),
            ("(module (memory 1) (data (i32.const 0) \"a\") (data (memory 1) (i32.const 0) \"a\"))", "unknown memory"),
        ] {
            let error = module(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn any_byte_cut_off_or_added_is_refused() {
        let whole = wat::parse_str(format!("(module (memory 1) {SEGMENTS})")).expect("text");
        let reads = |bytes: &[u8]| Module::new(bytes, &Features::NEWEST, &Limits::default()).is_ok();
        let section = whole.len() - 34;
        assert_eq!((whole[section - 2], reads(&whole)), (11, true), "the data section is the last");
        for cut in 1..34 {
            let mut bytes = whole[..whole.len() - cut].to_vec();
            assert!(!reads(&bytes), "{cut} bytes fewer");
            bytes[section - 1] -= cut as u8;
            assert!(!reads(&bytes), "{cut} bytes fewer, and the section says so");
        }
        let mut longer = whole.clone();
        longer.push(0);
        longer[section - 1] += 1;
        assert!(!reads(&longer));
    }
}
