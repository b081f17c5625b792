//! [`Row`]: what the table says of an operator besides what it computes, generated from the rows.

use aura_host_abi::SlotType;

use super::Op;
use super::sem::{Raw, RowType, f32x4, f64x2, v128};

/// The group of the table that has an operator's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Total, and computes no NaN.
    Numeric,
    /// Total, and may compute a NaN.
    Float,
    /// May trap.
    Trapping,
    /// Total, and has two results of the class that [`Row::result`] says.
    Wide,
    /// Takes a lane number below `lanes`.
    Extract {
        lanes: u8,
    },
    /// Takes a lane number below `lanes`.
    Replace {
        lanes: u8,
    },
    Load,
    Store,
    /// Takes a lane number below `lanes`.
    LoadLane {
        lanes: u8,
    },
    /// Takes a lane number below `lanes`.
    StoreLane {
        lanes: u8,
    },
    AtomicLoad,
    AtomicStore,
    AtomicRmw,
    AtomicCmpxchg,
}

/// Operands, result and access of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub kind: RowKind,
    /// Operands, without the address that memory rows have before them.
    pub params: &'static [SlotType],
    pub result: Option<SlotType>,
    /// The size of the access; zero in rows that make none.
    pub access_bytes: u8,
}

impl Row {
    /// How many results the row has.
    #[must_use]
    pub fn results(&self) -> usize {
        if self.kind == RowKind::Wide { 2 } else { self.result.is_some().into() }
    }
}

impl Op {
    /// The operator's row, if it is one of the table's.
    #[must_use]
    pub fn row(self) -> Option<Row> {
        numeric(self)
            .or_else(|| float(self))
            .or_else(|| trapping(self))
            .or_else(|| wide(self))
            .or_else(|| extract(self))
            .or_else(|| replace(self))
            .or_else(|| load(self))
            .or_else(|| store(self))
            .or_else(|| load_lane(self))
            .or_else(|| store_lane(self))
            .or_else(|| atomic_load(self))
            .or_else(|| atomic_store(self))
            .or_else(|| atomic_rmw(self))
            .or_else(|| atomic_cmpxchg(self))
    }
}

macro_rules! slot {
    ($ty:ident) => {
        <$ty as RowType>::SLOT
    };
}

