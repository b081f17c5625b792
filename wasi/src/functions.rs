//! The table of functions: the one list of names, types, actions, denials and bodies.
//!
//! The rows make two interfaces: preview 1, and `wasi_unstable`, which was preview 0 and which old
//! binaries import. Bodies are the same; what differs in layout is in [`Layout`]. Invariant: every
//! body is entered through [`enter`], which checks again that one of the row's actions is granted, so
//! that the table is as blind as the runtime that serves it.

use aura_host_abi::ValType::{I32, I64};
use aura_host_abi::{Action, Denial, HostCall, HostError, HostFn};

use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::types::Layout;
use crate::{clock, dir, fd, path, poll, program, socket};

/// The module name under which guests import [`FUNCTIONS`].
pub const MODULE: &str = "wasi_snapshot_preview1";
/// The module name under which guests import [`UNSTABLE_FUNCTIONS`].
pub const UNSTABLE_MODULE: &str = "wasi_unstable";

type Body = fn(&mut WasiCtx, &mut HostCall<'_>) -> Outcome;

const ARGS: &[Action] = &[Action::Args];
const ENV: &[Action] = &[Action::Env];
const CLOCK: &[Action] = &[Action::Clock, Action::ClockMonotonic, Action::ClockRealtime];
const RANDOM: &[Action] = &[Action::Random];
const FILES: &[Action] = &[Action::FsRead, Action::FsCreate, Action::FsWrite];
const CHANGES: &[Action] = &[Action::FsCreate, Action::FsWrite];
/// What descriptors come from.
macro_rules! handles {
    ($($more:ident)*) => {
        &[
            Action::Stdio,
            Action::StdioIn,
            Action::StdioOut,
            Action::StdioErr,
            Action::FsRead,
            Action::FsCreate,
            Action::FsWrite,
            Action::NetListen,
            Action::NetConnect,
            $(Action::$more),*
        ]
    };
}
const HANDLES: &[Action] = handles! {};
const WAITS: &[Action] = handles! { Clock ClockMonotonic ClockRealtime };
const ANY: &[Action] = handles! { Args Env Clock ClockMonotonic ClockRealtime Random };
const ALWAYS: &[Action] = &[];

const NOTCAPABLE: Denial = Denial::Code(Errno::NOTCAPABLE as u32);
const NONE_HELD: Denial = Denial::Quiet(answer_no_strings);
const NOTHING: Denial = Denial::Quiet(answer_success);
const NO_SUCH_FD: Denial = Denial::Quiet(answer_badf);

// Row: name [parameters] ACTIONS, DENIAL, body;
// Example: fd_close [I32] HANDLES, NOTCAPABLE, fd::close;
macro_rules! functions {
    (
        both { $($name:ident [$($param:ident)*] $actions:ident, $denial:ident, $body:path;)* }
        both_without_result { $($ending:ident [$($ending_param:ident)*] $ending_body:path;)* }
        since_preview_1 { $($new:ident [$($new_param:ident)*] $new_actions:ident, $new_denial:ident, $new_body:path;)* }
    ) => {
        /// All functions of WASI preview 1.
        pub static FUNCTIONS: &[HostFn<WasiCtx>] = &[
            $(row!(MODULE, Layout::Preview1, $name [$($param)*] $actions, $denial, $body),)*
            $(ending!(MODULE, $ending [$($ending_param)*] $ending_body),)*
            $(row!(MODULE, Layout::Preview1, $new [$($new_param)*] $new_actions, $new_denial, $new_body),)*
        ];

        /// All functions of `wasi_unstable`.
        pub static UNSTABLE_FUNCTIONS: &[HostFn<WasiCtx>] = &[
            $(row!(UNSTABLE_MODULE, Layout::Unstable, $name [$($param)*] $actions, $denial, $body),)*
            $(ending!(UNSTABLE_MODULE, $ending [$($ending_param)*] $ending_body),)*
        ];
    };
}

macro_rules! row {
    ($module:ident, $layout:expr, $name:ident [$($param:ident)*] $actions:ident, $denial:ident, $body:path) => {
        HostFn {
            module: $module,
            name: stringify!($name),
            params: &[$($param),*],
            results: &[I32],
            actions: $actions,
            denial: $denial,
            call: |ctx: &mut WasiCtx, call: &mut HostCall<'_>| {
                ctx.layout = $layout;
                enter(ctx, call, stringify!($name), $actions, $denial, $body)
            },
        }
    };
}

