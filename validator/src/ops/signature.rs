//! [`Row`]: what the table says of an operator besides what it computes, generated from the rows.

use aura_host_abi::SlotType;

use super::Op;
use super::sem::{Raw, RowType, v128};

/// The group of the table that has an operator's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Total, and computes no NaN.
    Numeric,
    /// Total, and may compute a NaN.
    Float,
    /// May trap.
    Trapping,
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

impl Op {
    /// The operator's row, if it is one of the table's.
    #[must_use]
    pub fn row(self) -> Option<Row> {
        numeric(self)
            .or_else(|| float(self))
            .or_else(|| trapping(self))
            .or_else(|| extract(self))
            .or_else(|| replace(self))
            .or_else(|| load(self))
            .or_else(|| store(self))
            .or_else(|| load_lane(self))
            .or_else(|| store_lane(self))
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

crate::for_each_numeric_row!(value_rows Numeric, numeric:);
crate::for_each_float_row!(value_rows Float, float:);
crate::for_each_trapping_row!(value_rows Trapping, trapping:);
crate::for_each_extract_row!(lane_rows Extract, extract:);
crate::for_each_replace_row!(lane_rows Replace, replace:);
crate::for_each_load_row!(load_rows);
crate::for_each_store_row!(store_rows);
crate::for_each_load_lane_row!(memory_lane_rows LoadLane, load_lane -> Some(SlotType::V128),);
crate::for_each_store_lane_row!(memory_lane_rows StoreLane, store_lane -> None,);
