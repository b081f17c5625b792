//! Taking machine code from artifacts: a group when a function of it is first called, compared before it may run.

use std::collections::HashMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aura_jit::{CodeKind, CompiledFunction, KeptCode, KeptFunction, KeptTables};
use aura_validator::codec::Coded;

use super::made::Compiled;
use super::{GROUP_ROW, ROW, imported_types, is_skipped};
use crate::artifact::format::{PIECE, Section};
use crate::artifact::pieces::Content;
use crate::engine::StubKind;
use crate::error::{Error, ErrorKind, Result};
use crate::module;

/// The machine code of an artifact, for the module that was loaded from it.
pub(crate) struct KeptNative {
    content: Arc<Content>,
    /// What became of groups that were needed: the reason, if one was refused.
    groups: Mutex<HashMap<u32, std::result::Result<bool, String>>>,
    stubs: OnceLock<std::result::Result<Stubs, String>>,
    /// Where the code runs; none if the system had no room.
    memory: OnceLock<Option<KeptCode>>,
}

type Stubs = HashMap<(StubKind, u32), CompiledFunction>;

/// Where a group is: the first of its pieces, bytes of code, bytes of tables in the pieces behind.
struct Group {
    first: u64,
    code: usize,
    tables: usize,
}

/// What stands in front of a function's tables.
struct Head {
    own: u32,
    ty: u32,
    code: Range<usize>,
    callees: Vec<(u32, u32)>,
    tables: Range<usize>,
}

impl KeptNative {
    pub(in crate::artifact) fn new(content: Arc<Content>) -> Self {
        Self { content, groups: Mutex::default(), stubs: OnceLock::new(), memory: OnceLock::new() }
    }

    /// Puts the code of a function, and of those in its group, into their entry words. Says whether there is some.
    ///
    /// # Errors
    /// If the artifact was changed.
    pub(crate) fn publish(&self, module: &module::Inner, own: u32) -> Result<bool> {
        if is_skipped(module, own) {
            return Ok(false);
        }
        let row = self.content.part(Section::NativeRows, ROW * u64::from(own)..ROW * (u64::from(own) + 1));
        let row = row.map_err(changed)?;
        let group = u32::from_le_bytes(*row.first_chunk().expect("a row's length"));
        if group == 0 {
            return Ok(false);
        }
        // Held while the group is read: who needs it too waits for it.
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = groups.entry(group).or_insert_with(|| self.publish_group(module, group - 1));
        known.clone().map_err(changed)
    }

    fn publish_group(&self, module: &module::Inner, group: u32) -> std::result::Result<bool, String> {
        let group = self.group(group)?;
        let Some(memory) = self.memory(module) else { return Ok(false) };
        let mut heads = Vec::new();
        let made = memory.publish(group.code.next_multiple_of(PIECE), |pages| {
            let tables: Arc<[u8]> = self.read_group(&group, pages)?.into();
            heads = take_heads(&tables, group.code)?;
            let kept = |head: &Head| KeptFunction {
                kind: CodeKind::Function(head.own),
                range: head.code.clone(),
                tables: KeptTables::new(tables.clone(), head.tables.clone()),
            };
            Ok::<_, String>(heads.iter().map(kept).collect())
        })?;
        let Some(made) = made else { return Ok(false) };
        let stub = self.stubs(module)?;
        for (Head { own, ty, callees, .. }, code) in heads.into_iter().zip(made) {
            if is_skipped(module, own) {
                continue;
            }
            // What code calls exists before it runs.
            for (callee, ty) in callees {
                module.entry_of_type(callee, ty);
            }
            let entry = module.entry_of_type(own, ty);
            if let Some(stub) = stub(StubKind::SlotsToRegs, ty) {
                entry.publish(code.as_ptr(), stub.as_ptr());
            }
        }
        Ok(true)
    }

    /// Where the module's code runs.
    fn memory(&self, module: &module::Inner) -> Option<&KeptCode> {
        let make = || {
            let code = self.content.header().section(Section::NativeCode);
            // Tables stand there too, so this is more than enough for all groups.
            KeptCode::new(module.token(), (code.end - code.start) as usize).ok()
        };
        self.memory.get_or_init(make).as_ref()
    }

