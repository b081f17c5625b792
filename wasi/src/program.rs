//! What a program is started with and how it ends: arguments, environment, random bytes, exit.
//!
//! Invariant: strings are visible only while the grant that brought them stands, and sizes are
//! computed by the same pass as the strings.

use std::ops::RangeInclusive;

use aura_host_abi::{HostCall, HostError};

use crate::ctx::WasiCtx;
use crate::errno::{Errno, Outcome};
use crate::limits::PIECE_LEN;
use crate::stream::check_interrupt;

/// `args_sizes_get(count, bytes)`
pub(crate) fn args_sizes_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    put_sizes(call, &ctx.args)
}

/// `args_get(pointers, bytes)`
pub(crate) fn args_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    put_strings(call, &ctx.args)
}

/// `environ_sizes_get(count, bytes)`
pub(crate) fn environ_sizes_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    put_sizes(call, &environment(ctx))
}

/// `environ_get(pointers, bytes)`
pub(crate) fn environ_get(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    put_strings(call, &environment(ctx))
}

/// The granted variables as `NAME=VALUE`; of several of one name, the last that was granted.
fn environment(ctx: &WasiCtx) -> Vec<String> {
    let live: Vec<_> = ctx.env.iter().filter(|variable| variable.grant.is_live()).collect();
    let last = |&(index, name): &(usize, &str)| live[index + 1..].iter().all(|later| later.name != name);
    let names = live.iter().map(|variable| variable.name.as_str()).enumerate();
    names.filter(last).map(|(index, name)| format!("{name}={}", live[index].value)).collect()
}

fn put_sizes(call: &mut HostCall<'_>, strings: &[String]) -> Outcome {
    let bytes: usize = strings.iter().map(|string| string.len() + 1).sum();
    let count = u32::try_from(strings.len()).map_err(|_| Errno::TOOBIG)?;
    let bytes = u32::try_from(bytes).map_err(|_| Errno::TOOBIG)?;
    let (count_at, bytes_at) = (call.u32(0).into(), call.u32(1).into());
    call.memory.check(bytes_at, 4)?;
    call.memory.write_u32(count_at, count)?;
    call.memory.write_u32(bytes_at, bytes)?;
    Ok(())
}

fn put_strings(call: &mut HostCall<'_>, strings: &[String]) -> Outcome {
    let (mut pointer_at, mut bytes_at) = (u64::from(call.u32(0)), u64::from(call.u32(1)));
    for string in strings {
        let address = u32::try_from(bytes_at).map_err(|_| Errno::FAULT)?;
        call.memory.write_u32(pointer_at, address)?;
        call.memory.write(bytes_at, string.as_bytes())?;
        bytes_at += string.len() as u64;
        call.memory.write(bytes_at, &[0])?;
        bytes_at += 1;
        pointer_at += 4;
    }
    Ok(())
}

/// `random_get(buffer, len)`: all of it, in pieces.
pub(crate) fn random_get(_: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (address, len) = (u64::from(call.u32(0)), u64::from(call.u32(1)));
    call.memory.check(address, len)?;
    let mut bytes = vec![0; PIECE_LEN.min(len as usize)];
    let mut done = 0;
    while done < len {
        check_interrupt(call)?;
        let count = bytes.len().min((len - done) as usize);
        let piece = &mut bytes[..count];
        getrandom::fill(piece).map_err(|_| Errno::IO)?;
        call.memory.write(address + done, piece)?;
        call.moved(count as u64);
        done += count as u64;
    }
    Ok(())
}

/// `sched_yield()`
pub(crate) fn sched_yield(_: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    check_interrupt(call)?;
    std::thread::yield_now();
    Ok(())
}

/// `proc_raise(signal)`: what the signal does to a program that handles none. There is nobody to go on
/// with a stopped one, so those that stop are refused.
pub(crate) fn raise(_: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    const NONE: u32 = 0;
    const CHLD_CONT: RangeInclusive<u32> = 16..=17;
    const STOP_TSTP_TTIN_TTOU: RangeInclusive<u32> = 18..=21;
    const URG: u32 = 22;
    const WINCH: u32 = 27;
    const LAST: u32 = 30;
    match call.u32(0) {
        NONE | URG | WINCH => Ok(()),
        signal if CHLD_CONT.contains(&signal) => Ok(()),
        signal if STOP_TSTP_TTIN_TTOU.contains(&signal) => Err(Errno::NOTSUP.into()),
        signal if signal > LAST => Err(Errno::INVAL.into()),
        // What a shell reports of a program that a signal ended.
        signal => Err(HostError::Exit(128 + signal.cast_signed()).into()),
    }
}

/// `proc_exit(code)`
pub(crate) fn exit(_: &mut WasiCtx, call: &mut HostCall<'_>) -> Result<(), HostError> {
    Err(HostError::Exit(call.u32(0).cast_signed()))
}
