//! Windows and loans: how a host hands data to a guest without copying it.
//!
//! A [`Window`] is a part of a guest's memory that the host added for sharing; a [`Loan`] is a [`SharedBuffer`] that
//! lies in it. Handing over what lies in a window is a pointer and a length. A loan is made on the authority of a
//! grant of `map.read` or `map.write`, is counted and audited as a use of it, and ends with it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aura_host_abi::vm::VmMemory;
use aura_host_abi::{Action, Capability, GrantSpec, GuestPtr, GuestSlice, GuestType, Withdraw};

use crate::audit::{AuditEvent, AuditOutcome};
use crate::buffer::{Access, SharedBuffer};
use crate::error::{Error, Result};
use crate::externs::Memory;
use crate::grant::Grant;
use crate::store::{AsContextMut, StoreContext, StoreData, StoreId};
use crate::vm::lending::{Lending, Offer, page_size};

/// A range of a memory for sharing. It lies inside the memory's size; whatever is not lent there is not there: an
/// access is a trap. Guests do not allocate in it, as the host added it.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    memory: Memory,
    start: u64,
    len: u64,
}

/// A buffer that is lent to a guest. Dropping it ends the loan.
pub struct Loan {
    held: Arc<Held>,
    address: u64,
    len: u64,
}

/// What a grant withdraws when it ends.
#[derive(Debug)]
struct Held {
    lending: Arc<Lending>,
    id: u64,
}

impl Withdraw for Held {
    fn withdraw(&self) {
        self.lending.end(self.id);
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loan({} bytes at {:#x})", self.len, self.address)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.held.withdraw();
    }
}

impl Loan {
    /// Where its first byte is in the guest's memory.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes are lent.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "nothing is not lent")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Address and length, as a guest with 32-bit addresses takes them.
    ///
    /// # Panics
    /// If the memory has 64-bit addresses and the loan lies beyond 4 GiB.
    #[must_use]
    pub fn as_args(&self) -> (u32, u32) {
        let fits = |number: u64| u32::try_from(number).expect("a 32-bit memory has 32-bit addresses");
        (fits(self.address), fits(self.len))
    }

    /// Ends the loan, from any thread: when this returns, no access to it succeeds any more. A guest that runs
    /// traps at its next one.
    pub fn revoke(&self) {
        self.held.withdraw();
    }

    /// Whether it has not ended: by [`Loan::revoke`], with its grant, or with the memory.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.held.lending.is_live(self.held.id)
    }
}

impl Window {
    pub(crate) fn new(memory: Memory, start: u64, len: u64) -> Self {
        Self { memory, start, len }
    }

    /// The memory that it is a part of.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where it begins in the memory.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// How many bytes it has, a multiple of 64 KiB.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no window is empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes of a window a loan of so many bytes takes, wherever in a page they begin.
    #[must_use]
    pub fn room_for(bytes: u64) -> u64 {
        (bytes.saturating_add(page_size() - 1)).checked_next_multiple_of(page_size()).unwrap_or(u64::MAX)
    }

    /// Lends a part of a buffer to the guest, `at` bytes behind the window's start, which is to be the first of
    /// a page of the host. The guest sees the buffer's own bytes, whoever changes them, but for pages that hold
    /// anything else beside the part: those are copies made now.
    ///
    /// `grant` is one of `map.read` or, for [`Access::Write`], of `map.write`; its resource is the loan's name.
    ///
    /// # Errors
    /// If the grant does not stand, is spent or does not allow it; the range is not free, or not inside the window;
    /// pages are to be written that are not whole; the system refuses.
    pub fn lend(
        &self,
        mut store: impl AsContextMut,
        grant: &Grant,
        at: u64,
        buffer: &SharedBuffer,
        bytes: Range<u64>,
        access: Access,
    ) -> Result<Loan> {
        let data = &mut store.as_context_mut().0.data;
        let lending = self.memory.lending(data)?;
        let len = bytes.end.saturating_sub(bytes.start);
        let lent = self.lend_in(&lending, grant.capability(), at, buffer, bytes, access);
        data.account_loan(grant.capability(), &lent, len)?;
        let (held, address) = lent?;
        Ok(Loan { held, address, len })
    }

    fn lend_in(
        &self,
        lending: &Arc<Lending>,
        capability: &Arc<Capability>,
        at: u64,
        buffer: &SharedBuffer,
        bytes: Range<u64>,
        access: Access,
    ) -> Result<(Arc<Held>, u64)> {
        let spec = capability.spec();
        let refused = |why: &str| Error::usage(format!("cannot lend by the grant `{spec}`: {why}"));
        match (spec.action, access) {
            (Action::MapWrite, _) | (Action::MapRead, Access::Read | Access::Private) => {}
            (Action::MapRead, Access::Write) => return Err(refused("writing needs map.write")),
            _ => return Err(refused("it is not of map.read or map.write")),
        }
        if !buffer.allows(access) {
            return Err(refused("the buffer is for reading only"));
        }
        if !capability.is_live() || !capability.charge_call() {
            return Err(refused("it does not stand"));
        }
        let held = Arc::new(Held { lending: lending.clone(), id: lending.next_id() });
        let weak = Arc::downgrade(&held);
        capability.hold(weak);
        let name: Arc<str> = spec.resource.to_string().trim_start_matches('=').into();
        let at = self.start.checked_add(at).ok_or_else(|| refused("the address wraps"))?;
        let address = lending
            .lend(held.id, &Offer { buffer, bytes, access, name: name.clone(), at })
            .map_err(|why| Error::usage(format!("cannot lend `{name}`: {why}")))?;
        if !capability.is_live() {
            held.withdraw();
            return Err(refused("it does not stand"));
        }
        Ok((held, address))
    }
}

/// A buffer that an image lends to every instance.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    capability: Arc<Capability>,
    at: u64,
    buffer: SharedBuffer,
}

