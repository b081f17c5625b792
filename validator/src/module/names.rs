//! Names from the custom section `name` (specification, appendix): for people, never for the engine.
//!
//! Read at each question and tolerant: whatever does not decode has no name.

use wasmparser::{BinaryReader, Name, NameSectionReader};

use super::{ExternIndex, Module};

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
        let section = self.custom_section("name").unwrap_or_default();
        NameSectionReader::new(BinaryReader::new(section, 0)).into_iter().map_while(Result::ok)
    }

    fn debug_name(&self, func: u32) -> Option<String> {
        self.subsections().find_map(|name| match name {
            Name::Function(map) => {
                let naming = map.into_iter().map_while(Result::ok).find(|naming| naming.index == func)?;
                Some(naming.name.to_owned())
            }
            _ => None,
        })
    }

    fn export_name(&self, func: u32) -> Option<String> {
        let export = self.exports().iter().find(|export| export.index == ExternIndex::Func(func))?;
        Some(export.name.clone())
    }

    fn import_name(&self, func: u32) -> Option<String> {
        let import = self
            .imports()
            .iter()
            .filter(|import| matches!(import.ty, super::ExternType::Func(_)))
            .nth(func as usize)?;
        Some(format!("{}.{}", import.module, import.name))
    }
}