macro_rules! value_rows {
    ($kind:ident, $group:ident: $($op:ident ($($p:ident: $t:ident),*) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        const fn $group(op: Op) -> Option<Row> {
            match op {
                $(Op::$op => Some(Row {
                    kind: RowKind::$kind,
                    params: const { &[$(slot!($t)),*] },
                    result: Some(slot!($r)),
                    access_bytes: 0,
                }),)*
                _ => None,
            }
        }
    };
}

macro_rules! wide_rows {
    ($($op:ident ($($p:ident),*) $eval:block clif |$e:ident| $clif:block;)*) => {
        const fn wide(op: Op) -> Option<Row> {
            match op {
                $(Op::$op => Some(Row {
                    kind: RowKind::Wide,
                    params: const { &[$({ stringify!($p); SlotType::I64 }),*] },
                    result: Some(SlotType::I64),
                    access_bytes: 0,
                }),)*
                _ => None,
            }
        }
    };
}

macro_rules! lane_rows {
    ($kind:ident, $group:ident: $($op:ident lanes $lanes:literal ($($p:ident: $t:ident),*; $lane:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        const fn $group(op: Op) -> Option<Row> {
            match op {
                $(Op::$op => Some(Row {
                    kind: RowKind::$kind { lanes: $lanes },
                    params: const { &[$(slot!($t)),*] },
                    result: Some(slot!($r)),
                    access_bytes: 0,
                }),)*
                _ => None,
            }
        }
    };
}

macro_rules! load_rows {
    ($($op:ident [$raw:ident] ($x:ident) -> $r:ident $eval:block clif |$e:ident| $clif:block;)*) => {
        const fn load(op: Op) -> Option<Row> {
            match op {
                $(Op::$op => Some(Row {
                    kind: RowKind::Load,
                    params: &[],
                    result: Some(slot!($r)),
                    access_bytes: <$raw as Raw>::SIZE as u8,
                }),)*
                _ => None,
            }
        }
    };
}

macro_rules! store_rows {
    ($($op:ident ($x:ident: $t:ident) [$raw:ident] $eval:block clif |$e:ident| $clif:block;)*) => {
        const fn store(op: Op) -> Option<Row> {
            match op {
                $(Op::$op => Some(Row {
                    kind: RowKind::Store,
                    params: const { &[slot!($t)] },
                    result: None,
                    access_bytes: <$raw as Raw>::SIZE as u8,
                }),)*
                _ => None,
            }
        }
    };
}

macro_rules! memory_lane_rows {
    ($kind:ident, $group:ident -> $result:expr, $($op:ident [$raw:ident] lanes $lanes:literal;)*) => {
        const fn $group(op: Op) -> Option<Row> {
            match op {
                $(Op::$op => Some(Row {
                    kind: RowKind::$kind { lanes: $lanes },
                    params: &[SlotType::V128],
                    result: $result,
                    access_bytes: <$raw as Raw>::SIZE as u8,
                }),)*
                _ => None,
            }
        }
    };
}

macro_rules! atomic_rows {
    ($group:ident, $kind:ident; $($op:ident [$raw:ident] $params:expr => $result:expr;)*) => {
        const fn $group(op: Op) -> Option<Row> {
            match op {
                $(Op::$op => Some(Row {
                    kind: RowKind::$kind,
                    params: const { $params },
                    result: $result,
                    access_bytes: <$raw as Raw>::SIZE as u8,
                }),)*
                _ => None,
            }
        }
    };
}

macro_rules! atomic_load_rows {
    ($($op:ident [$raw:ident] -> $t:ident;)*) => {
        atomic_rows! { atomic_load, AtomicLoad; $($op [$raw] &[] => Some(slot!($t));)* }
    };
}

macro_rules! atomic_store_rows {
    ($($op:ident ($t:ident) [$raw:ident];)*) => {
        atomic_rows! { atomic_store, AtomicStore; $($op [$raw] &[slot!($t)] => None;)* }
    };
}

macro_rules! atomic_rmw_rows {
    ($($op:ident [$raw:ident] ($old:pat, $x:ident: $t:ident) $eval:block clif $rmw:ident;)*) => {
        atomic_rows! { atomic_rmw, AtomicRmw; $($op [$raw] &[slot!($t)] => Some(slot!($t));)* }
    };
}

macro_rules! atomic_cmpxchg_rows {
    ($($op:ident [$raw:ident] ($t:ident);)*) => {
        atomic_rows! { atomic_cmpxchg, AtomicCmpxchg; $($op [$raw] &[slot!($t), slot!($t)] => Some(slot!($t));)* }
    };
}

crate::for_each_numeric_row!(value_rows Numeric, numeric:);
crate::for_each_float_row!(value_rows Float, float:);
crate::for_each_trapping_row!(value_rows Trapping, trapping:);
crate::for_each_wide_row!(wide_rows);
crate::for_each_extract_row!(lane_rows Extract, extract:);
crate::for_each_replace_row!(lane_rows Replace, replace:);
crate::for_each_load_row!(load_rows);
crate::for_each_store_row!(store_rows);
crate::for_each_load_lane_row!(memory_lane_rows LoadLane, load_lane -> Some(SlotType::V128),);
crate::for_each_store_lane_row!(memory_lane_rows StoreLane, store_lane -> None,);
crate::for_each_atomic_load_row!(atomic_load_rows);
crate::for_each_atomic_store_row!(atomic_store_rows);
crate::for_each_atomic_rmw_row!(atomic_rmw_rows);
crate::for_each_atomic_cmpxchg_row!(atomic_cmpxchg_rows);

#[cfg(test)]
mod tests {
    use super::super::op::ANNOTATIONS;
    use super::*;

    /// Operators of the table's proposals that are not values and accesses alone: they have
    /// instructions of their own.
    const WITHOUT_ROW: &[Op] = &[
        Op::Unreachable,
        Op::Nop,
        Op::Block,
        Op::Loop,
        Op::If,
        Op::Else,
        Op::End,
        Op::Br,
        Op::BrIf,
        Op::BrTable,
        Op::Return,
        Op::Call,
        Op::CallIndirect,
        Op::Drop,
        Op::Select,
        Op::LocalGet,
        Op::LocalSet,
        Op::LocalTee,
        Op::GlobalGet,
        Op::GlobalSet,
        Op::MemorySize,
        Op::MemoryGrow,
        Op::I32Const,
        Op::I64Const,
        Op::F32Const,
        Op::F64Const,
        Op::V128Const,
        Op::I8x16Shuffle,
        Op::MemoryAtomicNotify,
        Op::MemoryAtomicWait32,
        Op::MemoryAtomicWait64,
        Op::AtomicFence,
    ];

    fn is_of_the_table(op: Op) -> bool {
        let proposals =
            ["mvp", "sign_extension", "saturating_float_to_int", "simd", "relaxed_simd", "wide_arithmetic", "threads"];
        proposals.contains(&op.proposal())
    }

    #[test]
    fn every_operator_of_the_tables_proposals_has_a_row() {
        for &op in Op::ALL {
            let expected = is_of_the_table(op) && !WITHOUT_ROW.contains(&op);
            assert_eq!(op.row().is_some(), expected, "{}", op.name());
        }
    }

    #[test]
    fn rows_have_the_arity_that_the_decoder_says() {
        for (&op, annotation) in Op::ALL.iter().zip(ANNOTATIONS) {
            let Some(row) = op.row() else { continue };
            let address = usize::from(row.access_bytes != 0);
            let arity = format!("{} -> {}", row.params.len() + address, row.results());
            let (_, said) = annotation.split_once(' ').expect("an annotation is a word and an arity");
            assert_eq!(said.trim_start_matches("memarg").trim(), arity, "{}", op.name());
        }
    }

    #[test]
    fn classes_are_those_of_the_names() {
        for &op in Op::ALL {
            let Some(Row { result: Some(result), .. }) = op.row() else { continue };
            let namespace = op.name().split('.').next().expect("a name has a first word");
            let expected = match namespace {
                "i32" => SlotType::I32,
                "i64" => SlotType::I64,
                "f32" => SlotType::F32,
                "f64" => SlotType::F64,
                _ => SlotType::V128,
            };
            let is_test = ["eq", "ne", "lt", "gt", "le", "ge", "all_true", "any_true", "bitmask", "extract"];
            let word = op.name().split('.').nth(1).expect("a row's name has two words");
            if result != expected {
                assert!(is_test.iter().any(|test| word.starts_with(test)), "{}", op.name());
            }
        }
    }

    #[test]
    fn accesses_have_the_size_that_the_name_says() {
        for (op, bytes, kind) in [
            (Op::I32Load, 4, RowKind::Load),
            (Op::I64Load32U, 4, RowKind::Load),
            (Op::V128Load8x8S, 8, RowKind::Load),
            (Op::V128Load16Splat, 2, RowKind::Load),
            (Op::V128Store, 16, RowKind::Store),
            (Op::I64Store8, 1, RowKind::Store),
            (Op::V128Load32Lane, 4, RowKind::LoadLane { lanes: 4 }),
            (Op::V128Store64Lane, 8, RowKind::StoreLane { lanes: 2 }),
            (Op::I64AtomicLoad32U, 4, RowKind::AtomicLoad),
            (Op::I64AtomicStore, 8, RowKind::AtomicStore),
            (Op::I32AtomicRmw8XorU, 1, RowKind::AtomicRmw),
            (Op::I64AtomicRmw16CmpxchgU, 2, RowKind::AtomicCmpxchg),
        ] {
            let row = op.row().expect("a memory row");
            assert_eq!((row.access_bytes, row.kind), (bytes, kind), "{}", op.name());
        }
    }
}
