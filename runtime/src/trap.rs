//! Stand-in: recording traps.
use aura_host_abi::TrapCode;

use crate::store::StoreData;

pub(crate) fn record(store: &mut StoreData, code: TrapCode) {
    store.trap = Some(code);
    store.frames = store.interp.frames_for_backtrace(0).map(|f| (f.func_index, f.module_offset)).collect();
}
