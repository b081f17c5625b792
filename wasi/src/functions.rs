//! The table of functions: the one list of names, types, actions, denials and bodies.
//!
//! Invariant: every body is entered through [`enter`], which checks again that one of the row's
//! actions is granted, so that the table is as blind as the runtime that serves it.

use aura_host_abi::ValType::{I32, I64};
use aura_host_abi::{Action, Denial, HostCall, HostError, HostFn};

use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::{clock, dir, fd, path, poll, program};

/// The module name under which guests import [`FUNCTIONS`].
pub const MODULE: &str = "wasi_snapshot_preview1";

type Body = fn(&mut WasiCtx, &mut HostCall<'_>) -> Outcome;

const ARGS: &[Action] = &[Action::Args];
const ENV: &[Action] = &[Action::Env];
const CLOCK: &[Action] = &[Action::Clock];
const RANDOM: &[Action] = &[Action::Random];
const FILES: &[Action] = &[Action::FsRead, Action::FsWrite];
const CHANGES: &[Action] = &[Action::FsWrite];
const HANDLES: &[Action] = &[Action::Stdio, Action::FsRead, Action::FsWrite];
const WAITS: &[Action] = &[Action::Clock, Action::Stdio, Action::FsRead, Action::FsWrite];
const ANY: &[Action] =
    &[Action::Stdio, Action::Args, Action::Env, Action::Clock, Action::Random, Action::FsRead, Action::FsWrite];
const ALWAYS: &[Action] = &[];

const NOTCAPABLE: Denial = Denial::Code(Errno::NOTCAPABLE as u32);
const NONE_HELD: Denial = Denial::Quiet(answer_no_strings);
const NOTHING: Denial = Denial::Quiet(answer_success);
const NO_SUCH_FD: Denial = Denial::Quiet(answer_badf);

// Row: name [parameters] ACTIONS, DENIAL, body;
// Example: fd_close [I32] HANDLES, NOTCAPABLE, fd::close;
macro_rules! functions {
    (
        implemented { $($name:ident [$($param:ident)*] $actions:ident, $denial:ident, $body:path;)* }
        without_result { $($ending:ident [$($ending_param:ident)*] $ending_body:path;)* }
        not_implemented { $($absent:ident [$($absent_param:ident)*] $absent_actions:ident;)* }
    ) => {
        /// All functions of WASI preview 1, implemented or not.
        pub static FUNCTIONS: &[HostFn<WasiCtx>] = &[
            $(HostFn {
                module: MODULE,
                name: stringify!($name),
                params: &[$($param),*],
                results: &[I32],
                actions: $actions,
                denial: $denial,
                call: |ctx: &mut WasiCtx, call: &mut HostCall<'_>| {
                    enter(ctx, call, stringify!($name), $actions, $denial, $body)
                },
            },)*
            $(HostFn {
                module: MODULE,
                name: stringify!($ending),
                params: &[$($ending_param),*],
                results: &[],
                actions: ALWAYS,
                denial: Denial::Trap,
                call: $ending_body,
            },)*
            $(HostFn {
                module: MODULE,
                name: stringify!($absent),
                params: &[$($absent_param),*],
                results: &[I32],
                actions: $absent_actions,
                denial: NOTCAPABLE,
                call: |ctx: &mut WasiCtx, call: &mut HostCall<'_>| {
                    enter(ctx, call, stringify!($absent), $absent_actions, NOTCAPABLE, not_implemented)
                },
            },)*
        ];

        /// The names of [`FUNCTIONS`] that answer NOSYS once granted.
        pub const NOT_IMPLEMENTED: &[&str] = &[$(stringify!($absent)),*];
    };
}

functions! {
    implemented {
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
        path_open [I32 I32 I32 I32 I32 I64 I64 I32 I32] FILES, NOTCAPABLE, path::open;
        path_readlink [I32 I32 I32 I32 I32 I32] FILES, NOTCAPABLE, path::readlink;
        path_remove_directory [I32 I32 I32] CHANGES, NOTCAPABLE, path::remove_directory;
        path_rename [I32 I32 I32 I32 I32 I32] CHANGES, NOTCAPABLE, path::rename;
        path_unlink_file [I32 I32 I32] CHANGES, NOTCAPABLE, path::unlink_file;
        poll_oneoff [I32 I32 I32 I32] WAITS, NOTCAPABLE, poll::oneoff;
        sched_yield [] ANY, NOTCAPABLE, program::sched_yield;
        random_get [I32 I32] RANDOM, NOTCAPABLE, program::random_get;
    }
    without_result {
        proc_exit [I32] program::exit;
    }
    not_implemented {
        fd_fdstat_set_rights [I32 I64 I64] FILES;
        path_link [I32 I32 I32 I32 I32 I32 I32] CHANGES;
        path_symlink [I32 I32 I32 I32 I32] CHANGES;
        proc_raise [I32] ANY;
        sock_accept [I32 I32 I32] HANDLES;
        sock_recv [I32 I32 I32 I32 I32 I32] HANDLES;
        sock_send [I32 I32 I32 I32 I32] HANDLES;
        sock_shutdown [I32 I32] HANDLES;
    }
}

/// Runs a body if one of the actions is granted and turns its outcome into the guest's result.
fn enter(
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
        Err(Fail::Errno(errno)) => errno,
        Err(Fail::Host(error)) => return Err(error),
    };
    call.set_result(errno as u64);
    Ok(())
}

fn not_implemented(_: &mut WasiCtx, _: &mut HostCall<'_>) -> Outcome {
    Err(Errno::NOSYS.into())
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
