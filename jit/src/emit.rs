//! `Emit`: the pieces of CLIF that bodies and stubs are made of.
//!
//! Fields of the instance, calls of services, traps. Invariant: a check that fails leaves through a
//! cold block of its own, so that the program counter names the operator; the block calls a service
//! that never returns.
//!
//! Loads from engine structures: [`constant`] ones never change while a function runs and may move
//! anywhere; [`plain`] ones stay where they are and are repeated after whatever may change them;
//! words that other threads change are atomic.

use std::mem::offset_of;

use aura_host_abi::TrapCode;
use aura_host_abi::services::{FAILED, Service, ServiceClass};
use aura_host_abi::vm::{VmCtx, VmStore};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AliasRegion, AliasRegionData, Block, Endianness, Function, InstBuilder, MemFlagsData, SigRef, Signature,
    Type, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder, FunctionBuilderContext};

use crate::rows::RowCx;
use crate::signature;

/// The trap behind calls that never return. Reaching it is a fault of the engine; no table lists it.
pub(crate) const NEVER: ir::TrapCode = ir::TrapCode::unwrap_user(200);

/// Flags of a load of what does not change while the function runs.
pub(crate) const fn constant() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly().with_can_move()
}

/// Flags of an access to an engine structure (a global and a table's element are that too) at a place that matters.
pub(crate) fn plain() -> MemFlagsData {
    MemFlagsData::trusted().with_alias_region(Some(AliasRegion::from_u32(0)))
}

/// Flags of an access to a guest's memory: little-endian, at any alignment, and a fault is a trap.
pub(crate) fn guest() -> MemFlagsData {
    MemFlagsData::new()
        .with_endianness(Endianness::Little)
        .with_trap_code(Some(clif_trap(TrapCode::MemoryOutOfBounds)))
        .with_alias_region(Some(AliasRegion::from_u32(1)))
}

/// What is never the same memory, in the order of the regions' numbers: what the engine keeps, all guest memories, objects
/// of the heap, references in frames that stack maps name.
const REGIONS: [&str; 4] = ["engine", "guest", "objects", "references"];

/// An offset inside an engine structure.
pub(crate) fn offset(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("engine structures are small")
}

/// A trap code as Cranelift carries it.
pub(crate) fn clif_trap(code: TrapCode) -> ir::TrapCode {
    ir::TrapCode::unwrap_user(code as u8)
}

/// A function under construction.
pub(crate) struct Emit<'a> {
    pub(crate) builder: FunctionBuilder<'a>,
    pub(crate) vmctx: Value,
    native: CallConv,
    /// Rows make the NaNs they produce canonical.
    pub(crate) canonical_nans: bool,
    /// What is emitted now is out of line.
    is_cold: bool,
    /// Signatures of services by number of parameters.
    service_sigs: [Option<SigRef>; 8],
}

impl<'a> Emit<'a> {
    /// Starts an empty function of this signature, whose first parameter is the instance. Returns
    /// the parameters too.
    pub(crate) fn start(
        function: &'a mut Function,
        context: &'a mut FunctionBuilderContext,
        isa: &dyn TargetIsa,
        sig: Signature,
    ) -> (Self, Vec<Value>) {
        function.signature = sig;
        for (user_id, name) in (0..).zip(REGIONS) {
            function.dfg.alias_regions.insert(AliasRegionData { user_id, description: name.into() });
        }
        let mut builder = FunctionBuilder::new(function, context);
        builder.make_stack_map_alias_region(Box::new(|_, _, _, _| Some(AliasRegion::from_u32(3))));
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let params = builder.block_params(entry).to_vec();
        let native = isa.default_call_conv();
        let (canonical_nans, is_cold, service_sigs) = (false, false, [None; 8]);
        (Self { builder, vmctx: params[0], canonical_nans, native, is_cold, service_sigs }, params)
    }

    pub(crate) fn ins(&mut self) -> FuncInstBuilder<'_, 'a> {
        self.builder.ins()
    }

    pub(crate) fn iconst64(&mut self, value: u64) -> Value {
        self.ins().iconst(types::I64, value.cast_signed())
    }

    /// `base + bytes`.
    pub(crate) fn field_address(&mut self, base: Value, bytes: usize) -> Value {
        if bytes == 0 {
            return base;
        }
        let bytes = self.iconst64(bytes as u64);
        self.ins().iadd(base, bytes)
    }

