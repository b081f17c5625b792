//! The text of a policy: what may stand in it, and where a fault is.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Spanned, Value};

use aura_runtime::GrantSpec;

use crate::extism::Manifest;
use crate::policy::{Limits, Policy, PolicyGrant, Subject, Until};
use crate::units::{parse_bytes, parse_duration};

/// A policy file as TOML has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    subject: Option<Spanned<String>>,
    #[serde(default)]
    grants: Vec<Spanned<String>>,
    #[serde(default)]
    grant: Vec<GrantTable>,
    #[serde(default)]
    limits: LimitsTable,
    // The keys of an Extism manifest.
    wasm: Option<Value>,
    allowed_paths: Option<Value>,
    allowed_hosts: Option<Value>,
    timeout_ms: Option<Value>,
    memory: Option<Value>,
    config: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantTable {
    allow: Spanned<String>,
    calls: Option<Spanned<Value>>,
    bytes: Option<Spanned<Value>>,
    until: Option<Spanned<Value>>,
    subject: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    memory: Option<Spanned<Value>>,
    tables: Option<Spanned<Value>>,
    instances: Option<Spanned<Value>>,
    stack: Option<Spanned<Value>>,
    fuel: Option<Spanned<Value>>,
    timeout: Option<Spanned<Value>>,
    handles: Option<Spanned<Value>>,
    call_bytes: Option<Spanned<Value>>,
    output: Option<Spanned<Value>>,
}

/// What is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The file, where one was read.
    pub path: Option<PathBuf>,
    /// Line and column, from 1; `None` if the file could not be read at all.
    pub place: Option<(usize, usize)>,
    /// The line itself.
    line: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl std::error::Error for PolicyError {}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)?;
        match (&self.line, self.place) {
            (Some(text), Some((line, column))) => {
                let shown: String = text.chars().take(120).collect();
                let indent = " ".repeat(column.saturating_sub(1).min(120));
                write!(f, "\n  {line} | {shown}\n  {} | {indent}^", " ".repeat(line.to_string().len()))
            }
            _ => Ok(()),
        }
    }
}

impl Policy {
    /// Reads a policy file. Host directories in it are relative to its folder.
    ///
    /// # Errors
    /// If it cannot be read, or as [`Policy::parse`].
    #[allow(clippy::disallowed_methods, reason = "reading the policy is what the embedder asks for")]
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let at = |mut error: PolicyError| {
            error.path = Some(path.to_owned());
            error
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| at(PolicyError::whole(format!("cannot read the policy: {error}"))))?;
        let mut policy = Self::parse(&text).map_err(at)?;
        policy.below(path.parent().unwrap_or(Path::new("")));
        Ok(policy)
    }

    /// Reads the text of a policy: TOML, or an Extism manifest in JSON.
    ///
    /// # Errors
    /// If it is neither, has a key that is not in the schema, or a value that means nothing; the error has the place.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.trim_start().starts_with('{') {
            return from_json(text);
        }
        let file: File = toml::from_str(text).map_err(|error| {
            let message = error.message().trim().replace('\n', "; ");
            PolicyError::at(text, error.span().unwrap_or(0..0), message)
        })?;
        from_file(text, file)
    }
}

impl PolicyError {
    fn whole(message: String) -> Self {
        Self { path: None, place: None, line: None, message }
    }

    fn at(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let line = text[..start].matches('\n').count() + 1;
        let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
        let column = text[line_start..start].chars().count() + 1;
        let shown = text[line_start..].lines().next().unwrap_or_default().to_owned();
        Self { path: None, place: Some((line, column)), line: Some(shown), message: message.into() }
    }
}

fn from_json(text: &str) -> Result<Policy, PolicyError> {
    let manifest: Result<Manifest, _> = serde_json::from_str(text);
    let manifest = manifest.map_err(|error| {
        let start: usize = text.lines().take(error.line().saturating_sub(1)).map(|line| line.len() + 1).sum();
        let place = start + error.column().saturating_sub(1);
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        PolicyError::at(text, place..place, format!("{message}; a policy in JSON is an Extism manifest"))
    })?;
    manifest.policy().map_err(|(key, message)| {
        let place = text.find(&format!("\"{key}\"")).unwrap_or(0);
        PolicyError::at(text, place..place, message)
    })
}

fn from_file(text: &str, file: File) -> Result<Policy, PolicyError> {
    let fault = |span: Range<usize>, message: String| PolicyError::at(text, span, message);
    let subject = |name: Spanned<String>| {
        let span = name.span();
        parse_subject(name.as_ref()).map_err(|why| fault(span, why))
    };
    let mut policy = manifest_of(text, &file)?;
    if let Some(name) = file.subject {
        policy.subjects.push(subject(name)?);
    }
    for spec in file.grants {
        let parsed = parse_grant(spec.as_ref()).map_err(|why| fault(spec.span(), why))?;
        policy.grants.extend(parsed.map(PolicyGrant::new));
    }
    for table in file.grant {
        let span = table.allow.span();
        let spec = parse_grant(table.allow.as_ref()).map_err(|why| fault(span.clone(), why))?;
        let spec =
            spec.ok_or_else(|| fault(span, "`none` grants nothing and has no bounds; leave the grant out".to_owned()))?;
        policy.grants.push(PolicyGrant {
            spec,
            calls: value(text, table.calls, number)?,
            bytes: value(text, table.bytes, bytes)?,
            until: value(text, table.until, until)?,
            subject: table.subject.map(subject).transpose()?,
        });
    }
    let limits = file.limits;
    let own = Limits {
        memory: value(text, limits.memory, bytes)?,
        tables: value(text, limits.tables, number)?,
        instances: value(text, limits.instances, number)?,
        stack: value(text, limits.stack, stack)?,
        fuel: value(text, limits.fuel, number)?,
        timeout: value(text, limits.timeout, duration)?,
        handles: value(text, limits.handles, number)?,
        call_bytes: value(text, limits.call_bytes, positive_bytes)?,
        output: value(text, limits.output, bytes)?,
    };
    policy.limits = policy.limits.tighter(own);
    Ok(policy)
}

