//! What a module's bytes say beside its imports and exports: sections, sizes, names, who made it.
//!
//! Read from bytes that were validated. Custom sections are not validated: a damaged one gives no
//! facts and no error.

use std::collections::BTreeMap;
use std::ops::Range;

use wasmparser::{
    BinaryReaderError, CustomSectionReader, ExternalKind, KnownCustom, Name, Parser, Payload, SectionLimited,
};

use aura_policy::units::show_bytes;

/// One section.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) bytes: Range<u64>,
    /// How many entries it has, if it is a list.
    pub(crate) entries: Option<u32>,
}

/// Everything that is shown of a module.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) sections: Vec<Section>,
    /// Own functions.
    pub(crate) functions: u32,
    pub(crate) code_bytes: u64,
    pub(crate) largest_function_bytes: u64,
    pub(crate) globals: u32,
    pub(crate) memories: Vec<String>,
    pub(crate) tables: Vec<String>,
    pub(crate) data_segments: u32,
    pub(crate) data_bytes: u64,
    pub(crate) start: Option<u32>,
    pub(crate) module_name: Option<String>,
    pub(crate) function_names: BTreeMap<u32, String>,
    /// Exported functions by their names.
    pub(crate) exported_functions: BTreeMap<String, u32>,
    /// The languages and tools that made the module, as it says.
    pub(crate) producers: Vec<String>,
}

impl Facts {
    /// Reads the facts of a valid module.
    ///
    /// # Errors
    /// If the bytes are no module.
    pub(crate) fn read(wasm: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut facts = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            facts.payload(payload?)?;
        }
        Ok(facts)
    }

    /// The index of the function that is meant by an export, a name or a number, in this order.
    pub(crate) fn function_index(&self, text: &str) -> Option<u32> {
        let named = || self.function_names.iter().find(|(_, name)| *name == text).map(|(index, _)| *index);
        self.exported_functions.get(text).copied().or_else(named).or_else(|| text.parse().ok())
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(s) => self.list("type", &s),
            Payload::ImportSection(s) => self.list("import", &s),
            Payload::FunctionSection(s) => {
                self.functions = s.count();
                self.list("function", &s);
            }
            Payload::TableSection(s) => {
                self.list("table", &s);
                for table in s {
                    let ty = table?.ty;
                    let limits = limits(ty.initial, ty.maximum, "elements");
                    self.tables.push(format!("{} of {}", limits, ty.element_type));
                }
            }
            Payload::MemorySection(s) => {
                self.list("memory", &s);
                for memory in s {
                    self.memories.push(memory_text(&memory?));
                }
            }
            Payload::GlobalSection(s) => {
                self.globals = s.count();
                self.list("global", &s);
            }
            Payload::ExportSection(s) => {
                self.list("export", &s);
                for export in s {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        self.exported_functions.insert(export.name.to_owned(), export.index);
                    }
                }
            }
            Payload::ElementSection(s) => self.list("element", &s),
            Payload::TagSection(s) => self.list("tag", &s),
            Payload::DataSection(s) => {
                self.list("data", &s);
                self.data_segments = s.count();
                for segment in s {
                    self.data_bytes += segment?.data.len() as u64;
                }
            }
            Payload::StartSection { func, range } => {
                self.start = Some(func);
                self.section("start", range, None);
            }
            Payload::DataCountSection { count, range } => self.section("data count", range, Some(count)),
            Payload::CodeSectionStart { count, unchecked_range, .. } => {
                self.section("code", unchecked_range, Some(count));
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                let bytes = range.end - range.start;
                self.code_bytes += bytes;
                self.largest_function_bytes = self.largest_function_bytes.max(bytes);
            }
            Payload::CustomSection(section) => self.custom(&section),
            _ => {}
        }
        Ok(())
    }

    fn list<T>(&mut self, name: &str, section: &SectionLimited<'_, T>) {
        self.section(name, section.range(), Some(section.count()));
    }

    fn section(&mut self, name: &str, bytes: Range<u64>, entries: Option<u32>) {
        self.sections.push(Section { name: name.to_owned(), bytes, entries });
    }

    fn custom(&mut self, section: &CustomSectionReader<'_>) {
        self.section(&format!("custom {:?}", section.name()), section.range(), None);
        match section.as_known() {
            KnownCustom::Name(names) => names.into_iter().map_while(Result::ok).for_each(|name| self.name(name)),
            KnownCustom::Producers(fields) => {
                for field in fields.into_iter().map_while(Result::ok) {
                    let values = field.values.into_iter().map_while(Result::ok);
                    self.producers.extend(values.map(|v| format!("{} {}", v.name, v.version).trim().to_owned()));
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, name: Name<'_>) {
        match name {
            Name::Module { name, .. } => self.module_name = Some(name.to_owned()),
            Name::Function(names) => {
                let named = names.into_iter().map_while(Result::ok);
                self.function_names.extend(named.map(|n| (n.index, n.name.to_owned())));
            }
            _ => {}
        }
    }
}

fn memory_text(ty: &wasmparser::MemoryType) -> String {
    let page_bytes = 1_u64 << ty.page_size_log2.unwrap_or(16);
    let size = |pages: u64| pages.checked_mul(page_bytes).map_or_else(|| "too much".to_owned(), show_bytes);
    let max = ty.maximum.map_or_else(|| "no maximum of its own".to_owned(), |max| format!("at most {}", size(max)));
    let kind = match (ty.memory64, ty.shared) {
        (false, false) => "",
        (true, false) => ", 64-bit",
        (false, true) => ", shared",
        (true, true) => ", 64-bit, shared",
    };
    format!("{} at the start, {max}{kind}", size(ty.initial))
}

fn limits(initial: u64, maximum: Option<u64>, unit: &str) -> String {
    match maximum {
        Some(maximum) if maximum == initial => format!("{initial} {unit}"),
        Some(maximum) => format!("{initial} to {maximum} {unit}"),
        None => format!("{initial} or more {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_small_module() {
        let text = r#"(module $m (memory 1 2) (table 3 funcref) (global i32 (i32.const 0)) (start $go)
            (func $go) (func nop) (data (i32.const 0) "abc"))"#;
        let facts = Facts::read(&wat::parse_str(text).expect("text")).expect("facts");
        assert_eq!((facts.functions, facts.globals, facts.data_bytes, facts.start), (2, 1, 3, Some(0)));
        assert_eq!(facts.memories, ["64 KiB at the start, at most 128 KiB"]);
        assert_eq!(facts.tables, ["3 or more elements of funcref"]);
        assert_eq!(facts.module_name.as_deref(), Some("m"));
        assert_eq!(facts.function_names.get(&0).map(String::as_str), Some("go"));
        assert!(facts.sections.iter().any(|s| s.name == "code" && s.entries == Some(2)));
    }
}
