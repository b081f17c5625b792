//! Traps: the reason, and where guest code stood.
//!
//! A trap is recorded in the store at the moment it happens, while the frames still stand
//! ([`record_raised`] for compiled code, [`record`] for everything else); it is taken out where the
//! outermost call returns to the host.
//!
//! # Safety
//! Trusts: the thunks pass the store of the running instance, and nothing of it is borrowed while guest code runs.

use std::fmt;
use std::sync::Arc;

use aura_host_abi::TrapCode;
use aura_host_abi::vm::VmStore;

use crate::backtrace;
use crate::store::StoreData;

/// Why and where guest code was stopped.
#[derive(Clone, Debug)]
pub struct Trap {
    code: TrapCode,
    frames: Vec<Frame>,
    truncated: bool,
    fault_address: Option<u64>,
    loan: Option<Arc<str>>,
}

/// One guest function on the stack when it stopped, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The module's name, if its name section has one.
    pub module: Option<String>,
    /// Index in the module's function space.
    pub func_index: u32,
    /// The function's name from the name section, demangled.
    pub func_name: Option<String>,
    /// Offset of the operator in the module's bytes.
    pub module_offset: Option<u32>,
    /// Whether compiled code ran.
    pub compiled: bool,
}

impl Trap {
    /// A trap without a place.
    #[must_use]
    pub fn new(code: TrapCode) -> Self {
        Self { code, frames: Vec::new(), truncated: false, fault_address: None, loan: None }
    }

    /// The reason.
    #[must_use]
    pub fn code(&self) -> TrapCode {
        self.code
    }

    /// The guest functions on the stack, innermost first; at most [`backtrace::FRAMES_MAX`].
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// For a memory access that the guard caught or a loan does not allow, the address in the linear memory.
    #[must_use]
    pub fn fault_address(&self) -> Option<u64> {
        self.fault_address
    }

    /// The name of the loan that did not allow an access.
    #[must_use]
    pub fn loan(&self) -> Option<&str> {
        self.loan.as_deref()
    }

    pub(crate) fn fmt_frames(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.frames.is_empty() {
            return Ok(());
        }
        write!(f, "\nwasm backtrace, innermost first:")?;
        for (depth, frame) in self.frames.iter().enumerate() {
            write!(f, "\n  {depth:>3}: {frame}")?;
        }
        if self.truncated {
            write!(f, "\n  ...: more frames")?;
        }
        Ok(())
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.module_offset {
            write!(f, "{offset:#8x} ")?;
        }
        if let Some(module) = &self.module {
            write!(f, "{module}!")?;
        }
        match &self.func_name {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "<wasm function {}>", self.func_index)?,
        }
        f.write_str(if self.compiled { " (compiled)" } else { " (interpreted)" })
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trap: {}", self.code)?;
        if let Some(address) = self.fault_address {
            write!(f, " at address {address:#x}")?;
        }
        if let Some(loan) = &self.loan {
            write!(f, " of `{loan}`")?;
        }
        self.fmt_frames(f)
    }
}

/// What is kept of a trap between the place where it happened and the host's call that ends by it.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    frames: Vec<Frame>,
    truncated: bool,
    fault_address: Option<u64>,
    loan: Option<Arc<str>>,
    /// The host function's error, for [`TrapCode::HostError`].
    pub(crate) error: Option<crate::Error>,
}

impl Pending {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.error.is_none() && self.fault_address.is_none()
    }
}

/// Records a trap of compiled code; called by the thunks of `arch` while the frames still stand.
pub(crate) extern "C" fn record_raised(store: *mut VmStore, code: u32) {
    let code = TrapCode::from_u8(code as u8).expect("compiled code raises codes of the table");
    // SAFETY: the thunks pass the store of the running instance, whose `host` is its live `StoreData`.
    let data = unsafe { &mut *StoreData::from_vm(store) };
    // A stack check that fails raises an interrupt; if nobody asked for one, the stack is used up.
    let is_overflow = code == TrapCode::Interrupted && data.shared.stack_limit() != usize::MAX;
    record(data, if is_overflow { TrapCode::StackOverflow } else { code });
}

/// Records a trap where it happens, with the guest's stack.
pub(crate) fn record(store: &mut StoreData, code: TrapCode) {
    let (frames, truncated) = backtrace::capture(store);
    let failed = match code {
        // Compiled code: the handler noted the address, and the instruction's own code is that of every access.
        TrapCode::MemoryOutOfBounds => store.explain_fault(),
        TrapCode::WriteToReadOnlyLoan | TrapCode::NothingLent | TrapCode::LoanTruncated => store.take_lent_failure(),
        _ => None,
    };
    let fault = store.take_fault_address();
    store.pending.frames = frames;
    store.pending.truncated = truncated;
    store.pending.fault_address = failed.as_ref().map_or(fault, |failed| Some(failed.address));
    store.set_trap_code(failed.as_ref().map_or(code, |failed| failed.code));
    store.pending.loan = failed.and_then(|failed| failed.loan);
}

/// Takes the recorded trap out of the store as the error the host sees.
pub(crate) fn take(store: &mut StoreData) -> crate::Error {
    let code = store.take_trap_code().expect("a call that ended by a trap recorded its code");
    let pending = std::mem::take(&mut store.pending);
    let Pending { frames, truncated, fault_address, loan, error } = pending;
    let trap = Trap { code, frames, truncated, fault_address, loan };
    match error {
        Some(error) if error.trap().is_none() => error.with_trap(trap),
        Some(error) => error,
        None => trap.into(),
    }
}
