//! The operator table (provisional: names only).
use aura_host_abi::SlotType;

macro_rules! define_op {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        /// An operator, under wasmparser's name.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Op { $($op),* }
        impl Op {
            /// The name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$op => stringify!($op)),* }
            }
        }
    };
}
wasmparser::for_each_operator!(define_op);

/// The kind of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    Numeric,
    Float,
    Trapping,
    Extract,
    Replace,
    Load,
    Store,
    LoadLane,
    StoreLane,
}

/// A row's signature.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub kind: RowKind,
    pub params: &'static [SlotType],
    pub result: Option<SlotType>,
    pub access_bytes: u32,
}

impl Op {
    /// The row.
    #[must_use]
    pub const fn row(self) -> Option<Row> {
        None
    }
}
