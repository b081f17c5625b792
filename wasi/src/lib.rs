//! WASI preview 1, spoken through capabilities.
//!
//! [`FUNCTIONS`] is the whole interface as a table, [`UNSTABLE_FUNCTIONS`] what came before it: the
//! runtime maps a row in while one of the row's actions is granted and answers its denial otherwise. A [`WasiCtx`] holds what one guest was
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
//! `..` in a listing carries the directory's own inode number. Names that are not UTF-8 are listed as they
//! are, and cannot be opened.
//!
//! Writing to a named pipe that nobody reads raises SIGPIPE before it fails. Rust programs ignore that
//! signal; an embedder whose `main` is not Rust's has to.
//!
//! A guest may make links below a directory that it may change. The text of a symbolic link is kept as
//! it is, unless it is an absolute path, and resolved only by lookups, which do not leave the
//! directory; host programs that walk such a directory must not follow its links.
//!
//! # Sockets
//!
//! The functions of preview 1 open none. A guest uses those that the host passed in ([`WasiCtx::attach_socket`]) or that a grant
//! of `net.listen` made, the connections that it accepts from them, and those that it opens by the two
//! functions of the module `aura_net` ([`NET_FUNCTIONS`]): `connect` and `resolve`, whose interface is
//! described in `wasi/src/net.rs`.
//!
//! # Waiting
//!
//! `fd_read`, `fd_write`, `poll_oneoff` and the calls on sockets wait as long as it takes, and look at the
//! call's deadline, at its interrupt and at the grant every few milliseconds. `fd_sync`, `fd_datasync` and
//! `fd_allocate` are the host's own and end when it is done. What a guest hands over at a time is
//! bounded by [`WasiLimits`], whatever it asks for.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
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
mod net;
mod path;
mod poll;
mod program;
mod socket;
mod stream;
mod table;
mod transfer;
mod types;

pub use ctx::{AttachError, WasiCtx};
pub use denied::DeniedOp;
pub use errno::Errno;
pub use functions::{FUNCTIONS, MODULE, UNSTABLE_FUNCTIONS, UNSTABLE_MODULE, find};
pub use limits::WasiLimits;
pub use net::{NET_FUNCTIONS, NET_MODULE};
pub use stream::{Input, Output};
