//! `poll_oneoff`: waiting for times and for descriptors.
//!
//! Invariant: the number of subscriptions has a limit that is checked before their list is looked
//! at, each is copied out once, and a wait is a chain of slices between looks at the call's
//! interrupt. Waiting for a time needs the grant of `clock`, since it tells the time. All subscriptions are
//! looked at before any grant is acted on, and each grant once: a call that is refused, an event that is an
//! error, and the length of a wait cost no quota.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use aura_host_abi::{Capability, HostCall};
use rustix::event::{PollFd, PollFlags};

use crate::clock;
use crate::ctx::WasiCtx;
use crate::errno::{Errno, Fail, Outcome};
use crate::stream::{SLICE, Stream, check_interrupt, poll_slice};
use crate::table::{Entry, FdTable, Object};
use crate::types::{EVENT_LEN, Rights, Subscribed, Subscription, event};

/// A subscription and what is known of it before waiting.
struct Waiting {
    subscription: Subscription,
    state: State,
}

enum State {
    /// Answered at once: an error, or something that never waits.
    Settled(Errno),
    /// Due when this clock passes this time.
    Due { clock: u32, at: u64 },
    /// Ready when the host says so of this descriptor.
    Host { fd: u32, flags: PollFlags },
}

/// `poll_oneoff(subscriptions, events, count, out)`
pub(crate) fn oneoff(ctx: &mut WasiCtx, call: &mut HostCall<'_>) -> Outcome {
    let (list, events_at, count, out) = (call.u32(0), u64::from(call.u32(1)), call.u32(2), call.u32(3).into());
    if count == 0 || count > ctx.limits.subscriptions_max {
        return Err(Errno::INVAL.into());
    }
    call.memory.check(events_at, u64::from(count) * EVENT_LEN as u64)?;
    call.memory.check(out, 4)?;
    let row_len = ctx.layout.subscription_len();
    let bytes = call.memory.read_vec(list.into(), u64::from(count) * row_len as u64)?;
    let mut waiting = Vec::with_capacity(count as usize);
    for row in bytes.chunks_exact(row_len) {
        let subscription = ctx.layout.subscription(row)?;
        waiting.push(Waiting { state: settle(ctx, &subscription)?, subscription });
    }
    act(ctx, &mut waiting)?;
    let events = wait(ctx, call, &waiting)?;
    for (index, event) in events.iter().enumerate() {
        call.memory.write(events_at + (index * EVENT_LEN) as u64, event)?;
    }
    call.memory.write_u32(out, events.len() as u32)?;
    Ok(())
}

/// Acts on each grant that the call goes through, once. A descriptor whose grant is used up has an event that says so.
fn act(ctx: &WasiCtx, waiting: &mut [Waiting]) -> Result<(), Errno> {
    let mut acted: Vec<*const Capability> = Vec::new();
    for one in waiting {
        let grant = match (one.subscription.what, &one.state) {
            (_, State::Settled(errno)) if *errno != Errno::SUCCESS => continue,
            (Subscribed::Clock { id, .. }, _) => ctx.clock_grant(id),
            (Subscribed::Readable { fd } | Subscribed::Writable { fd }, _) => Some(&ctx.fds.peek(fd)?.grant),
        };
        let grant = grant.ok_or(Errno::NOTCAPABLE)?;
        if acted.contains(&Arc::as_ptr(grant)) {
            continue;
        }
        if grant.act() {
            acted.push(Arc::as_ptr(grant));
        } else if matches!(one.subscription.what, Subscribed::Clock { .. }) {
            return Err(Errno::NOTCAPABLE);
        } else {
            one.state = State::Settled(Errno::NOTCAPABLE);
        }
    }
    Ok(())
}

/// Looks at a subscription before waiting.
fn settle(ctx: &mut WasiCtx, subscription: &Subscription) -> Result<State, Errno> {
    let (fd, flags, right) = match subscription.what {
        Subscribed::Clock { id, timeout, absolute } => return settle_clock(ctx, id, timeout, absolute),
        Subscribed::Readable { fd } => (fd, PollFlags::IN, Rights::FD_READ),
        Subscribed::Writable { fd } => (fd, PollFlags::OUT, Rights::FD_WRITE),
    };
    match ctx.look_at(fd, Rights::POLL_FD_READWRITE.with(right)) {
        Err(errno) => return Ok(State::Settled(errno)),
        Ok(Entry { object: Object::Dir(_), .. }) => return Ok(State::Settled(Errno::BADF)),
        Ok(Entry { object: Object::File(file), .. }) if file.regular => return Ok(State::Settled(Errno::SUCCESS)),
        Ok(_) => {}
    }
    let immediate = matches!(&ctx.fds.peek(fd)?.object, Object::Stream(stream) if !ctx.streams.inherits(*stream));
    Ok(if immediate { State::Settled(Errno::SUCCESS) } else { State::Host { fd, flags } })
}

