//! The engine services as compiled code calls them: a thunk that notes where the code left, then the body.
//!
//! # Safety
//! Trusts: compiled code calls a service with its own instance, live and linked.

use std::sync::OnceLock;

use aura_host_abi::services::VmServices;
use aura_host_abi::vm::VmCtx;

use crate::{arch, services};

macro_rules! thunk {
    ($name:ident($($param:ident: $ty:ty),*) -> never) => {};
    ($name:ident($($param:ident: $ty:ty),*) -> $class:ident) => {
        mod $name {
            use super::*;

            extern "C" fn body(vmctx: *mut VmCtx $(, $param: $ty)*) -> u64 {
                // SAFETY: compiled code passes its own instance, which is live and linked.
                unsafe { services::$name(vmctx $(, $param)*) as u64 }
            }

            arch::service_thunk!(thunk, body, ($($param: $ty),*));
        }
    };
}

macro_rules! thunks {
    ($($(#[$doc:meta])* $name:ident($($param:ident: $ty:ty),*) -> $class:ident;)*) => {
        $(thunk! { $name($($param: $ty),*) -> $class })*

        fn table() -> VmServices {
            VmServices { $($name: thunks!(@address $name $class)),* }
        }
    };
    (@address $name:ident never) => { arch::$name };
    (@address $name:ident $class:ident) => { $name::thunk };
}

aura_host_abi::for_each_service!(thunks);

/// The table of services that every store points to.
pub(crate) fn services() -> *const VmServices {
    static TABLE: OnceLock<VmServices> = OnceLock::new();
    TABLE.get_or_init(table)
}
