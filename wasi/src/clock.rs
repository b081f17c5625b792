//! The four clocks.

use aura_host_abi::HostCall;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use crate::ctx::WasiCtx;
use crate::errno::{Errno, Outcome};
use crate::types::nanoseconds;

/// The host's clock for a guest's number.
fn host_clock(id: u32) -> Result<ClockId, Errno> {
    match id {
        0 => Ok(ClockId::Realtime),
        1 => Ok(ClockId::Monotonic),
        2 => Ok(ClockId::ProcessCPUTime),
        3 => Ok(ClockId::ThreadCPUTime),
        _ => Err(Errno::INVAL),
    }
}

fn guest_time(time: Timespec) -> u64 {
    nanoseconds(time.tv_sec, u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The time of a clock in nanoseconds.
pub(crate) fn now(id: u32) -> Result<u64, Errno> {
    Ok(guest_time(clock_gettime(host_clock(id)?)))
}

/// `clock_res_get(id, out)`
pub(crate) fn resolution(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let clock = host_clock(call.u32(0))?;
    ctx.clock(call.u32(0))?;
    let resolution = guest_time(clock_getres(clock));
    call.memory.write_u64(call.u32(1).into(), resolution)?;
    Ok(())
}

/// `clock_time_get(id, precision, out)`
pub(crate) fn time(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let clock = host_clock(call.u32(0))?;
    ctx.clock(call.u32(0))?;
    let time = guest_time(clock_gettime(clock));
    call.memory.write_u64(call.u32(2).into(), time)?;
    Ok(())
}
