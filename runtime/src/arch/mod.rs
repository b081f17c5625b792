//! What differs between processors: entry, exit and signal context. One small file each.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod careful;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod x86_64;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use x86_64::*;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "aura-runtime runs on Linux on x86-64; for another system, write its entry, exit and signal context beside \
     runtime/src/arch/x86_64.rs"
);