    /// Loads a word that other threads may change.
    pub(crate) fn load_atomic(&mut self, base: Value, bytes: usize) -> Value {
        let address = self.field_address(base, bytes);
        self.ins().atomic_load(types::I64, plain(), address)
    }

    /// Loads a pointer or a number from an instance, at an offset of its layout, that never changes.
    pub(crate) fn load_constant(&mut self, base: Value, at: i32) -> Value {
        self.ins().load(types::I64, constant(), base, at)
    }

    /// The store of the instance.
    pub(crate) fn store(&mut self) -> Value {
        self.load_constant(self.vmctx, offset(offset_of!(VmCtx, store)))
    }

    /// Calls a service and returns its result.
    pub(crate) fn call_service(&mut self, service: Service, args: &[Value]) -> Value {
        debug_assert_eq!(args.len(), service.params, "arguments of {}", service.name);
        let sig = self.service_sig(service.params);
        // Not `constant`: the addresses are to be loaded here, mostly in a cold block, and to hold no register elsewhere.
        let at = |emit: &mut Self, base, bytes| emit.ins().load(types::I64, plain(), base, offset(bytes));
        let store = at(self, self.vmctx, offset_of!(VmCtx, store));
        let services = at(self, store, offset_of!(VmStore, services));
        let callee = at(self, services, service.offset);
        let mut all = vec![self.vmctx];
        all.extend_from_slice(args);
        let call = self.ins().call_indirect(sig, callee, &all);
        self.builder.inst_results(call)[0]
    }

    /// Calls a service that may fail, and leaves if it did.
    pub(crate) fn call_status(&mut self, service: Service, args: &[Value]) {
        debug_assert_eq!(service.class, ServiceClass::Status, "{} returns a status", service.name);
        let status = self.call_service(service, args);
        self.propagate_if(status);
    }

    /// Calls a service that makes an object, and leaves if it failed.
    pub(crate) fn call_object(&mut self, service: Service, args: &[Value]) -> Value {
        debug_assert_eq!(service.class, ServiceClass::Object, "{} makes an object", service.name);
        let object = self.call_service(service, args);
        let object = self.ins().ireduce(types::I32, object);
        let zero = self.ins().iconst(types::I32, 0);
        let failed = self.ins().icmp(IntCC::Equal, object, zero);
        self.cold_if(failed, Self::propagate);
        self.builder.declare_value_needs_stack_map(object);
        object
    }

    /// Calls a service that may fail instead of giving a result, and leaves if it did.
    pub(crate) fn call_result(&mut self, service: Service, args: &[Value]) -> Value {
        debug_assert_eq!(service.class, ServiceClass::Result, "{} returns a result or fails", service.name);
        let result = self.call_service(service, args);
        let failed = self.iconst64(FAILED);
        let failed = self.ins().icmp(IntCC::Equal, result, failed);
        self.propagate_if(failed);
        result
    }

    /// Leaves with the recorded trap if `status` is not zero.
    pub(crate) fn propagate_if(&mut self, status: Value) {
        self.cold_if(status, Self::propagate);
    }

    /// Leaves with the recorded trap. The current block is over.
    pub(crate) fn propagate(&mut self) {
        self.call_never(Service::propagate, &[]);
    }

    /// Leaves with this trap if `condition` is not zero.
    pub(crate) fn trap_if(&mut self, condition: Value, code: TrapCode) {
        self.cold_if(condition, |emit| emit.raise(code));
    }

    /// Leaves with this trap. The current block is over.
    pub(crate) fn raise(&mut self, code: TrapCode) {
        let code = self.iconst64(u64::from(code as u8));
        self.call_never(Service::raise, &[code]);
    }

    pub(crate) fn call_never(&mut self, service: Service, args: &[Value]) {
        debug_assert_eq!(service.class, ServiceClass::Never, "{} never returns", service.name);
        self.call_service(service, args);
        self.ins().trap(NEVER);
    }

    /// Runs `cold`, which must not return, out of line if `condition` is not zero.
    pub(crate) fn cold_if(&mut self, condition: Value, cold: impl FnOnce(&mut Self)) {
        self.branch_cold(condition, |emit, _| cold(emit));
    }

    /// Ends the block with a branch; `cold` fills its one way, and the other becomes the current block.
    fn branch_cold(&mut self, condition: Value, cold: impl FnOnce(&mut Self, Block)) {
        let (side, next) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(side);
        if self.is_cold {
            self.builder.set_cold_block(next);
        }
        self.ins().brif(condition, side, &[], next, &[]);
        self.begin(side);
        let was_cold = std::mem::replace(&mut self.is_cold, true);
        cold(self, next);
        self.is_cold = was_cold;
        self.begin(next);
    }