/// What the Extism keys of a TOML file say.
fn manifest_of(text: &str, file: &File) -> Result<Policy, PolicyError> {
    let keys = [
        ("wasm", &file.wasm),
        ("allowed_paths", &file.allowed_paths),
        ("allowed_hosts", &file.allowed_hosts),
        ("timeout_ms", &file.timeout_ms),
        ("memory", &file.memory),
        ("config", &file.config),
    ];
    let table: toml::Table =
        keys.iter().filter_map(|(key, value)| Some(((*key).to_owned(), (*value).clone()?))).collect();
    let place = |key: &str| {
        let at = |line: &&str| line.trim_start().trim_start_matches(['[', '"']).starts_with(key);
        let line = text.lines().find(at).map_or(0, |line| line.as_ptr().addr() - text.as_ptr().addr());
        line..line
    };
    let first = table.keys().next().cloned().unwrap_or_default();
    let manifest: Manifest =
        table.try_into().map_err(|error: toml::de::Error| PolicyError::at(text, place(&first), error.message()))?;
    manifest.policy().map_err(|(key, message)| PolicyError::at(text, place(key), message))
}

fn value<T>(
    text: &str,
    given: Option<Spanned<Value>>,
    parse: fn(&Value) -> Result<T, String>,
) -> Result<Option<T>, PolicyError> {
    given.map(|given| parse(given.as_ref()).map_err(|why| PolicyError::at(text, given.span(), why))).transpose()
}

fn parse_grant(text: &str) -> Result<Option<GrantSpec>, String> {
    GrantSpec::parse_or_none(text).map_err(|error| error.to_string())
}

pub(crate) fn parse_subject(text: &str) -> Result<Subject, String> {
    match text.strip_prefix("sha256:") {
        Some(digest) => digest.parse().map(Subject::Content).map_err(|why| format!("`{text}`: {why}")),
        None if text.is_empty() || text.contains('/') => Err(format!(
            "`{text}` is no subject; write the name of a module's file, or sha256: and the hash of its content"
        )),
        None => Ok(Subject::Name(text.to_owned())),
    }
}

fn number(value: &Value) -> Result<u64, String> {
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| format!("`{value}` is no number of at least 0"))
}

fn bytes(value: &Value) -> Result<u64, String> {
    match value {
        Value::String(text) => parse_bytes(text),
        _ => number(value).map_err(|_| format!("`{value}` is no size; write bytes, or a size such as \"64MiB\"")),
    }
}

fn positive_bytes(value: &Value) -> Result<u64, String> {
    bytes(value).and_then(|bytes| {
        if bytes == 0 { Err("a call that moves no byte is no call; write at least 1".to_owned()) } else { Ok(bytes) }
    })
}

fn stack(value: &Value) -> Result<u64, String> {
    let bytes = bytes(value)?;
    if (64 << 10..=1 << 30).contains(&bytes) { Ok(bytes) } else { Err(format!("`{value}`: a stack is 64KiB to 1GiB")) }
}

fn duration(value: &Value) -> Result<Duration, String> {
    let wrong = || format!("`{value}` is no duration; write one such as \"2s\" or \"500ms\"");
    value.as_str().ok_or_else(wrong).and_then(parse_duration)
}

fn until(value: &Value) -> Result<Until, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Datetime(time) => time.to_string(),
        _ => {
            return Err(format!(
                "`{value}` is no time; write one such as 2026-12-31T23:59:59Z, or a duration such as \"30s\""
            ));
        }
    };
    if text.contains(':') { parse_time(&text).map(Until::At) } else { parse_duration(&text).map(Until::After) }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March put the leap day last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Seconds since 1970 of a time such as `2026-12-31T23:59:59Z`; fractions are dropped.
fn parse_time(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no time with its zone; write one such as 2026-12-31T23:59:59Z");
    let part = |range: Range<usize>| -> Result<i64, String> {
        let digits = text.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit())).ok_or_else(wrong)?;
        digits.parse().map_err(|_| wrong())
    };
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
    let zone = text.get(19..).ok_or_else(wrong)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let minutes = part(at..at + 2)? * 60 + part(at + 3..at + 5)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return Err(wrong()),
    };
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !fits {
        return Err(wrong());
    }
    Ok(days(year, month, day) * 86_400 + (hour * 60 + minute - offset) * 60 + second)
}

/// A time in seconds since 1970 as [`parse_time`] reads it.
pub(crate) fn show_time(seconds: i64) -> String {
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970 + day.div_euclid(366);
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12).rev().find(|&month| days(year, month, 1) <= day).unwrap_or(1);
    let day = day - days(year, month, 1) + 1;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-12-31T23:59:59Z", 1_798_761_599),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(parse_time(text), Ok(seconds));
            assert_eq!(show_time(seconds), text);
        }
        assert_eq!(parse_time("2026-12-31T23:59:59.5+01:30"), Ok(1_798_761_599 - 5400));
        for wrong in ["2026-12-31", "2026-12-31T23:59:59", "2026-13-31T23:59:59Z", "26-12-31T23:59:59Z", "é", ""] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
