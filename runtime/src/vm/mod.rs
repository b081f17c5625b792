//! What guest code sees in memory, and the records behind it.

pub(crate) mod access;
pub(crate) mod content;
pub(crate) mod instance;
pub(crate) mod lending;
pub(crate) mod memory;
pub(crate) mod object;
pub(crate) mod pages;
pub(crate) mod parking;
pub(crate) mod placed;
pub(crate) mod poll;
pub(crate) mod reservation;
pub(crate) mod reset;
mod slices;
pub(crate) mod table;