    /// Says whether what is emitted from now on is out of line; what it was before.
    pub(crate) fn set_cold(&mut self, is_cold: bool) -> bool {
        std::mem::replace(&mut self.is_cold, is_cold)
    }

    /// Makes a block current whose predecessors are all there.
    pub(crate) fn begin(&mut self, block: Block) {
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
    }

    /// The check at loop headers: a read of the store's page, which faults once somebody wants the store to stop. What is
    /// read is not used; the read is atomic and may trap, so that no optimisation removes or moves it.
    pub(crate) fn check_interrupt(&mut self) {
        let store = self.store();
        let page = self.load_constant(store, offset(offset_of!(VmStore, poll)));
        let flags = plain().with_trap_code(Some(clif_trap(TrapCode::Interrupted)));
        self.ins().atomic_load(types::I64, flags, page);
    }

    /// The check at function entries: the stack is used up, or somebody wants the store to stop. Which of
    /// them it is says the limit, to who records the trap.
    pub(crate) fn check_stack(&mut self) {
        let store = self.store();
        let limit = self.load_atomic(store, offset_of!(VmStore, stack_limit));
        let sp = self.ins().get_stack_pointer(types::I64);
        let failed = self.ins().icmp(IntCC::UnsignedLessThan, sp, limit);
        // A call that returned would make a loop keep its references to objects in the frame.
        self.trap_if(failed, TrapCode::Interrupted);
    }

    /// Charges fuel.
    pub(crate) fn charge(&mut self, cost: u32) {
        let store = self.store();
        let at = offset(offset_of!(VmStore, fuel));
        let fuel = self.ins().load(types::I64, plain(), store, at);
        let cost = self.iconst64(u64::from(cost));
        let left = self.ins().isub(fuel, cost);
        self.ins().store(plain(), left, store, at);
        let zero = self.iconst64(0);
        let exhausted = self.ins().icmp(IntCC::SignedLessThan, left, zero);
        self.trap_if(exhausted, TrapCode::OutOfFuel);
    }

    /// Takes the cost of a frame from what the store's frames may still cost; returns what that was before.
    pub(crate) fn take_depth(&mut self, cost: u32) -> Value {
        let store = self.store();
        let at = offset(offset_of!(VmStore, depth_left));
        let before = self.ins().load(types::I64, plain(), store, at);
        let cost = self.iconst64(u64::from(cost));
        let left = self.ins().isub(before, cost);
        self.ins().store(plain(), left, store, at);
        let zero = self.iconst64(0);
        let exhausted = self.ins().icmp(IntCC::SignedLessThan, left, zero);
        self.trap_if(exhausted, TrapCode::StackOverflow);
        before
    }

    /// Puts back what the store's frames could still cost before the current one.
    pub(crate) fn restore_depth(&mut self, before: Value) {
        let store = self.store();
        self.ins().store(plain(), before, store, offset(offset_of!(VmStore, depth_left)));
    }

    /// Zero of a CLIF type.
    pub(crate) fn zero(&mut self, ty: Type) -> Value {
        match ty {
            types::F32 => self.ins().f32const(0.0),
            types::F64 => self.ins().f64const(0.0),
            types::I8X16 => self.v128([0; 16]),
            _ => self.ins().iconst(ty, 0),
        }
    }

    /// A vector constant.
    pub(crate) fn v128(&mut self, bytes: [u8; 16]) -> Value {
        let constant = self.builder.func.dfg.constants.insert(bytes.to_vec().into());
        self.ins().vconst(types::I8X16, constant)
    }

    fn service_sig(&mut self, params: usize) -> SigRef {
        if let Some(sig) = self.service_sigs[params] {
            return sig;
        }
        let sig = self.builder.import_signature(signature::service(self.native, params));
        self.service_sigs[params] = Some(sig);
        sig
    }

    pub(crate) fn native(&self) -> CallConv {
        self.native
    }
}

impl<'a> RowCx<'a> for Emit<'a> {
    fn ins(&mut self) -> FuncInstBuilder<'_, 'a> {
        self.builder.ins()
    }

    fn trap_if(&mut self, condition: Value, code: TrapCode) {
        Emit::trap_if(self, condition, code);
    }

    fn canonical_nans(&self) -> bool {
        self.canonical_nans
    }
}
