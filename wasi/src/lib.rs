//! WASI preview 1, spoken through capabilities.
//!
//! [`FUNCTIONS`] is the whole interface as a table: the runtime maps a row in while one of the row's
//! actions is granted and answers its denial otherwise. A [`WasiCtx`] holds what one guest was
//! granted; a fresh one holds nothing. Without a grant no clock, random byte, argument, file or
//! stream can be observed: `args_*` and `environ_*` say that there are none, `fd_prestat_get` says
//! BADF so that C programs reach their `main`, and everything else answers NOTCAPABLE.
//!
//! Every use of a grant re-reads its state, on three levels: the runtime when a function is called,
//! [`FUNCTIONS`]' common entry, and the entry of each descriptor for the grant that it came from.
//! None of this crate's checks counts as a use in [`aura_host_abi::Capability::uses`].
//!
//! # Files
//!
//! Paths are resolved by `openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)`, without a fallback.
//! Everything is opened with `O_NONBLOCK`, so that neither opening nor reading a named pipe or a
//! device can hold the host; waiting is done in slices that respect the call's deadline.
//! Only the text of a symbolic link that is an absolute path is withheld, since it names host paths.
//! `..` in a listing carries the directory's own inode number.
//!
//! # Not implemented
//!
//! These answer NOSYS once granted:
//!
//! - `fd_fdstat_set_rights`
//! - `path_link`
//! - `path_symlink`
//! - `proc_raise`
//! - `sock_accept`
//! - `sock_recv`
//! - `sock_send`
//! - `sock_shutdown`

#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("aura-wasi resolves paths with openat2, which only Linux has");

mod beneath;
mod clock;
mod ctx;
mod denied;
mod dir;
mod errno;
mod fd;
mod functions;
mod limits;
mod path;
mod poll;
mod program;
mod stream;
mod table;
mod transfer;
mod types;

pub use ctx::{AttachError, WasiCtx};
pub use denied::DeniedOp;
pub use errno::Errno;
pub use functions::{FUNCTIONS, MODULE, NOT_IMPLEMENTED};
pub use limits::WasiLimits;
pub use stream::{Input, Output};
