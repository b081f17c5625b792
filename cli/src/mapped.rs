//! Files that are lent to a program: `--grant map.read=FILE` and `map.write=FILE`.

use std::fs::File;
use std::path::Path;

use aura_runtime::{Access, Action, Grant, Loan, Memory, Resource, SharedBuffer, Store, Val, ValType, Window};

use crate::report::Failure;

/// A file to lend, open, and the grant it is lent by.
pub(crate) struct Mapped {
    grant: Grant,
    buffer: SharedBuffer,
    access: Access,
}

impl Mapped {
    /// Opens the file of a grant; `None` if it is a grant of something else.
    ///
    /// # Errors
    /// If it cannot be opened, or is nothing that can be mapped.
    pub(crate) fn open(grant: &Grant) -> Result<Option<Self>, Failure> {
        let spec = grant.spec();
        let (Action::MapRead | Action::MapWrite, Resource::File(path)) = (spec.action, &spec.resource) else {
            return Ok(None);
        };
        let writes = spec.action == Action::MapWrite;
        let file = File::options().read(true).write(writes).open(path);
        let file = file.map_err(|error| Failure::io("open for mapping", path, &error))?;
        let (buffer, access) = match writes {
            false => (SharedBuffer::map_file(&file), Access::Read),
            true => (SharedBuffer::map_file_to_write(&file), Access::Write),
        };
        let buffer = buffer.map_err(|error| Failure::new(format!("cannot map: {}: {error}", path.display())))?;
        Ok(Some(Self { grant: grant.clone(), buffer, access }))
    }
}

/// Lends files to an instance, one behind the other, in a window that has room for them.
///
/// # Errors
/// If the program has no memory, or no room in it.
pub(crate) fn lend<T>(
    store: &mut Store<T>,
    memory: Option<Memory>,
    mapped: &[Mapped],
    path: &Path,
) -> Result<Vec<Loan>, Failure> {
    if mapped.is_empty() {
        return Ok(Vec::new());
    }
    let no_room = |error: aura_runtime::Error| {
        Failure::new(format!("not enough room: {}: {error}", path.display()))
            .help("what is mapped takes room in the program's memory: its own maximum and --max-memory bound it")
    };
    let memory = memory.ok_or_else(|| {
        Failure::new(format!("cannot map: {}: the module exports no memory `memory` to map files into", path.display()))
    })?;
    let room = mapped.iter().map(|mapped| Window::room_for(mapped.buffer.len())).sum();
    let window = memory.add_window(&mut *store, room).map_err(no_room)?;
    let (mut at, mut loans) = (0, Vec::new());
    for Mapped { grant, buffer, access } in mapped {
        loans.push(window.lend(&mut *store, grant, at, buffer, 0..buffer.len(), *access).map_err(no_room)?);
        at += Window::room_for(buffer.len());
    }
    Ok(loans)
}

/// Address and length of each loan, as the parameters of a function take them.
///
/// # Errors
/// If the function has other parameters there.
pub(crate) fn arguments(loans: &[Loan], params: &[ValType]) -> Result<Vec<Val>, Failure> {
    let numbers = loans.iter().flat_map(|loan| [loan.address(), loan.len()]);
    let typed = numbers.zip(params).map(|(number, ty)| match ty {
        ValType::I32 => u32::try_from(number).ok().map(|number| Val::I32(number as i32)),
        ValType::I64 => Some(Val::I64(number as i64)),
        _ => None,
    });
    let wrong =
        || Failure::usage("the function does not take what is mapped: an address and a length of each file come first");
    let values: Vec<_> = typed.collect::<Option<_>>().ok_or_else(wrong)?;
    if values.len() == 2 * loans.len() { Ok(values) } else { Err(wrong()) }
}
