//! Stand-in root.
#![allow(dead_code, reason = "parts that meet in the engine")]

mod interp;
mod module;
mod services;
mod store;
#[cfg(test)]
mod testing;
mod tier;
mod trap;
mod vm;

pub use config::Bounds;

mod config {
    //! Stand-in.
    /// How accesses are checked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Bounds {
        Guard,
        Explicit,
    }
}
