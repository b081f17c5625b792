//! What one guest may take from the host through WASI.
//!
//! Invariant: every length a guest passes meets one of these limits, or is served in pieces of a
//! fixed size, before anything is allocated for it.

/// Limits of one [`crate::WasiCtx`].
///
/// With the defaults, one call takes at most 512 KiB of the host's memory while it runs. What stays after any
/// number of calls is at most 1 MiB: descriptors and the list of denials. Captured output comes on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasiLimits {
    /// Descriptors open at a time, granted directories and streams included.
    pub handles_max: usize,
    /// Bytes one read or write moves; a guest that asks for more gets a short count.
    pub call_bytes_max: u64,
    /// Pieces one vectored read or write names.
    pub iovecs_max: u32,
    /// Subscriptions of one `poll_oneoff`.
    pub subscriptions_max: u32,
    /// Bytes of all arguments, and of all environment variables, terminators included.
    pub strings_bytes_max: usize,
    /// Bytes written to standard output and standard error together; a write past it answers NOSPC.
    pub output_bytes_max: u64,
    /// Bytes that all captured output holds together; see [`crate::Output::Capture`].
    pub capture_bytes_max: usize,
}

impl Default for WasiLimits {
    fn default() -> Self {
        Self {
            handles_max: 1024,
            call_bytes_max: 1 << 20,
            iovecs_max: 1024,
            subscriptions_max: 1024,
            strings_bytes_max: 1 << 20,
            output_bytes_max: u64::MAX,
            capture_bytes_max: 64 << 20,
        }
    }
}

/// Longest path a guest may pass, in bytes.
pub(crate) const PATH_LEN_MAX: u32 = 4096;
/// Size of the pieces in which guest memory is filled and drained.
pub(crate) const PIECE_LEN: usize = 64 << 10;
/// How many distinct denials a context remembers.
pub(crate) const DENIALS_MAX: usize = 64;
/// Longest description of a denial, in characters.
pub(crate) const DENIAL_LEN_MAX: usize = 300;