macro_rules! ending {
    ($module:ident, $name:ident [$($param:ident)*] $body:path) => {
        HostFn {
            module: $module,
            name: stringify!($name),
            params: &[$($param),*],
            results: &[],
            actions: ALWAYS,
            denial: Denial::Trap,
            call: $body,
        }
    };
}

functions! {
    both {
        args_get [I32 I32] ARGS, NOTHING, program::args_get;
        args_sizes_get [I32 I32] ARGS, NONE_HELD, program::args_sizes_get;
        environ_get [I32 I32] ENV, NOTHING, program::environ_get;
        environ_sizes_get [I32 I32] ENV, NONE_HELD, program::environ_sizes_get;
        clock_res_get [I32 I32] CLOCK, NOTCAPABLE, clock::resolution;
        clock_time_get [I32 I64 I32] CLOCK, NOTCAPABLE, clock::time;
        fd_advise [I32 I64 I64 I32] FILES, NOTCAPABLE, fd::advise;
        fd_allocate [I32 I64 I64] CHANGES, NOTCAPABLE, fd::allocate;
        fd_close [I32] HANDLES, NOTCAPABLE, fd::close;
        fd_datasync [I32] HANDLES, NOTCAPABLE, fd::datasync;
        fd_fdstat_get [I32 I32] HANDLES, NOTCAPABLE, fd::fdstat_get;
        fd_fdstat_set_flags [I32 I32] HANDLES, NOTCAPABLE, fd::fdstat_set_flags;
        fd_fdstat_set_rights [I32 I64 I64] HANDLES, NOTCAPABLE, fd::fdstat_set_rights;
        fd_filestat_get [I32 I32] HANDLES, NOTCAPABLE, fd::filestat_get;
        fd_filestat_set_size [I32 I64] CHANGES, NOTCAPABLE, fd::filestat_set_size;
        fd_filestat_set_times [I32 I64 I64 I32] CHANGES, NOTCAPABLE, fd::filestat_set_times;
        fd_pread [I32 I32 I32 I64 I32] HANDLES, NOTCAPABLE, fd::pread;
        fd_prestat_get [I32 I32] FILES, NO_SUCH_FD, dir::prestat_get;
        fd_prestat_dir_name [I32 I32 I32] FILES, NOTCAPABLE, dir::prestat_dir_name;
        fd_pwrite [I32 I32 I32 I64 I32] HANDLES, NOTCAPABLE, fd::pwrite;
        fd_read [I32 I32 I32 I32] HANDLES, NOTCAPABLE, fd::read;
        fd_readdir [I32 I32 I32 I64 I32] FILES, NOTCAPABLE, dir::read;
        fd_renumber [I32 I32] HANDLES, NOTCAPABLE, fd::renumber;
        fd_seek [I32 I64 I32 I32] HANDLES, NOTCAPABLE, fd::seek;
        fd_sync [I32] HANDLES, NOTCAPABLE, fd::sync;
        fd_tell [I32 I32] HANDLES, NOTCAPABLE, fd::tell;
        fd_write [I32 I32 I32 I32] HANDLES, NOTCAPABLE, fd::write;
        path_create_directory [I32 I32 I32] CHANGES, NOTCAPABLE, path::create_directory;
        path_filestat_get [I32 I32 I32 I32 I32] FILES, NOTCAPABLE, path::filestat_get;
        path_filestat_set_times [I32 I32 I32 I32 I64 I64 I32] CHANGES, NOTCAPABLE, path::filestat_set_times;
        path_link [I32 I32 I32 I32 I32 I32 I32] CHANGES, NOTCAPABLE, path::link;
        path_open [I32 I32 I32 I32 I32 I64 I64 I32 I32] FILES, NOTCAPABLE, path::open;
        path_readlink [I32 I32 I32 I32 I32 I32] FILES, NOTCAPABLE, path::readlink;
        path_remove_directory [I32 I32 I32] CHANGES, NOTCAPABLE, path::remove_directory;
        path_rename [I32 I32 I32 I32 I32 I32] CHANGES, NOTCAPABLE, path::rename;
        path_symlink [I32 I32 I32 I32 I32] CHANGES, NOTCAPABLE, path::symlink;
        path_unlink_file [I32 I32 I32] CHANGES, NOTCAPABLE, path::unlink_file;
        poll_oneoff [I32 I32 I32 I32] WAITS, NOTCAPABLE, poll::oneoff;
        proc_raise [I32] ANY, NOTCAPABLE, program::raise;
        sched_yield [] ANY, NOTCAPABLE, program::sched_yield;
        random_get [I32 I32] RANDOM, NOTCAPABLE, program::random_get;
        sock_recv [I32 I32 I32 I32 I32 I32] HANDLES, NOTCAPABLE, socket::recv;
        sock_send [I32 I32 I32 I32 I32] HANDLES, NOTCAPABLE, socket::send;
        sock_shutdown [I32 I32] HANDLES, NOTCAPABLE, socket::shutdown;
    }
    both_without_result {
        proc_exit [I32] program::exit;
    }
    since_preview_1 {
        sock_accept [I32 I32 I32] HANDLES, NOTCAPABLE, socket::accept;
    }
}

