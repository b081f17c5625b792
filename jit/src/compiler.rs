//! The compiler: configuration, the target, and the way from `Code` to bytes.
//!
//! Invariant: a [`Compiler`] is immutable but for a pool of buffers, so that any number of threads
//! may compile with it. What it refuses stays interpreted; a panic inside Cranelift is an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use aura_host_abi::FuncType;
use aura_validator::code::Inst;
use aura_validator::{Code, Module};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable, SetError};
use cranelift_frontend::FunctionBuilderContext;

use crate::body::Start;
use crate::budget::Estimate;
use crate::finish::{self, CompiledFunction};
use crate::{body, stubs};

/// The largest frame of a compiled function, in bytes. Its entry check runs after the frame was
/// made, so the engine keeps at least this much stack below the limit, and what services need.
pub const MAX_FRAME: u32 = 32 * 1024;

/// How hard Cranelift tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptLevel {
    /// Compile fast.
    None,
    /// Make fast code.
    #[default]
    Speed,
}

/// How memory accesses are kept inside the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bounds {
    /// By guard pages where the memory has 32-bit indices and ordinary pages; else as [`Bounds::Explicit`].
    #[default]
    Guard,
    /// By a compare and a mask before each access.
    Explicit,
}

/// Which processor the code is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cpu {
    /// The host's, with all it can do.
    #[default]
    Native,
    /// The least the compiler accepts.
    Baseline,
}

/// What code is compiled to. Functions of one module may mix it, except that [`Bounds::Guard`] needs guards around its memories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CompilerConfig {
    pub opt_level: OptLevel,
    pub bounds: Bounds,
    /// Every NaN that an operation produces is the canonical one.
    pub deterministic: bool,
    pub cpu: Cpu,
}

/// Why something was not compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The machine or the configuration is not supported.
    #[error("the compiler does not support this machine: {0}")]
    Unsupported(String),
    /// The function is over the budget; see [`crate::budget`].
    #[error("the function is too large to compile: about {estimate} {what}, the limit is {limit}")]
    TooLarge { what: &'static str, estimate: u64, limit: u64 },
    /// The function's frame would be larger than [`MAX_FRAME`].
    #[error("the function's frame of {bytes} bytes is larger than {MAX_FRAME}")]
    FrameTooLarge { bytes: u32 },
    /// Cranelift refused the function or failed: a fault of the compiler, not of the module.
    #[error("the compiler failed: {0}")]
    Internal(String),
}

/// Compiles functions and stubs for the host. Use it from any thread.
pub struct Compiler {
    isa: OwnedTargetIsa,
    config: CompilerConfig,
    pool: Mutex<Vec<Buffers>>,
}

/// Allocations that compilations reuse.
struct Buffers {
    context: Context,
    builder: FunctionBuilderContext,
}

impl Buffers {
    fn new() -> Self {
        Self { context: Context::new(), builder: FunctionBuilderContext::new() }
    }
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").field("target", &self.isa.triple()).field("config", &self.config).finish()
    }
}

impl Compiler {
    /// Makes a compiler for this machine.
    ///
    /// # Errors
    /// [`CompileError::Unsupported`] if the machine lacks what compiled code needs.
    pub fn new(config: CompilerConfig) -> Result<Self, CompileError> {
        let unsupported = |error: &dyn std::fmt::Display| CompileError::Unsupported(error.to_string());
        require_cpu()?;
        let flags = flags(config).map_err(|error| unsupported(&error))?;
        let mut builder =
            cranelift_native::builder_with_options(config.cpu == Cpu::Native).map_err(|error| unsupported(&error))?;
        if config.cpu == Cpu::Baseline {
            enable_baseline(&mut builder).map_err(|error| unsupported(&error))?;
        }
        let isa = builder.finish(flags).map_err(|error| unsupported(&error))?;
        if isa.pointer_bits() != 64 {
            return Err(unsupported(&"pointers of 64 bits are needed"));
        }
        Ok(Self { isa, config, pool: Mutex::default() })
    }

