//! [`Op`]: every operator of WebAssembly as a plain number.
//!
//! The list is wasmparser's (its operator macro expands here), so an operator exists exactly if the
//! decoder knows it. Immediates are not part of an [`Op`]; instructions carry them.

macro_rules! define_op {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        /// An operator without its immediates. The names are those of wasmparser's `Operator`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Op { $($op),* }

        impl Op {
            /// All operators, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$op),*];
        }

        const NAMES: &[&str] = &[$({
            const VISIT: &str = stringify!($visit);
            const BYTES: [u8; VISIT.len() - VISIT_PREFIX] = dotted(VISIT);
            match std::str::from_utf8(&BYTES) {
                Ok(name) => name,
                Err(_) => panic!("an operator's name is ASCII"),
            }
        }),*];

        const PROPOSALS: &[&str] = &[$(stringify!($proposal)),*];

        #[cfg(test)]
        pub(super) const ANNOTATIONS: &[&str] = &[$(stringify!($($ann)*)),*];
    };
}

wasmparser::for_each_operator!(define_op);

/// Length of `visit_`.
const VISIT_PREFIX: usize = 6;

/// First words of names after which the text format has a dot.
const NAMESPACES: &[&[u8]] = &[
    b"i32", b"i64", b"f32", b"f64", b"v128", b"i8x16", b"i16x8", b"i32x4", b"i64x2", b"f32x4", b"f64x2", b"local",
    b"global", b"table", b"memory", b"data", b"elem", b"ref", b"struct", b"array", b"any", b"extern", b"i31", b"cont",
    b"atomic",
];

/// The text-format name from a visitor's name: dots after the namespace and around `atomic` and `rmw*`.
const fn dotted<const N: usize>(visit: &str) -> [u8; N] {
    let source = visit.as_bytes();
    let mut name = [0; N];
    let (mut i, mut start, mut dots) = (0, 0, true);
    while i < N {
        name[i] = source[i + VISIT_PREFIX];
        if name[i] == b'_' {
            dots = dots && (is_namespace(&name, start, i) || starts(&name, start, b"rmw"));
            if dots {
                name[i] = b'.';
                // Only `atomic` and what follows it may have a dot of its own.
                dots = starts_at(source, i + 1 + VISIT_PREFIX, b"atomic_") || starts(&name, start, b"atomic");
            }
            start = i + 1;
        }
        i += 1;
    }
    name
}

const fn is_namespace(name: &[u8], start: usize, end: usize) -> bool {
    let mut n = 0;
    while n < NAMESPACES.len() {
        if NAMESPACES[n].len() == end - start && starts(name, start, NAMESPACES[n]) {
            return true;
        }
        n += 1;
    }
    false
}

const fn starts(name: &[u8], at: usize, prefix: &[u8]) -> bool {
    starts_at(name, at, prefix)
}

const fn starts_at(text: &[u8], at: usize, prefix: &[u8]) -> bool {
    let mut i = 0;
    while i < prefix.len() {
        if at + i >= text.len() || text[at + i] != prefix[i] {
            return false;
        }
        i += 1;
    }
    true
}

impl Op {
    /// The name in the text format, such as `i32.add`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TypedSelect | Self::TypedSelectMulti => "select",
            Self::RefTestNonNull | Self::RefTestNullable => "ref.test",
            Self::RefCastNonNull | Self::RefCastNullable => "ref.cast",
            Self::RefCastDescEqNonNull | Self::RefCastDescEqNullable => "ref.cast_desc_eq",
            _ => NAMES[self as usize],
        }
    }

    /// The proposal the operator came with, in wasmparser's words (`mvp`, `simd`, ...).
    #[must_use]
    pub const fn proposal(self) -> &'static str {
        PROPOSALS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_text_format() {
        for (op, name) in [
            (Op::Unreachable, "unreachable"),
            (Op::BrIf, "br_if"),
            (Op::CallIndirect, "call_indirect"),
            (Op::LocalGet, "local.get"),
            (Op::MemoryGrow, "memory.grow"),
            (Op::RefNull, "ref.null"),
            (Op::RefAsNonNull, "ref.as_non_null"),
            (Op::TypedSelect, "select"),
            (Op::I32Add, "i32.add"),
            (Op::I32Load8S, "i32.load8_s"),
            (Op::I64ExtendI32S, "i64.extend_i32_s"),
            (Op::I32TruncSatF64U, "i32.trunc_sat_f64_u"),
            (Op::F64PromoteF32, "f64.promote_f32"),
            (Op::V128AndNot, "v128.andnot"),
            (Op::V128Load8Lane, "v128.load8_lane"),
            (Op::I16x8ExtAddPairwiseI8x16S, "i16x8.extadd_pairwise_i8x16_s"),
            (Op::I32x4RelaxedDotI8x16I7x16AddS, "i32x4.relaxed_dot_i8x16_i7x16_add_s"),
            (Op::MemoryAtomicWait32, "memory.atomic.wait32"),
            (Op::AtomicFence, "atomic.fence"),
            (Op::I32AtomicLoad8U, "i32.atomic.load8_u"),
            (Op::I64AtomicRmw32CmpxchgU, "i64.atomic.rmw32.cmpxchg_u"),
            (Op::StructNewDefault, "struct.new_default"),
            (Op::ArrayAtomicRmwXchg, "array.atomic.rmw.xchg"),
            (Op::ExternConvertAny, "extern.convert_any"),
            (Op::I31GetU, "i31.get_u"),
            (Op::ReturnCallRef, "return_call_ref"),
            (Op::I64MulWideS, "i64.mul_wide_s"),
        ] {
            assert_eq!(op.name(), name);
        }
    }

    #[test]
    fn numbers_are_positions() {
        for (i, &op) in Op::ALL.iter().enumerate() {
            assert_eq!(op as usize, i);
        }
        assert_eq!(Op::I32Add.proposal(), "mvp");
        assert_eq!(Op::I8x16Swizzle.proposal(), "simd");
    }
}
