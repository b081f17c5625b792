//! Lowering.

/// What lowering adds to the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LowerOptions {
    /// Charge fuel at the head of each basic block.
    pub fuel: bool,
}
