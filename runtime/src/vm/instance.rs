//! Stand-in: what the engine knows of an instance.
use aura_host_abi::vm::{VmCtx, VmCtxLayout, VmFuncRef};

#[derive(Debug)]
pub(crate) struct InstanceData {
    pub(crate) module: crate::module::Module,
    pub(crate) layout: VmCtxLayout,
    pub(crate) func_refs: Vec<VmFuncRef>,
    pub(crate) dropped_data: Vec<bool>,
    pub(crate) elements: Vec<Option<Box<[u64]>>>,
}

impl InstanceData {
    pub(crate) fn from_vmctx(vmctx: *mut VmCtx) -> *mut Self {
        // SAFETY: stand-in.
        unsafe { (*vmctx).host.cast() }
    }

    pub(crate) fn func_ref(&self, func: u32) -> *const VmFuncRef {
        &raw const self.func_refs[func as usize]
    }
}