impl Standing {
    pub(crate) fn new(spec: GrantSpec, at: u64, buffer: &SharedBuffer) -> Self {
        Self { capability: Arc::new(Capability::new(spec)), at, buffer: buffer.clone() }
    }

    /// The same under a grant of its own.
    pub(crate) fn renewed(&self) -> Self {
        Self::new(self.capability.spec().clone(), self.at, &self.buffer)
    }

    pub(crate) fn revoke(&self) {
        self.capability.revoke();
    }
}

/// The window of a slot, with what stays lent in it.
#[derive(Debug)]
pub(crate) struct SlotWindow {
    memory: *mut VmMemory,
    start: u64,
    len: u64,
    /// `None` where the grant had ended before the slot was made.
    pub(crate) lent: Box<[Option<Loan>]>,
}

impl SlotWindow {
    /// Adds a window to a memory of a new slot and lends in it what an image lends.
    pub(crate) fn add(store: &mut StoreData, memory: *mut VmMemory, bytes: u64, lent: &mut [Standing]) -> Result<Self> {
        let handle = Memory::new_raw(store.id, memory);
        let window = handle.add_window_in(store, bytes)?;
        let lending = handle.lending(store)?;
        let lend = |standing: &mut Standing| {
            let (capability, buffer) = (&standing.capability, &standing.buffer);
            if !capability.is_live() {
                return Ok(None);
            }
            let lent = window.lend_in(&lending, capability, standing.at, buffer, 0..buffer.len(), Access::Read);
            capability.count(lent.is_err(), if lent.is_ok() { buffer.len() } else { 0 });
            lent.map(|(held, address)| Some(Loan { held, address, len: buffer.len() }))
        };
        let lent = lent.iter_mut().map(lend).collect::<Result<_>>()?;
        lending.keep();
        Ok(Self { memory, start: window.start, len: window.len, lent })
    }

    /// The window in the life with this name.
    pub(crate) fn window(&self, store: StoreId) -> Window {
        Window::new(Memory::new_raw(store, self.memory), self.start, self.len)
    }
}

impl StoreData {
    /// Counts a loan as a use of its grant, or as a denial, and tells the audit.
    fn account_loan<T>(&mut self, capability: &Capability, lent: &Result<T>, len: u64) -> Result<()> {
        let bytes = if lent.is_ok() { len } else { 0 };
        capability.count(lent.is_err(), bytes);
        let Some(sink) = &mut self.audit.sink else { return Ok(()) };
        let event = AuditEvent {
            instance: None,
            slot: capability.slot(),
            spec: Some(capability.spec()),
            actions: &[Action::MapRead, Action::MapWrite],
            function: ("aura", "lend"),
            outcome: if lent.is_ok() { AuditOutcome::Allowed } else { AuditOutcome::Denied },
            bytes,
        };
        sink.record(&event).map_err(|error| Error::host(format!("the audit cannot be kept: {error}")))
    }
}

/// Values in a guest's memory, looked at where they lie while no guest of the store runs. They may lie in a window: what is
/// lent for writing to other guests too may change between two looks.
///
/// While there is a view, no guest of its store can be called:
///
/// ```compile_fail,E0502
/// # use aura_runtime::{Engine, Instance, Module, Store};
/// # let engine = Engine::default();
/// # let module = Module::new(&engine, r#"(module (memory (export "m") 1) (func (export "f")))"#).unwrap();
/// # let mut store = Store::new(&engine, ());
/// # let instance = Instance::new(&mut store, &module, &[]).unwrap();
/// # let memory = instance.get_memory(&store, "m").unwrap();
/// let run = instance.get_typed_func::<(), ()>(&store, "f").unwrap();
/// let view = memory.view::<u32, _>(&store, 0, 4).unwrap();
/// run.call(&mut store, ()).unwrap();
/// view.get(0).unwrap();
/// ```
#[derive(Debug)]
pub struct View<'a, T> {
    memory: aura_host_abi::GuestMemory<'a>,
    values: GuestSlice<T>,
    plain: Option<&'a [u8]>,
}

impl<'a, T: GuestType> View<'a, T> {
    pub(crate) fn new<D: 'static>(
        memory: &Memory,
        store: StoreContext<'a, D>,
        address: u64,
        count: u64,
    ) -> Result<Self> {
        let (view, ordinary) = memory.view_and_bytes(store)?;
        let values = GuestPtr::<T>::new(address).slice(count);
        values.check(&view).map_err(|error| Error::usage(error.to_string()))?;
        let plain = ordinary.get(address as usize..).and_then(|bytes| bytes.get(..(count * T::SIZE) as usize));
        Ok(Self { memory: view, values, plain })
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One value.
    ///
    /// # Errors
    /// If there is none of this index, or it lies where nothing is lent.
    pub fn get(&self, index: u64) -> Result<T> {
        let value = self.values.at(index).and_then(|at| at.read(&self.memory));
        value.map_err(|error| Error::usage(error.to_string()))
    }

    /// All values, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<T>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The bytes where they lie, if nobody else can write them while the store is borrowed: not in a window.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        self.plain
    }
}

impl View<'_, u8> {
    /// Copies all bytes out.
    ///
    /// # Errors
    /// If a part lies where nothing is lent.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let most = usize::try_from(self.len()).unwrap_or(usize::MAX);
        self.values.read_bytes(&self.memory, most).map_err(|error| Error::usage(error.to_string()))
    }
}
