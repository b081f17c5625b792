//! Roots: the places outside the heap where references lie.
//!
//! Exact ones, all of them: slots of interpreted frames that hold nothing else; places in frames of
//! compiled code that its stack maps name; globals, elements of tables and of segments of a reference class;
//! the exception on its way, and the one that left guest code last; handles of the host. Arrays in which a call carries its arguments and results are none:
//! see the rule in [`super`].
//!
//! # Safety
//! Trusts: the frames of a store whose guest runs stand still, and every activation that has been left says
//! where, as in [`crate::backtrace`]; stack maps are those of the code at the address; instances are linked.

use aura_host_abi::SlotType;
use aura_host_abi::vm::VmActivation;
use aura_jit::registry;

use crate::arch;
use crate::store::StoreData;
use crate::vm::instance::InstanceData;

/// Says where the object is now that a reference refers to.
pub(super) type Renew<'a> = dyn FnMut(u32) -> u32 + 'a;

/// Renews every reference outside the heap. References among them to objects that did not move stay the same.
pub(super) fn each(store: &mut StoreData, renew: &mut Renew<'_>) {
    store.interp.each_reference(renew);
    compiled_frames(store, renew);
    let exception = store.shared.vm_exception();
    // SAFETY: the store's thread runs this, and no reference to the word exists.
    let thrown = unsafe { exception.read() };
    // SAFETY: as above.
    unsafe { exception.write(renew(thrown)) };
    store.pending_exception = renew(store.pending_exception);
    for instance in &mut store.instances {
        globals(instance, renew);
        segments(instance, renew);
    }
    for table in &store.tables {
        if table.ty().element.slot_type() == SlotType::Ref {
            table.each(|element| u64::from(renew(element as u32)));
        }
    }
    for global in &store.globals {
        if global.ty().content.slot_type() == SlotType::Ref {
            global.renew(renew);
        }
    }
    for (bits, ty) in &mut store.constants {
        if ty.slot_type() == SlotType::Ref {
            bits[0] = u64::from(renew(bits[0] as u32));
        }
    }
    store.roots.get_mut().each(renew);
}

fn globals(instance: &InstanceData, renew: &mut Renew<'_>) {
    let imported = instance.layout.counts().imported_globals as usize;
    let globals = instance.module.validated().globals();
    for (index, _) in globals.iter().enumerate().skip(imported).filter(|(_, g)| g.content.slot_type() == SlotType::Ref)
    {
        // SAFETY: the instance is linked; the global lies in its block.
        let place = unsafe { (*instance.global(index as u32)).bits.get() }.cast::<u64>();
        // SAFETY: as above; a reference lies in the lower half of the first word.
        let reference = unsafe { place.read() } as u32;
        // SAFETY: as above.
        unsafe { place.write(u64::from(renew(reference))) };
    }
}

fn segments(instance: &mut InstanceData, renew: &mut Renew<'_>) {
    let segments = instance.module.validated().elements();
    for (values, segment) in instance.elements.iter_mut().zip(segments) {
        if segment.ty.slot_type() == SlotType::Ref {
            for value in values.iter_mut().flatten() {
                *value = u64::from(renew(*value as u32));
            }
        }
    }
}

fn compiled_frames(store: &StoreData, renew: &mut Renew<'_>) {
    let mut current = store.activation();
    while !current.is_null() {
        // SAFETY: activations of the list are live: they nest, and none has returned.
        let activation = unsafe { &*current };
        if activation.exit_pc != 0 {
            compiled_frames_of(activation, renew);
        }
        current = activation.previous;
    }
}

fn compiled_frames_of(activation: &VmActivation, renew: &mut Renew<'_>) {
    let (mut pc, mut fp) = (activation.exit_pc, activation.exit_fp);
    while fp < activation.entry_sp {
        registry::stack_map(pc, |below| {
            let place = (fp - below as usize) as *mut u32;
            // SAFETY: the frame at `fp` is of the function that `pc` is in, whose stack map names the place.
            let reference = unsafe { place.read() };
            // SAFETY: as above.
            unsafe { place.write(renew(reference)) };
        });
        // SAFETY: compiled code keeps frame pointers, and `fp` is below the entry's frame.
        (pc, fp) = unsafe { arch::caller_frame(fp) };
    }
}
