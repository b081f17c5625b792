//! No call makes the host hold more than a stated amount of memory, whatever the guest asks for.
//!
//! HOSTILE 1b, CVE-2026-27204, GHSA-852m, GHSA-x84v, GHSA-gqmc, GHSA-5m8g and GHSA-f8mm. The bounds are those in the
//! documentation of `WasiLimits`. One test, since all allocations of this process are counted.
//!
//! # Safety
//! The allocator passes every request on to the system's as it came. The one other unsafe call makes a view
//! of a vector that is borrowed mutably, and neither moved nor resized, for as long as the view lives.

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aura_host_abi::{Capability, GuestMemory, HostCall, HostFn};
use aura_wasi::{FUNCTIONS, Input, Output, UNSTABLE_FUNCTIONS, WasiCtx};

/// What one call may take while it runs.
const CALL_BYTES_MAX: usize = 512 << 10;
/// What may stay after any number of calls.
const KEPT_BYTES_MAX: usize = 1 << 20;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: each method is the system allocator's, with a count beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that this needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that this needs.
        unsafe { System.dealloc(pointer, layout) };
    }
}

/// Runs something and gives how much more than before it held at a time.
fn peak_of(body: impl FnOnce()) -> usize {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    body();
    PEAK.load(Ordering::Relaxed).saturating_sub(before)
}

struct Guest {
    ctx: WasiCtx,
    memory: Vec<u8>,
}

impl Guest {
    fn new(dir: &std::path::Path) -> Self {
        let mut guest = Self { ctx: WasiCtx::new(), memory: vec![0; 1 << 20] };
        let grant = |text: &str| Arc::new(Capability::new(text.parse().expect(text)));
        for text in ["stdio", "args", "env=A=b", "clock", "random", &format!("fs.write={}::/d", dir.display())] {
            guest.ctx.attach(grant(text)).expect(text);
        }
        guest.ctx.set_stdin(Input::Null);
        guest.ctx.set_stdout(Output::Null);
        guest.ctx.set_stderr(Output::Null);
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        drop(theirs);
        guest.ctx.attach_socket(grant("net.listen=localhost:1"), ours).expect("a socket");
        // A list of pieces, each as large as the memory; a path; subscriptions of any kind.
        for row in guest.memory[..16 << 10].chunks_exact_mut(8) {
            row.copy_from_slice(&[0, 0, 0, 0, 0, 0, 16, 0]);
        }
        guest
    }

    /// Calls; what it is answered is another test's concern.
    fn call(&mut self, function: &HostFn<WasiCtx>, args: &[u64]) {
        let mut slots = args.to_vec();
        slots.resize(args.len().max(1), 0);
        let length = self.memory.len() as u64;
        // SAFETY: `self.memory` outlives the call below and is not touched while the view exists.
        let memory = unsafe { GuestMemory::from_raw(self.memory.as_mut_ptr(), length) };
        let deadline = Some(Instant::now() + Duration::from_millis(2));
        let _ = (function.call)(&mut self.ctx, &mut HostCall::new(memory, &mut slots, deadline, None));
    }
}

fn all() -> impl Iterator<Item = &'static HostFn<WasiCtx>> {
    FUNCTIONS.iter().chain(UNSTABLE_FUNCTIONS).filter(|function| function.name != "fd_allocate")
}

#[test]
fn cve_2026_27204_ghsa_852m_x84v_gqmc_5m8g_f8mm_host_memory_is_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("file"), vec![1; 4 << 20]).expect("file");
    let mut guest = Guest::new(dir.path());
    let start = HELD.load(Ordering::Relaxed);
    each_argument_in_turn(&mut guest);
    the_largest_that_is_served(&mut guest);
    many_small_calls(&mut guest);
    let kept = HELD.load(Ordering::Relaxed).saturating_sub(start);
    assert!(kept <= KEPT_BYTES_MAX, "{kept} bytes stay");
    assert!(guest.ctx.denials().len() <= 64);
}

/// Every length, count, address and descriptor at its extremes, alone and all together.
fn each_argument_in_turn(guest: &mut Guest) {
    for function in all() {
        let count = function.params.len();
        for base in [0, 3, 4, 1024, 4096] {
            for extreme in [u64::from(u32::MAX), u64::from(u32::MAX) / 48, 1 << 20, 1 << 31, u64::MAX] {
                for changed in 0..=count {
                    let mut args = vec![base; count];
                    match args.get_mut(changed) {
                        Some(arg) => *arg = extreme,
                        None => args.fill(extreme),
                    }
                    let peak = peak_of(|| guest.call(function, &args));
                    assert!(peak <= CALL_BYTES_MAX, "{}{args:?} took {peak} bytes", function.name);
                }
            }
        }
    }
}

/// Requests at the limits, which are served.
fn the_largest_that_is_served(guest: &mut Guest) {
    let (socket, file, out, list) = (4, 5, 0xff000, 0);
    guest.memory[0xf0000..0xf0004].copy_from_slice(b"file");
    let open = aura_wasi::find("wasi_snapshot_preview1", "path_open").expect("a row");
    guest.call(open, &[3, 0, 0xf0000, 4, 0, 0x1fff_ffff, 0, 0, out]);
    for (name, args) in [
        ("fd_read", vec![file, list, 1024, out]),
        ("fd_pread", vec![file, list, 1024, 0, out]),
        ("fd_write", vec![1, list, 1024, out]),
        ("fd_pwrite", vec![file, list, 1024, 0, out]),
        ("sock_recv", vec![socket, list, 1024, 0, out, out + 8]),
        ("sock_send", vec![socket, list, 1024, 0, out]),
        ("random_get", vec![0x10000, 0x80000]),
        ("fd_readdir", vec![3, 0x10000, 0x80000, 0, out]),
        ("poll_oneoff", vec![0x40000, 0x80000, 1024, out]),
        ("path_unlink_file", vec![3, 0x20000, 4096]),
        ("path_rename", vec![3, 0x20000, 4096, 3, 0x20000, 4096]),
        ("args_get", vec![0x10000, 0x20000]),
    ] {
        let function = aura_wasi::find("wasi_snapshot_preview1", name).expect(name);
        let peak = peak_of(|| guest.call(function, &args));
        assert!(peak <= CALL_BYTES_MAX, "{name} took {peak} bytes");
    }
}

/// Calls that move nothing, and calls that are denied with ever other words, leave nothing behind.
fn many_small_calls(guest: &mut Guest) {
    for function in all() {
        let args = vec![0; function.params.len()];
        for _ in 0..2_000 {
            guest.call(function, &args);
        }
    }
    for name in ["fd_write", "random_get", "sock_send"] {
        let function = aura_wasi::find("wasi_snapshot_preview1", name).expect(name);
        let args = if name == "random_get" { vec![0, 0] } else { vec![1, 0, 0, 0xff000, 0xff000] };
        for _ in 0..1_000_000 {
            guest.call(function, &args[..function.params.len()]);
        }
    }
    let open = aura_wasi::find("wasi_snapshot_preview1", "path_open").expect("a row");
    for index in 0..500u32 {
        let path: Vec<u8> = b"../".iter().copied().chain([1; 4000]).chain(index.to_string().into_bytes()).collect();
        guest.memory[0x20000..0x20000 + path.len()].copy_from_slice(&path);
        guest.call(open, &[3, 0, 0x20000, path.len() as u64, 0, 2, 0, 0, 0xff000]);
    }
}
