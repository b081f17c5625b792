//! Why guest code stopped.

use std::fmt;

macro_rules! trap_codes {
    ($($(#[$doc:meta])* $name:ident = $num:literal, $text:literal;)*) => {
        /// The reason for a trap. The numbers are part of the contract with compiled code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum TrapCode { $($(#[$doc])* $name = $num),* }

        impl TrapCode {
            /// All codes, in order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code with this number.
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($num => Some(Self::$name),)* _ => None }
            }

            /// The message, in the words of the official test suite where it has any.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

trap_codes! {
    Unreachable = 1, "unreachable";
    MemoryOutOfBounds = 2, "out of bounds memory access";
    TableOutOfBounds = 3, "out of bounds table access";
    /// `call_indirect` with an index past the end of the table.
    UndefinedElement = 4, "undefined element";
    /// `call_indirect` on a null element.
    UninitializedElement = 5, "uninitialized element";
    IndirectCallTypeMismatch = 6, "indirect call type mismatch";
    IntegerDivideByZero = 7, "integer divide by zero";
    IntegerOverflow = 8, "integer overflow";
    InvalidConversionToInteger = 9, "invalid conversion to integer";
    StackOverflow = 10, "call stack exhausted";
    OutOfFuel = 11, "all fuel consumed";
    /// The deadline passed, or the host interrupted the store.
    Interrupted = 12, "interrupted";
    NullReference = 13, "null reference";
    UnalignedAtomic = 14, "unaligned atomic";
    /// A call of an import that was not granted and has no error code of its own to answer with.
    CapabilityDenied = 15, "capability denied";
    /// A host function returned an error; the error travels beside the code.
    HostError = 16, "host function failed";
    /// The instance was poisoned by an earlier panic of a host function.
    Poisoned = 17, "instance is poisoned";
    /// The function was found invalid at its first call (lazy validation only).
    InvalidFunction = 18, "function failed validation";
    /// The heap's limit is reached by objects that are in use.
    HeapExhausted = 19, "out of memory for the garbage-collected heap";
    /// `call_ref` of null.
    NullFunction = 20, "null function reference";
    NullStructure = 21, "null structure reference";
    NullArray = 22, "null array reference";
    NullI31 = 23, "null i31 reference";
    ArrayOutOfBounds = 24, "out of bounds array access";
    /// `ref.cast` of a reference that is not of the type.
    CastFailure = 25, "cast failure";
    /// A write where a buffer is lent for reading only.
    WriteToReadOnlyLoan = 26, "write to a read-only loan";
    /// An access to a window for sharing where nothing is lent, or no longer.
    NothingLent = 27, "access to a window where nothing is lent";
    /// An access to a part of a lent file that another process cut off.
    LoanTruncated = 28, "the file behind a loan was truncated";
    /// A wait on a memory that no other thread can have.
    ExpectedSharedMemory = 30, "expected shared memory";
}

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// How a crossing between guest code and Rust ended. Nothing unwinds a Rust frame: each crossing returns one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Results are in the slot array.
    Ok = 0,
    /// The reason is in [`crate::vm::VmStore::trap`] (and, for host errors, beside it in the store).
    Trap = 1,
    /// The function ends by a tail call: whoever called it calls [`crate::vm::VmStore::tail`] in its
    /// place, whose results are the results.
    TailCall = 2,
    /// An exception goes on to whoever called: it is in [`crate::vm::VmStore::exception`].
    Exception = 3,
}
