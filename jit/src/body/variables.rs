//! Variables: which SSA variable stands for a (slot, class).
//!
//! Invariant: a class in a slot has at most one variable, declared at its first use. A slot that
//! holds another class later gets another variable: `Code` never reads a class that was not the
//! last one written. References to objects are variables that stack maps name: calls may move objects.

use aura_host_abi::SlotType;
use aura_validator::code::{FrameLayout, Slot};
use cranelift_frontend::{FunctionBuilder, Variable};

use crate::signature::clif_type;

const CLASSES: usize = SlotType::Ref as usize + 1;

/// The classes of value slots, each at its own number.
const VALUE_CLASSES: [SlotType; CLASSES - 1] =
    [SlotType::I32, SlotType::I64, SlotType::F32, SlotType::F64, SlotType::V128, SlotType::Func];

/// The variables of a body.
#[derive(Default)]
pub(super) struct Variables {
    /// By value slot and class.
    values: Vec<[Option<Variable>; CLASSES]>,
    /// By reference slot, from -1 downwards.
    refs: Vec<Option<Variable>>,
}

impl Variables {
    /// The variables that were declared, with the places they stand for.
    pub(super) fn declared(&self) -> impl Iterator<Item = (SlotType, Slot, Variable)> + '_ {
        let values = (0..).zip(&self.values).flat_map(|(slot, classes)| {
            let known = VALUE_CLASSES.into_iter().zip(classes);
            known.filter_map(move |(ty, variable)| Some((ty, Slot(slot), (*variable)?)))
        });
        let refs = (0..).zip(&self.refs).filter_map(|(n, variable)| Some((SlotType::Ref, Slot(-1 - n), (*variable)?)));
        values.chain(refs)
    }

    pub(super) fn new(frame: &FrameLayout) -> Self {
        Self { values: vec![[None; CLASSES]; frame.value_slots as usize], refs: vec![None; frame.ref_slots as usize] }
    }

    /// The variable of a class in a slot.
    pub(super) fn of(&mut self, ty: SlotType, slot: Slot, builder: &mut FunctionBuilder<'_>) -> Variable {
        let cell = match usize::try_from(slot.0) {
            Ok(slot) => &mut self.values[slot][ty as usize],
            Err(_) => {
                assert_eq!(ty, SlotType::Ref, "class of a reference slot");
                &mut self.refs[(-1 - slot.0) as usize]
            }
        };
        *cell.get_or_insert_with(|| {
            let variable = builder.declare_var(clif_type(ty));
            if ty == SlotType::Ref {
                builder.declare_var_needs_stack_map(variable);
            }
            variable
        })
    }
}
