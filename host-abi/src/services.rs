//! Engine services that guest code calls.
//!
//! One table: name, parameters, result. The runtime writes one safe body for each; the interpreter
//! calls the body, compiled code calls it through [`VmServices`]. Adding a service is adding a row.
//!
//! Result classes: `value` is the result itself and the service cannot fail; `status` is a
//! [`crate::trap::Status`], after [`Status::Trap`](crate::trap::Status::Trap) the caller must leave
//! by `propagate`; `object` is a reference to an object, after 0 the caller must leave the same way;
//! `result` is the result itself or [`FAILED`], after which the caller must leave so too; `never` does
//! not return. A service of the class `object` may move every object of the heap. All integer parameters are 64-bit, zero-extended where
//! the operand was narrower.

use crate::vm::VmCtx;

/// Calls `$mac!` with the rows of the service table.
#[macro_export]
macro_rules! for_each_service {
    ($mac:ident) => {
        $mac! {
            /// `memory.grow`: the old size in pages, or -1 (as 64 bits).
            memory_grow(memory: u64, delta_pages: u64) -> value;
            memory_copy(dst_memory: u64, src_memory: u64, dst: u64, src: u64, len: u64) -> status;
            memory_fill(memory: u64, dst: u64, byte: u64, len: u64) -> status;
            memory_init(memory: u64, segment: u64, dst: u64, src: u64, len: u64) -> status;
            data_drop(segment: u64) -> value;
            /// `table.grow`: the old size in elements, or -1 (as 64 bits).
            table_grow(table: u64, init: u64, delta: u64) -> value;
            table_fill(table: u64, dst: u64, init: u64, len: u64) -> status;
            table_copy(dst_table: u64, src_table: u64, dst: u64, src: u64, len: u64) -> status;
            table_init(table: u64, segment: u64, dst: u64, src: u64, len: u64) -> status;
            elem_drop(segment: u64) -> value;
            /// `ref.func`: a pointer to the function's `VmFuncRef`.
            ref_func(function: u64) -> value;
            /// Makes an object with this tag ([`crate::gc::tag`]), length word and size in bytes, a multiple of 8; its
            /// other bytes are zero. It is young if the size is at most [`crate::gc::YOUNG_SIZE_MAX`].
            heap_alloc(tag: u64, length: u64, size: u64) -> object;
            /// Makes an exception of a tag of the instance; its payload is zero and may be written before anything else is allocated.
            exception_new(tag: u64) -> object;
            /// `array.new_default`: an array of the module's type `ty`.
            array_new(ty: u64, length: u64) -> object;
            array_new_data(ty: u64, segment: u64, src: u64, length: u64) -> object;
            array_new_elem(ty: u64, segment: u64, src: u64, length: u64) -> object;
            /// `array.fill` with the value whose bits are `low` and, for a vector, `high`.
            array_fill(ty: u64, array: u64, dst: u64, low: u64, high: u64, len: u64) -> status;
            array_copy(ty: u64, dst_array: u64, dst: u64, src_array: u64, src: u64, len: u64) -> status;
            array_init_data(ty: u64, segment: u64, array: u64, dst: u64, src: u64, len: u64) -> status;
            array_init_elem(ty: u64, segment: u64, array: u64, dst: u64, src: u64, len: u64) -> status;
            /// The stack check of the interpreter failed: a real overflow, or an interrupt. May return `Ok` if the interrupt was
            /// withdrawn.
            stack_check_failed() -> status;
            /// Ends the activation with the trap of this code (`TrapCode` as a number). An interrupt is one only if the stack
            /// limit is the maximum; else it is an overflow of the stack: compiled code that checks the limit cannot tell.
            raise(code: u64) -> never;
            /// Ends the activation with the trap that is already recorded in the store.
            propagate() -> never;
            /// Throws the exception that is in the store: goes on at the nearest handler, or ends the activation.
            throw() -> never;
            /// `memory.atomic.wait32`: 0 woken, 1 not equal, 2 timed out. The address is `index + offset`.
            memory_atomic_wait32(memory: u64, index: u64, offset: u64, expected: u64, timeout_ns: u64) -> result;
            memory_atomic_wait64(memory: u64, index: u64, offset: u64, expected: u64, timeout_ns: u64) -> result;
            /// `memory.atomic.notify`: how many were woken.
            memory_atomic_notify(memory: u64, index: u64, offset: u64, count: u64) -> result;
        }
    };
}

macro_rules! service_table {
    ($($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> $class:ident;)*) => {
        /// Addresses of the engine services, each `extern "C" fn(*mut VmCtx, u64...) -> u64`, in table order.
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct VmServices { $($(#[$doc])* pub $name: extern "C" fn(*mut VmCtx $(, $ty)*) -> u64,)* }

        /// A row of the service table, as a compiler wants it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Service {
            pub name: &'static str,
            /// Number of parameters after the instance.
            pub params: usize,
            pub class: ServiceClass,
            /// Offset of the address in [`VmServices`].
            pub offset: usize,
        }

        impl Service {
            $(
                #[allow(non_upper_case_globals, reason = "rows keep the names of the table")]
                pub const $name: Self = Self {
                    name: stringify!($name),
                    params: <[&str]>::len(&[$(stringify!($param)),*]),
                    class: service_table!(@class $class),
                    offset: std::mem::offset_of!(VmServices, $name),
                };
            )*
            /// All services in table order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
    (@class value) => { ServiceClass::Value };
    (@class status) => { ServiceClass::Status };
    (@class object) => { ServiceClass::Object };
    (@class result) => { ServiceClass::Result };
    (@class never) => { ServiceClass::Never };
}

/// What the result of a service means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceClass {
    Value,
    Status,
    Object,
    Result,
    Never,
}

/// What a service of class [`ServiceClass::Result`] returns after it recorded a trap. No result is so large.
pub const FAILED: u64 = u64::MAX;

for_each_service!(service_table);
