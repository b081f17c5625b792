//! All bodies of a module through validation, on all cores if they are many; or one, when it is needed.
//!
//! Which error is reported does not depend on threads: it is that of the first body in the module that has one.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use wasmparser::{BinaryReader, FuncToValidate, FuncValidatorAllocations, FunctionBody, ValidatorResources};

use super::body::{self, Bounds};
use super::error::{Error, Stop};
use crate::limits::Limits;
use crate::module::ModuleInner;

/// Bytes of bodies from which on other threads help: they take some 50 µs to begin, which validates about 8 KiB.
const PARALLEL_BYTES: u64 = 256 << 10;

/// More threads than this find no more to do.
const THREADS_MAX: usize = 8;

/// Bodies that a thread takes at once.
const BATCH: u32 = 32;

/// What it takes to validate bodies later.
pub(crate) struct Unvalidated {
    resources: ValidatorResources,
    limits: Limits,
}

impl Unvalidated {
    pub(super) fn new(resources: ValidatorResources, limits: &Limits) -> Self {
        Self { resources, limits: limits.clone() }
    }
}

impl fmt::Debug for Unvalidated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unvalidated").finish_non_exhaustive()
    }
}

/// The bodies of one module on their way through validation.
struct Bodies<'m> {
    module: &'m ModuleInner,
    resources: &'m ValidatorResources,
    bounds: Bounds<'m>,
}

/// Validates all bodies; `allocations` are what another module's left behind.
pub(super) fn validate_all(
    module: &ModuleInner,
    resources: &ValidatorResources,
    limits: &Limits,
    allocations: &mut FuncValidatorAllocations,
) -> Result<(), Stop> {
    let bodies = Bodies { module, resources, bounds: Bounds::new(module, limits) };
    let bytes: u64 = module.bodies.iter().map(|body| u64::from(body.end - body.start)).sum();
    let threads = match bytes >= PARALLEL_BYTES {
        true => thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX),
        false => 1,
    };
    if threads == 1 {
        for own in 0..module.bodies.len() as u32 {
            *allocations = bodies.validate(own, std::mem::take(allocations))?;
        }
        return Ok(());
    }
    bodies.validate_on(threads)
}

/// Validates the body of one own function.
pub(super) fn validate_one(module: &ModuleInner, unvalidated: &Unvalidated, own_func: u32) -> Result<(), Stop> {
    let Unvalidated { resources, limits } = unvalidated;
    let bodies = Bodies { module, resources, bounds: Bounds::new(module, limits) };
    bodies.validate(own_func, FuncValidatorAllocations::default()).map(drop)
}

impl Bodies<'_> {
    fn validate(&self, own: u32, allocations: FuncValidatorAllocations) -> Result<FuncValidatorAllocations, Stop> {
        let module = self.module;
        let features = module.features.wasmparser();
        let index = module.counts.imported_funcs + own;
        let range = &module.bodies[own as usize];
        let bytes = module.bytes.get(range.start as usize..range.end as usize);
        let bytes = bytes.map_err(|why| Error::changed(why, range.start.into()))?;
        let body = FunctionBody::new(BinaryReader::new_features(bytes, range.start.into(), features));
        let func = FuncToValidate { resources: self.resources, index, ty: module.funcs[index as usize], features };
        body::validate(func, &body, bytes, &self.bounds, allocations)
    }

    /// Validates all bodies on so many threads, this one included.
    fn validate_on(&self, threads: usize) -> Result<(), Stop> {
        let (next, failed) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
        let first = thread::scope(|scope| {
            let work = || self.work(&next, &failed);
            // Where the system gives no thread, those that are there do the work.
            let spawned = (1..threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok());
            let spawned: Vec<_> = spawned.collect();
            let own = work();
            let others = spawned.into_iter().filter_map(|thread| thread.join().expect("validation does not panic"));
            own.into_iter().chain(others).min_by_key(|(index, _)| *index)
        });
        first.map_or(Ok(()), |(_, stop)| Err(stop))
    }

    /// Takes batches of bodies until there are no more before the first that failed; the first failure among those taken.
    fn work(&self, next: &AtomicU32, failed: &AtomicU32) -> Option<(u32, Stop)> {
        let count = self.module.bodies.len() as u32;
        let mut allocations = FuncValidatorAllocations::default();
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            if start >= count || start >= failed.load(Ordering::Relaxed) {
                return None;
            }
            for own in start..count.min(start + BATCH) {
                match self.validate(own, allocations) {
                    Ok(back) => allocations = back,
                    Err(stop) => {
                        failed.fetch_min(own, Ordering::Relaxed);
                        return Some((own, stop));
                    }
                }
            }
        }
    }
}
