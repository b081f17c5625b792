//! Arms for the operators that are rows of the operator table, told by the shape of their immediates.
//!
//! wasmparser's operator macro is the list. What has an arm of its own is skipped by name; what cannot
//! be placed is of a proposal that [`crate::Features`] cannot switch on, so that no validated body contains it.

macro_rules! visit_rows {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $( visit_rows!(@one $op $visit $({ $($arg: $argty),* })?); )*
    };
    (@one Unreachable $($rest:tt)*) => {};
    (@one Nop $($rest:tt)*) => {};
    (@one Block $($rest:tt)*) => {};
    (@one Loop $($rest:tt)*) => {};
    (@one If $($rest:tt)*) => {};
    (@one Else $($rest:tt)*) => {};
    (@one End $($rest:tt)*) => {};
    (@one Br $($rest:tt)*) => {};
    (@one BrIf $($rest:tt)*) => {};
    (@one BrTable $($rest:tt)*) => {};
    (@one Return $($rest:tt)*) => {};
    (@one Call $($rest:tt)*) => {};
    (@one CallIndirect $($rest:tt)*) => {};
    (@one ReturnCall $($rest:tt)*) => {};
    (@one ReturnCallIndirect $($rest:tt)*) => {};
    (@one CallRef $($rest:tt)*) => {};
    (@one ReturnCallRef $($rest:tt)*) => {};
    (@one RefAsNonNull $($rest:tt)*) => {};
    (@one BrOnNull $($rest:tt)*) => {};
    (@one BrOnNonNull $($rest:tt)*) => {};
    (@one TryTable $($rest:tt)*) => {};
    (@one Try $($rest:tt)*) => {};
    (@one Catch $($rest:tt)*) => {};
    (@one CatchAll $($rest:tt)*) => {};
    (@one Delegate $($rest:tt)*) => {};
    (@one Rethrow $($rest:tt)*) => {};
    (@one Throw $($rest:tt)*) => {};
    (@one ThrowRef $($rest:tt)*) => {};
    (@one RefEq $($rest:tt)*) => {};
    (@one StructNew $($rest:tt)*) => {};
    (@one StructNewDefault $($rest:tt)*) => {};
    (@one StructGet $($rest:tt)*) => {};
    (@one StructGetS $($rest:tt)*) => {};
    (@one StructGetU $($rest:tt)*) => {};
    (@one StructSet $($rest:tt)*) => {};
    (@one ArrayNew $($rest:tt)*) => {};
    (@one ArrayNewDefault $($rest:tt)*) => {};
    (@one ArrayNewFixed $($rest:tt)*) => {};
    (@one ArrayNewData $($rest:tt)*) => {};
    (@one ArrayNewElem $($rest:tt)*) => {};
    (@one ArrayGet $($rest:tt)*) => {};
    (@one ArrayGetS $($rest:tt)*) => {};
    (@one ArrayGetU $($rest:tt)*) => {};
    (@one ArraySet $($rest:tt)*) => {};
    (@one ArrayLen $($rest:tt)*) => {};
    (@one ArrayFill $($rest:tt)*) => {};
    (@one ArrayCopy $($rest:tt)*) => {};
    (@one ArrayInitData $($rest:tt)*) => {};
    (@one ArrayInitElem $($rest:tt)*) => {};
    (@one RefTestNonNull $($rest:tt)*) => {};
    (@one RefTestNullable $($rest:tt)*) => {};
    (@one RefCastNonNull $($rest:tt)*) => {};
    (@one RefCastNullable $($rest:tt)*) => {};
    (@one BrOnCast $($rest:tt)*) => {};
    (@one BrOnCastFail $($rest:tt)*) => {};
    (@one AnyConvertExtern $($rest:tt)*) => {};
    (@one ExternConvertAny $($rest:tt)*) => {};
    (@one RefI31 $($rest:tt)*) => {};
    (@one I31GetS $($rest:tt)*) => {};
    (@one I31GetU $($rest:tt)*) => {};
    (@one Drop $($rest:tt)*) => {};
    (@one Select $($rest:tt)*) => {};
    (@one TypedSelect $($rest:tt)*) => {};
    (@one LocalGet $($rest:tt)*) => {};
    (@one LocalSet $($rest:tt)*) => {};
    (@one LocalTee $($rest:tt)*) => {};
    (@one GlobalGet $($rest:tt)*) => {};
    (@one GlobalSet $($rest:tt)*) => {};
    (@one I32Const $($rest:tt)*) => {};
    (@one I64Const $($rest:tt)*) => {};
    (@one F32Const $($rest:tt)*) => {};
    (@one F64Const $($rest:tt)*) => {};
    (@one V128Const $($rest:tt)*) => {};
    (@one RefNull $($rest:tt)*) => {};
    (@one RefIsNull $($rest:tt)*) => {};
    (@one RefFunc $($rest:tt)*) => {};
    (@one TableGet $($rest:tt)*) => {};
    (@one TableSet $($rest:tt)*) => {};
    (@one TableSize $($rest:tt)*) => {};
    (@one TableGrow $($rest:tt)*) => {};
    (@one TableFill $($rest:tt)*) => {};
    (@one TableCopy $($rest:tt)*) => {};
    (@one TableInit $($rest:tt)*) => {};
    (@one ElemDrop $($rest:tt)*) => {};
    (@one MemorySize $($rest:tt)*) => {};
    (@one MemoryGrow $($rest:tt)*) => {};
    (@one MemoryFill $($rest:tt)*) => {};
    (@one MemoryCopy $($rest:tt)*) => {};
    (@one MemoryInit $($rest:tt)*) => {};
    (@one DataDrop $($rest:tt)*) => {};
    (@one MemoryAtomicNotify $($rest:tt)*) => {};
    (@one MemoryAtomicWait32 $($rest:tt)*) => {};
    (@one MemoryAtomicWait64 $($rest:tt)*) => {};
    (@one AtomicFence $($rest:tt)*) => {};
    (@one $op:ident $visit:ident) => {
        fn $visit(&mut self) {
            self.row(Op::$op);
        }
    };
    (@one $op:ident $visit:ident { memarg: $memarg:ty }) => {
        fn $visit(&mut self, memarg: MemArg) {
            self.row_memory(Op::$op, &memarg);
        }
    };
    (@one $op:ident $visit:ident { lane: $lane:ty }) => {
        fn $visit(&mut self, lane: u8) {
            self.row_lane(Op::$op, lane);
        }
    };
    (@one $op:ident $visit:ident { memarg: $memarg:ty, lane: $lane:ty }) => {
        fn $visit(&mut self, memarg: MemArg, lane: u8) {
            self.row_memory_lane(Op::$op, &memarg, lane);
        }
    };
    (@one $op:ident $visit:ident { lanes: $lanes:ty }) => {
        fn $visit(&mut self, lanes: [u8; 16]) {
            self.row_lanes(Op::$op, lanes);
        }
    };
    (@one $op:ident $visit:ident { $($arg:ident: $argty:ty),* }) => {
        fn $visit(&mut self, $(_: $argty),*) {
            unreachable!("validation admits no {}", stringify!($op));
        }
    };
}
pub(super) use visit_rows;
