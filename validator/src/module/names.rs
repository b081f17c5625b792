//! Names from the custom section `name` (specification, appendix): for people, never for the engine.
//!
//! The section is looked at when the first name is asked for, and only where its entries are is
//! kept. Tolerant: what does not decode has no name.

use wasmparser::{BinaryReader, Name, NameSectionReader, Naming};

use super::{ExternIndex, ExternType, Module};

/// Where an entry of the name section is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameAt {
    func: u32,
    /// Offset of the text in the section's contents, and its length.
    start: u32,
    len: u32,
}

impl Module {
    /// The name the module gives itself.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.subsections().find_map(|name| match name {
            Name::Module { name, .. } => Some(name.to_owned()),
            _ => None,
        })
    }

    /// The name of a function (an index in the function space): from the name section, else its
    /// export name, else, for an import, the names it is imported by.
    #[must_use]
    pub fn func_name(&self, func: u32) -> Option<String> {
        self.debug_name(func).or_else(|| self.export_name(func)).or_else(|| self.import_name(func))
    }

    fn subsections(&self) -> impl Iterator<Item = Name<'_>> {
        NameSectionReader::new(BinaryReader::new(self.name_section(), 0)).map_while(Result::ok)
    }

    fn name_section(&self) -> &[u8] {
        self.custom_section("name").unwrap_or_default()
    }

    fn debug_name(&self, func: u32) -> Option<String> {
        let names = self.inner.names.get_or_init(|| self.locate_names());
        let first = names.partition_point(|name| name.func < func);
        let found = names.get(first).filter(|name| name.func == func)?;
        let text = self.name_section().get(found.start as usize..)?.get(..found.len as usize)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn locate_names(&self) -> Box<[NameAt]> {
        let maps = self.subsections().filter_map(|name| match name {
            Name::Function(map) => Some(map),
            _ => None,
        });
        let entries = maps.flat_map(|map| map.into_iter().map_while(Result::ok));
        let section = self.name_section().as_ptr().addr();
        let place = |Naming { index, name }: Naming<'_>| {
            let start = (name.as_ptr().addr() - section) as u32;
            NameAt { func: index, start, len: name.len() as u32 }
        };
        let mut names: Vec<_> = entries.map(place).collect();
        names.sort_by_key(|name| name.func);
        names.into()
    }

    fn export_name(&self, func: u32) -> Option<String> {
        let export = self.exports().iter().find(|export| export.index == ExternIndex::Func(func))?;
        Some(export.name.clone())
    }

    fn import_name(&self, func: u32) -> Option<String> {
        let mut funcs = self.imports().iter().filter(|import| matches!(import.ty, ExternType::Func(_)));
        let import = funcs.nth(func as usize)?;
        Some(format!("{}.{}", import.module, import.name))
    }
}