/// The row of a name, in any of the interfaces.
#[must_use]
pub fn find(module: &str, name: &str) -> Option<&'static HostFn<WasiCtx>> {
    let tables = FUNCTIONS.iter().chain(UNSTABLE_FUNCTIONS).chain(crate::NET_FUNCTIONS);
    tables.into_iter().find(|function| function.module == module && function.name == name)
}

/// Runs a body if one of the actions is granted and turns its outcome into the guest's result.
pub(crate) fn enter(
    ctx: &mut WasiCtx,
    call: &mut HostCall<'_>,
    name: &'static str,
    actions: &[Action],
    denial: Denial,
    body: Body,
) -> Result<(), HostError> {
    if !ctx.holds(actions) {
        return match denial {
            Denial::Code(code) => {
                call.set_result(code.into());
                Ok(())
            }
            Denial::Quiet(answer) => answer(call),
            Denial::Trap => Err(HostError::Trap(aura_host_abi::TrapCode::CapabilityDenied)),
        };
    }
    ctx.current = name;
    let errno = match body(ctx, call) {
        Ok(()) => Errno::SUCCESS,
        Err(Fail::Errno(errno)) => {
            if errno == Errno::NOTCAPABLE {
                call.deny();
            }
            errno
        }
        Err(Fail::Host(error)) => return Err(error),
    };
    call.set_result(errno as u64);
    Ok(())
}

/// Answers `*_sizes_get`: no strings, no bytes.
fn answer_no_strings(call: &mut HostCall<'_>) -> Result<(), HostError> {
    let (count, bytes) = (call.u32(0).into(), call.u32(1).into());
    let in_bounds = call.memory.check(count, 4).and(call.memory.check(bytes, 4)).is_ok();
    if in_bounds {
        call.memory.write_u32(count, 0)?;
        call.memory.write_u32(bytes, 0)?;
    }
    let errno = if in_bounds { Errno::SUCCESS } else { Errno::FAULT };
    call.set_result(errno as u64);
    Ok(())
}

fn answer_success(call: &mut HostCall<'_>) -> Result<(), HostError> {
    call.set_result(Errno::SUCCESS as u64);
    Ok(())
}

fn answer_badf(call: &mut HostCall<'_>) -> Result<(), HostError> {
    call.set_result(Errno::BADF as u64);
    Ok(())
}
