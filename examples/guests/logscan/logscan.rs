//! A skill over the interface of `guest/`: a log as one input (`scan`), or as a stream of any length (`aura_stream`).

#![no_std]

mod scan;

use aura_guest::{NO_ROOM, Step};
use scan::Scan;

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

aura_guest::skill!(scan, |input, output| {
    let mut scan = Scan::NEW;
    scan.take(input, true);
    scan.report(output).ok_or(NO_ROOM)
});

struct Stream {
    scan: Scan,
    reported: bool,
}

/// A skill runs on one thread and is called by one at a time.
static mut STREAM: Stream = Stream { scan: Scan::NEW, reported: false };

aura_guest::stream!(|input, last, output| {
    // SAFETY: nobody else has a reference to it; see above.
    let stream = unsafe { &mut *(&raw mut STREAM) };
    let consumed = stream.scan.take(input, last);
    if !last || stream.reported {
        return Ok(Step { consumed, produced: 0 });
    }
    stream.reported = true;
    Ok(Step { consumed, produced: stream.scan.report(output).ok_or(NO_ROOM)? })
});
