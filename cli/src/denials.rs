//! After a run: what the program was denied, and which grant would allow it. One line each.

use aura_runtime::DeniedImport;
use aura_wasi::WasiCtx;

use crate::report::say;

/// Prints a line for each operation that was denied.
pub(crate) fn report(imports: &[DeniedImport], wasi: &WasiCtx, unseen_arguments: bool) {
    for denied in imports {
        let grants: Vec<_> = denied.actions.iter().map(|a| format!("--grant {}", a.hint())).collect();
        say("denied", format!("{}.{}: allowed by {}", denied.module, denied.name, grants.join(" or ")));
    }
    for denied in wasi.denials() {
        say("denied", format!("{}: allowed by --grant {}", denied.asked, denied.grant));
    }
    if unseen_arguments {
        say("denied", "the arguments after FILE: allowed by --grant args");
    }
}