fn settle_clock(ctx: &mut WasiCtx, id: u32, timeout: u64, absolute: bool) -> Result<State, Errno> {
    if ctx.clock_grant(id).is_none() {
        // Remembers the denial.
        return ctx.clock(id).and(Err(Errno::NOTCAPABLE));
    }
    // A guest that waits spends none of the processor time that these clocks count.
    if matches!(id, 2 | 3) {
        return Ok(State::Settled(Errno::NOTSUP));
    }
    match clock::now(id) {
        Ok(now) => Ok(State::Due { clock: id, at: if absolute { timeout } else { now.saturating_add(timeout) } }),
        Err(errno) => Ok(State::Settled(errno)),
    }
}

/// Waits until at least one subscription has an event; returns the events of all that have.
fn wait(ctx: &WasiCtx, call: &HostCall<'_>, waiting: &[Waiting]) -> Result<Vec<[u8; EVENT_LEN]>, Fail> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut timeout = Duration::ZERO;
    loop {
        let mut host = Vec::new();
        for one in waiting {
            if let State::Host { fd, flags } = one.state {
                let fd = host_fd(&ctx.fds, streams, fd)?;
                host.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        poll_slice(&mut host, timeout)?;
        let events = collect(waiting, &host)?;
        if !events.is_empty() {
            return Ok(events);
        }
        check_interrupt(call)?;
        let granted =
            |one: &Waiting| !matches!(one.state, State::Due { clock, .. } if ctx.clock_grant(clock).is_none());
        if !waiting.iter().all(granted) {
            return Err(Errno::NOTCAPABLE.into());
        }
        timeout = until_next(waiting)?;
    }
}

/// The host's descriptor behind a guest's, re-reading the grant.
fn host_fd<'a>(fds: &'a FdTable, streams: [BorrowedFd<'a>; 3], fd: u32) -> Result<BorrowedFd<'a>, Errno> {
    match &fds.peek(fd)?.object {
        Object::Stream(Stream::In) => Ok(streams[0]),
        Object::Stream(Stream::Out) => Ok(streams[1]),
        Object::Stream(Stream::Err) => Ok(streams[2]),
        Object::File(file) => Ok(file.fd.as_fd()),
        Object::Socket(socket) => Ok(socket.fd.as_fd()),
        Object::Dir(_) => Err(Errno::BADF),
    }
}

fn collect(waiting: &[Waiting], host: &[PollFd<'_>]) -> Result<Vec<[u8; EVENT_LEN]>, Errno> {
    let mut events = Vec::new();
    let mut polled = host.iter();
    for one in waiting {
        match one.state {
            State::Settled(errno) => events.push(event(&one.subscription, errno, 0, false)),
            State::Due { clock, at } if clock::now(clock)? >= at => {
                events.push(event(&one.subscription, Errno::SUCCESS, 0, false));
            }
            State::Due { .. } => {}
            State::Host { .. } => {
                let fd = polled.next().expect("one polled descriptor per waiting one");
                events.extend(host_event(&one.subscription, fd));
            }
        }
    }
    Ok(events)
}

fn host_event(subscription: &Subscription, fd: &PollFd<'_>) -> Option<[u8; EVENT_LEN]> {
    let state = fd.revents();
    if state.is_empty() {
        return None;
    }
    let errno = if state.contains(PollFlags::NVAL) { Errno::BADF } else { Errno::SUCCESS };
    let hangup = state.intersects(PollFlags::HUP | PollFlags::ERR);
    let ready = match subscription.what {
        Subscribed::Readable { .. } => rustix::io::ioctl_fionread(fd.as_fd()).unwrap_or(0),
        _ => 0,
    };
    Some(event(subscription, errno, ready, hangup))
}

/// How long to wait before looking again.
fn until_next(waiting: &[Waiting]) -> Result<Duration, Errno> {
    let mut shortest = SLICE;
    for one in waiting {
        if let State::Due { clock, at } = one.state {
            shortest = shortest.min(Duration::from_nanos(at.saturating_sub(clock::now(clock)?)));
        }
    }
    Ok(shortest)
}