    /// What the compiler was made with.
    #[must_use]
    pub fn config(&self) -> CompilerConfig {
        self.config
    }

    /// What of the processor compiled code may use, beyond what all of its kind have.
    #[must_use]
    pub fn processor_features(&self) -> Vec<String> {
        let flags = self.isa.isa_flags();
        let on = flags.iter().filter(|flag| flag.as_bool() == Some(true));
        on.map(|flag| flag.name.to_owned()).collect()
    }

    /// Compiles an own function of a module from its lowered body.
    ///
    /// # Errors
    /// If the function is over the budget or the compiler failed.
    ///
    /// # Panics
    /// If the module has no such function.
    pub fn compile(&self, module: &Module, own_func: u32, code: &Code) -> Result<CompiledFunction, CompileError> {
        self.compile_body(module, own_func, code, Start::Function)
    }

    /// Compiles what an own function does from the loop header `header` on, an instruction of its lowered body, for a
    /// frame of slots: `(vmctx, entry, frame) -> results`, which [`Compiler::compile_slots_to_loop`] calls.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    ///
    /// # Panics
    /// As [`Compiler::compile`], and if `header` is no loop header.
    pub fn compile_loop(
        &self,
        module: &Module,
        own_func: u32,
        code: &Code,
        header: u32,
    ) -> Result<CompiledFunction, CompileError> {
        let is_header = matches!(code.insts[header as usize], Inst::LoopHeader { .. });
        assert!(is_header, "code goes on at loop headers only");
        self.compile_body(module, own_func, code, Start::Loop(header))
    }

    fn compile_body(
        &self,
        module: &Module,
        own_func: u32,
        code: &Code,
        start: Start,
    ) -> Result<CompiledFunction, CompileError> {
        Estimate::of(code).check()?;
        let target = self.body_target(module, own_func);
        let compiled = self.run(
            |function, builder| body::build(function, builder, &target, code, start),
            |context| finish::compile(context, self.isa()),
        )?;
        if compiled.frame_size > MAX_FRAME {
            return Err(CompileError::FrameTooLarge { bytes: compiled.frame_size });
        }
        Ok(compiled)
    }

    /// Compiles the slot entry of compiled functions of a type: it takes the arguments from the slot
    /// array, calls the entry's `regs_entry`, and puts the results into the array.
    ///
    /// # Errors
    /// If the compiler failed.
    pub fn compile_slots_to_regs(&self, ty: &FuncType) -> Result<CompiledFunction, CompileError> {
        self.run(
            |function, builder| {
                stubs::slots_to_regs(function, builder, self.isa(), ty);
                Ok(())
            },
            |context| finish::compile(context, self.isa()),
        )
    }

    /// Compiles what puts code of [`Compiler::compile_loop`] in the place of a frame of a function of this type: the first
    /// slot is the code, the second the address of the frame; the results go into the slots.
    ///
    /// # Errors
    /// If the compiler failed.
    pub fn compile_slots_to_loop(&self, ty: &FuncType) -> Result<CompiledFunction, CompileError> {
        self.run(
            |function, builder| {
                stubs::slots_to_loop(function, builder, self.isa(), ty);
                Ok(())
            },
            |context| finish::compile(context, self.isa()),
        )
    }

    /// Compiles the register entry of functions of a type that are not compiled: it spills the
    /// arguments into a slot array, notes where compiled code was left in the current activation,
    /// and calls the entry's `slots_entry`.
    ///
    /// # Errors
    /// If the compiler failed.
    pub fn compile_regs_to_slots(&self, ty: &FuncType) -> Result<CompiledFunction, CompileError> {
        self.run(
            |function, builder| {
                stubs::regs_to_slots(function, builder, self.isa(), ty);
                Ok(())
            },
            |context| finish::compile(context, self.isa()),
        )
    }

