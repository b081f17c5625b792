//! Stand-in: what a store owns.
use aura_host_abi::vm::VmStore;

#[derive(Debug)]
pub(crate) struct StoreData {
    pub(crate) consume_fuel: bool,
    pub(crate) interp: crate::interp::InterpState,
    pub(crate) memory_limit: u64,
    pub(crate) table_limit: u64,
    pub(crate) trap: Option<aura_host_abi::TrapCode>,
    pub(crate) frames: Vec<(u32, u32)>,
}

impl StoreData {
    pub(crate) fn from_vm(store: *mut VmStore) -> *mut Self {
        // SAFETY: stand-in.
        unsafe { (*(*store).host.get()).cast() }
    }

    pub(crate) fn allow_memory_growth(&mut self, _old_bytes: u64, new_bytes: u64) -> bool {
        new_bytes <= self.memory_limit
    }

    pub(crate) fn allow_table_growth(&mut self, _old: u64, new: u64) -> bool {
        new <= self.table_limit
    }
}
