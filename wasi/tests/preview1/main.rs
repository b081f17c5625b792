//! WASI preview 1 through its table of functions, as a runtime would call it.

mod blind;
mod files;
mod guest;
mod hostile;
mod links;
mod matrix;
mod narrow;
mod net;
mod program;
mod properties;
mod readonly;
mod revoke;
mod sockets;
mod table;
mod traversal;
mod unstable;
mod waits;