    /// Compiles the tail entry of functions of a type: it takes the arguments from [`aura_host_abi::vm::VmTail`]
    /// and calls the entry's `regs_entry` in its place.
    ///
    /// # Errors
    /// If the compiler failed.
    pub fn compile_tail_entry(&self, ty: &FuncType) -> Result<CompiledFunction, CompileError> {
        self.run(
            |function, builder| {
                stubs::tail_entry(function, builder, self.isa(), ty);
                Ok(())
            },
            |context| finish::compile(context, self.isa()),
        )
    }

    /// The CLIF of a function before optimisation, as text.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    ///
    /// # Panics
    /// As [`Compiler::compile`].
    pub fn clif_text(&self, module: &Module, own_func: u32, code: &Code) -> Result<String, CompileError> {
        Estimate::of(code).check()?;
        self.run(
            |function, builder| {
                let target = self.body_target(module, own_func);
                body::build(function, builder, &target, code, Start::Function)
            },
            |context| Ok(context.func.display().to_string()),
        )
    }

    pub(crate) fn isa(&self) -> &dyn TargetIsa {
        &*self.isa
    }

    pub(crate) fn owned_isa(&self) -> OwnedTargetIsa {
        self.isa.clone()
    }

    fn body_target<'a>(&'a self, module: &'a Module, own_func: u32) -> body::Target<'a> {
        body::Target { isa: self.isa(), config: self.config, module, own_func }
    }

    /// Builds a function and makes something of it, with buffers from the pool. A panic loses them.
    fn run<T>(
        &self,
        build: impl FnOnce(&mut Function, &mut FunctionBuilderContext) -> Result<(), CompileError>,
        then: impl FnOnce(&mut Context) -> Result<T, CompileError>,
    ) -> Result<T, CompileError> {
        let mut buffers = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(Buffers::new);
        let result = catch_unwind(AssertUnwindSafe(|| {
            buffers.context.func.name = UserFuncName::default();
            let built = build(&mut buffers.context.func, &mut buffers.builder);
            let result = built.and_then(|()| then(&mut buffers.context));
            buffers.context.clear();
            (buffers, result)
        }));
        let (buffers, result) = result.map_err(|panic| CompileError::Internal(panic_message(&*panic)))?;
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
        result
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

fn flags(config: CompilerConfig) -> Result<settings::Flags, SetError> {
    let mut flags = settings::builder();
    let on_off = |on| if on { "true" } else { "false" };
    flags.set("opt_level", if config.opt_level == OptLevel::None { "none" } else { "speed" })?;
    flags.set("enable_verifier", on_off(cfg!(debug_assertions)))?;
    // Rows that can produce a NaN make it canonical themselves when asked.
    flags.set("enable_nan_canonicalization", "false")?;
    // Results beyond the registers go through an area that the caller provides.
    flags.set("enable_multi_ret_implicit_sret", "true")?;
    // Backtraces walk the chain of frame pointers.
    flags.set("preserve_frame_pointers", "true")?;
    flags.set("unwind_info", "false")?;
    // A frame cannot jump over the stack's reserve: `MAX_FRAME`.
    flags.set("enable_probestack", "false")?;
    flags.set("is_pic", "false")?;
    flags.set("use_colocated_libcalls", "false")?;
    Ok(settings::Flags::new(flags))
}

/// Without these, Cranelift calls libraries for rounding and shuffles; compiled code calls none.
#[cfg(target_arch = "x86_64")]
fn require_cpu() -> Result<(), CompileError> {
    if !(std::is_x86_feature_detected!("ssse3") && std::is_x86_feature_detected!("sse4.1")) {
        return Err(CompileError::Unsupported("a processor with SSE4.1 is needed; use the interpreter".to_owned()));
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn require_cpu() -> Result<(), CompileError> {
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn enable_baseline(builder: &mut dyn Configurable) -> Result<(), SetError> {
    ["has_sse3", "has_ssse3", "has_sse41"].into_iter().try_for_each(|flag| builder.enable(flag))
}

#[cfg(not(target_arch = "x86_64"))]
fn enable_baseline(_: &mut dyn Configurable) -> Result<(), SetError> {
    Ok(())
}
