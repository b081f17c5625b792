//! What code of calls calls: it looks whether a callee is as callees mostly are, and opens its frame.
//!
//! These have a convention of their own, as code of cells has ([`super::emit`]): they keep the registers of handlers but for the
//! accumulators, which hold nothing where a call is, and say by the carry flag that they did nothing but count. Then the
//! cell's handler carries the call out.
//!
//! ```text
//! in    position behind the call DI   where the new frame begins R10   the callee's entry AX (element: its type; index CX, table R11)
//! out   the callee's first cell DI    the base of its frame R10        carry: not done
//! ```
//!
//! # Safety
//! Trusts: as [`crate::interp::call`], whose handlers do the same: the entry is one of the running instance's module, made or not (one
//! that is not has no form); the new frame begins where the running one ends; a table's elements that are not null are live. Gives: a
//! frame is opened only if it lies inside the stack and has no references, which would have to be null; until then nothing but heat
//! was changed.

use std::arch::naked_asm;
use std::mem::offset_of;

use aura_host_abi::vm::{VmFuncEntry, VmFuncRef, VmStore, VmTable};

use crate::interp::form::Form;
use crate::interp::frame::{Frame, InterpState};
use crate::interp::machine::Machine;

/// Which of these a call wants, whose callee is an element of a table or is not.
pub(super) fn opening(is_element: bool) -> usize {
    let code = if is_element { open_element as *const () } else { open as *const () };
    code.expose_provenance()
}

/// What is read instead of an address outside of a table, when the branch away is mispredicted.
static NULL: usize = 0;

/// The callee of an element: its table is not shorter, and it is a function of the running instance with the very type.
macro_rules! element {
    () => {
        "cmp rcx, [r11 + {length}]
        mov r11, [r11 + {elements}]
        lea r11, [r11 + 8*rcx]
        cmovae r11, [rip + {null}]
        jae 9f
        mov r11, [r11]
        test r11, r11
        je 9f
        cmp eax, [r11 + {type_id}]
        jne 9f
        mov rcx, [rdx + {vmctx}]
        cmp rcx, [r11 + {func_vmctx}]
        jne 9f
        mov rax, [r11 + {func_entry}]"
    };
}

/// The form, if there is one, of a function that is neither compiled nor hot; this counts.
macro_rules! form {
    () => {
        "mov r11, [rax + {form}]
        test r11, r11
        je 9f
        cmp byte ptr [rax + {direct}], 0
        jne 9f
        mov ecx, [rax + {heat}]
        inc ecx
        mov [rax + {heat}], ecx
        cmp ecx, [rax + {limit}]
        jae 9f"
    };
}

/// Opens the frame if nothing interrupts, there is room, and it has no references.
macro_rules! frame {
    () => {
        "mov rcx, [rdx + {store}]
        cmp qword ptr [rcx + {stack_limit}], -1
        je 9f
        mov ecx, [r11 + {frame_bytes}]
        add rcx, r10
        cmp rcx, [rdx + {end}]
        ja 9f
        cmp dword ptr [r11 + {refs}], 0
        jne 9f
        mov rcx, [rdx + {state}]
        mov rax, [rcx + {current}]
        mov [rcx + {current}], r10
        mov [rax + {ip}], rdi
        mov [r10 + {caller}], rax
        mov [r10 + {frame_form}], r11
        mov rax, [rdx + {vmctx}]
        mov [r10 + {frame_vmctx}], rax
        mov qword ptr [r10 + {ip}], 0
        mov qword ptr [r10 + {special}], 0
        lea rdi, [r11 + {first}]
        lea rax, [r10 + {head}]
        mov [r10 + {regs}], rax
        mov r10, rax
        clc
        ret
        9:
        stc
        ret"
    };
}

macro_rules! openings {
    ($($(#[$attr:meta])* $name:ident: [$($part:ident),*] $({$($extra:tt)*})?;)*) => {
        $($(#[$attr])*
        #[unsafe(naked)]
        extern "sysv64" fn $name() {
            naked_asm!(
                $($part!(),)*
                form = const offset_of!(VmFuncEntry, form),
                direct = const offset_of!(VmFuncEntry, direct),
                heat = const offset_of!(VmFuncEntry, heat),
                limit = const offset_of!(VmFuncEntry, limit),
                store = const offset_of!(Machine, store),
                end = const offset_of!(Machine, limit),
                state = const offset_of!(Machine, state),
                vmctx = const offset_of!(Machine, vmctx),
                stack_limit = const offset_of!(VmStore, stack_limit),
                current = const offset_of!(InterpState, current),
                frame_bytes = const offset_of!(Form, frame_bytes),
                refs = const offset_of!(Form, refs),
                first = const size_of::<Form>(),
                head = const size_of::<Frame>(),
                ip = const offset_of!(Frame, ip),
                caller = const offset_of!(Frame, caller),
                frame_form = const offset_of!(Frame, form),
                frame_vmctx = const offset_of!(Frame, vmctx),
                special = const offset_of!(Frame, special),
                regs = const offset_of!(Frame, regs),
                $($($extra)*)?
            )
        })*
    };
}

openings! {
    /// A function of the module.
    open: [form, frame];
    /// An element of a table.
    open_element: [element, form, frame] {
        null = sym NULL,
        length = const offset_of!(VmTable, length),
        elements = const offset_of!(VmTable, base),
        type_id = const offset_of!(VmFuncRef, type_id),
        func_vmctx = const offset_of!(VmFuncRef, vmctx),
        func_entry = const offset_of!(VmFuncRef, entry),
    };
}
