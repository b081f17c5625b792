//! Rows: numeric, lane and memory operators, expanded from the operator table.

use aura_validator::code::Inst;

use super::Body;

impl Body<'_> {
    pub(super) fn row(&mut self, inst: &Inst) {
        let _ = inst;
    }

    pub(super) fn access(&mut self, inst: &Inst) {
        let _ = inst;
    }
}