    /// Who gives stubs for types of the module; those for imported functions, which code may call at any time, are there
    /// from then on.
    fn stubs<'a>(
        &'a self,
        module: &'a module::Inner,
    ) -> std::result::Result<impl Fn(StubKind, u32) -> Option<NonNull<()>> + 'a, String> {
        let is_first = self.stubs.get().is_none();
        let stubs = self.stubs.get_or_init(|| {
            let bytes = self.content.section(Section::NativeStubs)?;
            take_stubs(&bytes).ok_or_else(undecoded)
        });
        let stubs = stubs.as_ref().map_err(String::clone)?;
        let stub = move |kind, ty| {
            let kept = || stubs.get(&(kind, ty)).cloned();
            // What fails here fails again where the stub is called for, and is an error there.
            module.engine().stub(kind, module.type_id_of(ty), kept).ok()
        };
        if is_first {
            for ty in imported_types(module.validated()) {
                stub(StubKind::RegsToSlots, ty);
            }
        }
        Ok(stub)
    }

    fn group(&self, group: u32) -> std::result::Result<Group, String> {
        let at = GROUP_ROW * u64::from(group);
        let row = self.content.part(Section::NativeGroups, at..at + GROUP_ROW)?;
        let word = |at: usize| u32::from_le_bytes(row[at..at + 4].try_into().expect("four bytes"));
        let start = u64::from(word(0)) | u64::from(word(4)) << 32;
        let (code, tables) = (word(8) as usize, word(12) as usize);
        let section = self.content.header().section(Section::NativeCode);
        let bytes = (code.next_multiple_of(PIECE) + tables.next_multiple_of(PIECE)) as u64;
        let first = section.start.checked_add(start).filter(|first| first.is_multiple_of(PIECE as u64));
        match first.filter(|first| first.checked_add(bytes).is_some_and(|end| end <= section.end)) {
            Some(first) => Ok(Group { first: first / PIECE as u64, code, tables }),
            None => Err("a part of an artifact lies outside it".to_owned()),
        }
    }

    /// Reads a group's code into whole pieces, and its tables.
    fn read_group(&self, group: &Group, code: &mut [u8]) -> std::result::Result<Vec<u8>, String> {
        let mut tables = vec![0; group.tables.next_multiple_of(PIECE)];
        self.content.read_both(group.first, code, &mut tables)?;
        tables.truncate(group.tables);
        Ok(tables)
    }

    /// The functions of all groups.
    pub(super) fn all(&self) -> Result<Vec<Compiled>> {
        let rows = self.content.header().section(Section::NativeGroups);
        let mut all = Vec::new();
        for group in 0..((rows.end - rows.start) / GROUP_ROW) as u32 {
            self.compiled(group, &mut all).map_err(changed)?;
        }
        Ok(all)
    }

    fn compiled(&self, group: u32, all: &mut Vec<Compiled>) -> std::result::Result<(), String> {
        let group = self.group(group)?;
        let mut code = vec![0; group.code.next_multiple_of(PIECE)];
        let tables = self.read_group(&group, &mut code)?;
        for Head { own, ty, code: range, callees, tables: part } in take_heads(&tables, group.code)? {
            let function = CompiledFunction::take_tables(&mut &tables[part], code[range].into());
            all.push(Compiled { own, ty, function: function.ok_or_else(undecoded)?, callees });
        }
        Ok(())
    }

    /// Bytes of code, and of what is known of it.
    pub(super) fn bytes(&self) -> u64 {
        let code = self.content.header().section(Section::NativeCode);
        code.end - code.start
    }
}

fn changed(why: String) -> Error {
    Error::new(ErrorKind::Artifact, why)
}

fn undecoded() -> String {
    "machine code of an artifact does not decode".to_owned()
}

fn take_stubs(mut bytes: &[u8]) -> Option<Stubs> {
    let mut stubs = HashMap::new();
    while !bytes.is_empty() {
        let (kind, ty) = <(u8, u32)>::take(&mut bytes)?;
        let kind = StubKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        stubs.insert((kind, ty), take_function(&mut bytes)?);
    }
    Some(stubs)
}

/// The functions of a group with so much code, which follow one another in it.
fn take_heads(tables: &[u8], code_len: usize) -> std::result::Result<Vec<Head>, String> {
    let (mut heads, mut rest, mut next) = (Vec::new(), tables, 0);
    while !rest.is_empty() {
        let head = take_head(&mut rest, tables.len()).ok_or_else(undecoded)?;
        if head.code.start < next || head.code.end > code_len {
            return Err(undecoded());
        }
        next = head.code.end;
        heads.push(head);
    }
    Ok(heads)
}

/// A head and the tables behind it, from the rest of so many bytes.
fn take_head(rest: &mut &[u8], all: usize) -> Option<Head> {
    let ((own, ty), (start, len)) = Coded::take(rest)?;
    let (start, len): (u32, u32) = (start, len);
    let callees = Coded::take(rest)?;
    let tables_len = u32::take(rest)? as usize;
    let begin = all - rest.len();
    *rest = rest.get(tables_len..)?;
    let code = start as usize..(start as usize).checked_add(len as usize).filter(|_| len > 0)?;
    Some(Head { own, ty, code, callees, tables: begin..begin + tables_len })
}

fn take_function(bytes: &mut &[u8]) -> Option<CompiledFunction> {
    let len = usize::try_from(u64::take(bytes)?).ok()?;
    let (code, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    CompiledFunction::take_tables(bytes, code.into())
}
