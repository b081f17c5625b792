//! After a run: what the program was denied, and which grant would allow it. One line each.

use aura_runtime::{Action, DeniedImport};
use aura_wasi::WasiCtx;

use crate::report::say;

/// What a program was told that there is none of, though a grant might have made some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unseen {
    /// Arguments were given after FILE.
    pub(crate) arguments: bool,
    /// The program looked for directories, and then failed.
    pub(crate) directories: bool,
}

/// Prints a line for each operation that was denied.
pub(crate) fn report(imports: &[DeniedImport], wasi: &WasiCtx, unseen: Unseen) {
    for denied in imports {
        let grants: Vec<_> = Action::hints(denied.actions).iter().map(|hint| format!("--grant {hint}")).collect();
        say("denied", format!("{}.{}: allowed by {}", denied.module, denied.name, grants.join(" or ")));
    }
    for denied in wasi.denials() {
        say("denied", format!("{}: allowed by --grant {}", denied.asked, denied.grant));
    }
    if unseen.directories {
        let (read, write) = (Action::FsRead.hint(), Action::FsWrite.hint());
        say(
            "denied",
            format!("directories, which the program looked for: allowed by --grant {read} or --grant {write}"),
        );
    }
    if unseen.arguments {
        say("denied", "the arguments after FILE: allowed by --grant args");
    }
}
