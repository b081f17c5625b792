//! Who called whom: interpreted and compiled frames in one list, innermost first.
//!
//! Interpreted frames stand on the interpreter's own stack, compiled ones on the native stack. Both
//! know a native address: a run of the interpreter that of its Rust frame, compiled frames their own.
//! The stack grows down, so ascending addresses go from the innermost outwards.
//!
//! # Safety
//! Trusts: while a trap is recorded, the activations of the store still stand, and compiled code keeps
//! the chain of frame pointers from where an activation was left up to where it was entered.

use aura_host_abi::vm::VmActivation;
use aura_jit::{CodeKind, registry};

use crate::arch;
use crate::store::StoreData;
use crate::trap::Frame;
use crate::vm::instance::InstanceData;

/// How many frames a backtrace holds at most.
pub const FRAMES_MAX: usize = 64;

/// Frames of one crossing, with the native address that orders them.
struct Segment {
    address: usize,
    frames: Vec<Frame>,
}

/// The guest's stack now, and whether it has more frames than the list.
pub(crate) fn capture(store: &StoreData) -> (Vec<Frame>, bool) {
    let mut segments = interpreted(store);
    segments.extend(compiled(store));
    segments.sort_by_key(|segment| segment.address);
    let mut frames: Vec<Frame> = segments.into_iter().flat_map(|segment| segment.frames).collect();
    let truncated = frames.len() > FRAMES_MAX;
    frames.truncate(FRAMES_MAX);
    (frames, truncated)
}

fn interpreted(store: &StoreData) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for frame in store.interp.frames_for_backtrace().take(FRAMES_MAX + 1) {
        // SAFETY: open frames name live instances.
        let instance = unsafe { &*InstanceData::from_vmctx(frame.vmctx) };
        let frame_text = describe(instance, frame.func_index, Some(frame.module_offset), false);
        match segments.last_mut() {
            Some(segment) if segment.address == frame.run => segment.frames.push(frame_text),
            _ => segments.push(Segment { address: frame.run, frames: vec![frame_text] }),
        }
    }
    segments
}

fn compiled(store: &StoreData) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut current = store.activation();
    let mut left = FRAMES_MAX + 1;
    while !current.is_null() && left > 0 {
        // SAFETY: activations of the list are live: they nest, and none has returned.
        let activation = unsafe { &*current };
        if activation.exit_pc != 0 {
            let frames = walk(store, activation, left);
            left -= frames.len();
            segments.push(Segment { address: activation.exit_fp, frames });
        }
        current = activation.previous;
    }
    segments
}

/// The compiled frames of one activation.
fn walk(store: &StoreData, activation: &VmActivation, most: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    let (mut pc, mut fp) = (activation.exit_pc, activation.exit_fp);
    while fp < activation.entry_sp && frames.len() < most {
        // A return address may be the first byte after a call that ends its function.
        if let Some(location) = registry::lookup(pc - 1)
            && let CodeKind::Function(own) = location.kind
            && let Some(instance) = store.instances.iter().find(|i| i.module.token() == location.module)
        {
            let func = instance.layout.counts().imported_funcs + own;
            frames.push(describe(instance, func, location.module_offset, true));
        }
        // SAFETY: compiled code keeps frame pointers, and `fp` is below the entry's frame.
        (pc, fp) = unsafe { arch::caller_frame(fp) };
    }
    frames
}

fn describe(instance: &InstanceData, func_index: u32, module_offset: Option<u32>, compiled: bool) -> Frame {
    let module = instance.module.validated();
    let name = module.func_name(func_index);
    Frame {
        module: module.name(),
        func_index,
        func_name: name.map(|name| format!("{:#}", rustc_demangle::demangle(&name))),
        module_offset,
        compiled,
    }
}
