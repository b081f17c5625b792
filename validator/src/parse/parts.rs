//! A module that was validated before: what its bytes do not say without being read whole, and how it comes back from that.
//!
//! [`Module::from_parts`] trusts its caller: bytes and [`Parts`] are those of a module that was validated whole, under the same
//! features and limits. Whoever keeps them sees to it that nobody changes them (the runtime's artifacts do).

use std::ops::Range;
use std::sync::Arc;

use wasmparser::{BinaryReader, Parser, Payload, SectionLimited};

use super::error::{Error, Stop};
use super::sections::Builder;
use crate::Bytes;
use crate::limits::{Features, Limits};
use crate::module::{Module, ModuleInner};

/// Where the sections and bodies of a module are in its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Number and contents of each section but code and custom ones.
    sections: Vec<(u8, Range<u32>)>,
    custom: Vec<(String, Range<u32>)>,
    bodies: Vec<Range<u32>>,
}

impl Module {
    /// Where the parts of the module are; `None` if bodies are not validated yet, or the bytes cannot be had any more.
    #[must_use]
    pub fn parts(&self) -> Option<Parts> {
        let module = &*self.inner;
        if module.unvalidated.is_some() {
            return None;
        }
        let bytes = module.bytes.get(0..module.bytes.len()).ok()?;
        let mut parser = Parser::new(0);
        parser.set_features(module.features.wasmparser());
        let mut parts = Parts { bodies: module.bodies.clone(), ..Parts::default() };
        for payload in parser.parse_all(bytes) {
            let payload = payload.ok()?;
            let known = payload.as_section().filter(|(id, _)| !matches!(*id, CUSTOM | CODE));
            parts.sections.extend(known.map(|(id, range)| (id, range.start as u32..range.end as u32)));
        }
        let custom = module.custom_sections.iter().map(|section| (section.name.clone(), section.bytes.clone()));
        parts.custom = custom.collect();
        Some(parts)
    }

    /// Makes a module that was validated before. Of its bytes, only sections that are neither code nor custom are read.
    ///
    /// # Errors
    /// If bytes cannot be had, or sections do not decode: the parts are of other bytes.
    pub fn from_parts(bytes: Bytes, parts: &Parts, features: &Features, limits: &Limits) -> Result<Self, Error> {
        let read = read(&bytes, parts, *features, &limits.clamped());
        match read {
            Ok(inner) => Ok(Self { inner: Arc::new(inner) }),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Wasmparser(error)) => Err(Error::malformed(error.message(), error.offset())),
        }
    }
}

const CUSTOM: u8 = 0;
const CODE: u8 = 10;

fn read(bytes: &Bytes, parts: &Parts, features: Features, limits: &Limits) -> Result<ModuleInner, Stop> {
    let mut builder = Builder::new(bytes.clone(), features, limits);
    for (id, range) in &parts.sections {
        let contents = bytes.get(range.start as usize..range.end as usize);
        let contents = contents.map_err(|why| Error::malformed(why, range.start.into()))?;
        let reader = BinaryReader::new_features(contents, range.start.into(), features.wasmparser());
        if let Some(payload) = payload(*id, reader)? {
            builder.add(payload)?;
        }
    }
    let len = bytes.len() as u64;
    for range in parts.bodies.iter().chain(parts.custom.iter().map(|(_, range)| range)) {
        if range.start > range.end || u64::from(range.end) > len {
            return Err(Error::malformed("a part lies outside the module", range.start.into()).into());
        }
    }
    Ok(builder.finish_with(&parts.bodies, &parts.custom))
}

/// A section as the parser would have it; `None` if it says nothing that is kept.
fn payload(id: u8, mut reader: BinaryReader<'_>) -> Result<Option<Payload<'_>>, Stop> {
    Ok(Some(match id {
        1 => Payload::TypeSection(SectionLimited::new(reader)?),
        2 => Payload::ImportSection(SectionLimited::new(reader)?),
        3 => Payload::FunctionSection(SectionLimited::new(reader)?),
        4 => Payload::TableSection(SectionLimited::new(reader)?),
        5 => Payload::MemorySection(SectionLimited::new(reader)?),
        6 => Payload::GlobalSection(SectionLimited::new(reader)?),
        7 => Payload::ExportSection(SectionLimited::new(reader)?),
        8 => Payload::StartSection { func: reader.read_var_u32()?, range: reader.range() },
        9 => Payload::ElementSection(SectionLimited::new(reader)?),
        11 => Payload::DataSection(SectionLimited::new(reader)?),
        13 => Payload::TagSection(SectionLimited::new(reader)?),
        _ => return Ok(None),
    }))
}

impl Parts {
    /// The parts as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = |out: &mut Vec<u8>, number: u32| out.extend_from_slice(&number.to_le_bytes());
        let range = |out: &mut Vec<u8>, range: &Range<u32>| {
            number(out, range.start);
            number(out, range.end);
        };
        number(&mut out, self.sections.len() as u32);
        for (id, place) in &self.sections {
            number(&mut out, u32::from(*id));
            range(&mut out, place);
        }
        number(&mut out, self.custom.len() as u32);
        for (name, place) in &self.custom {
            number(&mut out, name.len() as u32);
            out.extend_from_slice(name.as_bytes());
            range(&mut out, place);
        }
        number(&mut out, self.bodies.len() as u32);
        self.bodies.iter().for_each(|place| range(&mut out, place));
        out
    }

    /// Parts from their bytes; `None` if these are not all of them and nothing else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let sections = rest.list(|rest| Some((u8::try_from(rest.number()?).ok()?, rest.range()?)))?;
        let custom = rest.list(|rest| {
            let len = rest.number()? as usize;
            let name = String::from_utf8(rest.take(len)?.to_vec()).ok()?;
            Some((name, rest.range()?))
        })?;
        let bodies = rest.list(Rest::range)?;
        rest.0.is_empty().then_some(Self { sections, custom, bodies })
    }
}

/// What was not decoded yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn range(&mut self) -> Option<Range<u32>> {
        Some(self.number()?..self.number()?)
    }

    /// Items behind their count, each of some bytes at least: a count that the bytes cannot hold makes no room for them.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()? as usize;
        let mut items = Vec::with_capacity(count.min(self.0.len() / 8));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        let custom = vec![("name".to_owned(), 80..90), (String::new(), 90..90)];
        Parts { sections: vec![(1, 10..20), (7, 22..40)], custom, bodies: vec![50..60, 60..75] }
    }

    #[test]
    fn parts_come_back_from_their_bytes() {
        assert_eq!(Parts::decode(&parts().encode()), Some(parts()));
        assert_eq!(Parts::decode(&Parts::default().encode()), Some(Parts::default()));
    }

    #[test]
    fn no_other_bytes_decode() {
        let bytes = parts().encode();
        (0..bytes.len()).for_each(|len| assert_eq!(Parts::decode(&bytes[..len]), None, "{len}"));
        assert_eq!(Parts::decode(&[bytes.as_slice(), &[0]].concat()), None);
        assert_eq!(Parts::decode(&[0xff; 64]), None);
    }
}
