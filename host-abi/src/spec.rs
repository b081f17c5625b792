//! A grant without its subject: an action on a resource, how it is written and what it covers.
//!
//! Invariant: [`GrantSpec::narrowed`] never yields more than it was given. Paths are compared by
//! their components; who opens a narrower directory opens it beneath the wider one, so that a
//! symbolic link does not widen it.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::action::{Action, ResourceKind};

/// What a granted action applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The action has no resource of its own.
    Nothing,
    /// An environment variable; without a value, the host's own is taken when the grant is made.
    Variable { name: String, value: Option<String> },
    /// A host directory under the name the guest sees.
    Directory { host: PathBuf, guest: String },
    /// A file of the host, or the name of a buffer of the host.
    File(PathBuf),
    /// A host by name or number, and a port that is not 0, to listen at.
    Address { host: String, port: u16 },
    /// A host and port to connect to.
    Endpoint { host: HostPattern, port: PortPattern },
    /// A host whose addresses are looked up.
    Host(HostPattern),
    /// A host function registered under this name.
    Function(String),
}

/// Which host names a grant is about: `*`, `*.SUFFIX`, or one name or address. Compared without case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern(String);

/// Which ports a grant is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortPattern {
    Any,
    One(u16),
}

impl HostPattern {
    /// A pattern from its text; `None` if it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let address = text.starts_with('[')
            && text.ends_with(']')
            && text[1..text.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let named = !name.is_empty() && name.chars().all(plain) && !name.starts_with('.') && name.len() <= 253;
        (text == "*" || address || named).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a host name or address that a guest wrote is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match self.0.strip_prefix('*') {
            Some("") => true,
            // A suffix stands for names below it, and never for an address.
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.0 || Some(host.as_str()) == self.0.strip_prefix('[').and_then(|h| h.strip_suffix(']')),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self == other
            || match (self.0.strip_prefix('*'), other.0.strip_prefix('*')) {
                (Some(""), _) => true,
                (Some(own), Some(other)) => other.ends_with(own),
                (Some(_), None) => self.matches(&other.0),
                (None, _) => false,
            }
    }
}

impl PortPattern {
    /// Whether a port is meant.
    #[must_use]
    pub fn matches(self, port: u16) -> bool {
        self.covers(Self::One(port))
    }

    fn covers(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

impl Resource {
    /// Whether this takes in all of `other`. A variable without a value covers itself only.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory { host: own, .. }, Self::Directory { host, .. }) => below(own, host).is_some(),
            (Self::Endpoint { host: own, port: own_port }, Self::Endpoint { host, port }) => {
                own.covers(host) && own_port.covers(*port)
            }
            (Self::Host(own), Self::Host(host)) => own.covers(host),
            (Self::Variable { name: own, value }, Self::Variable { name, value: other }) => {
                own == name && (other.is_none() || value == other)
            }
            _ => self == other,
        }
    }
}

/// The rest of `path` below `root`, if it lies there by its components and has no `..`.
#[must_use]
pub fn below<'a>(root: &Path, path: &'a Path) -> Option<&'a Path> {
    let rest = if root == Path::new(".") && path.is_relative() { path } else { path.strip_prefix(root).ok()? };
    rest.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)).then_some(rest)
}

/// An action on a resource: a grant without its subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrantSpec {
    pub action: Action,
    pub resource: Resource,
}

impl GrantSpec {
    /// A grant of an action that has no resource.
    ///
    /// # Panics
    /// If the action needs one.
    #[must_use]
    pub fn of(action: Action) -> Self {
        assert!(action.resource_kind() == ResourceKind::Nothing, "{} needs a resource", action.name());
        Self { action, resource: Resource::Nothing }
    }

    /// A grant of a call of the host function registered as `name`.
    #[must_use]
    pub fn call(name: impl Into<String>) -> Self {
        Self { action: Action::Call, resource: Resource::Function(name.into()) }
    }

    /// A grant of reading a buffer, by its name, as a part of the guest's memory.
    pub fn map_read(name: impl Into<PathBuf>) -> Self {
        Self { action: Action::MapRead, resource: Resource::File(name.into()) }
    }

    /// A grant of reading and writing a buffer, by its name, as a part of the guest's memory.
    pub fn map_write(name: impl Into<PathBuf>) -> Self {
        Self { action: Action::MapWrite, resource: Resource::File(name.into()) }
    }

    /// Whether who holds this may do all that `other` allows.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.action.includes(other.action) && self.resource.covers(&other.resource)
    }

    /// `other` as a part of this grant: what it leaves open is as it is here.
    ///
    /// # Errors
    /// If it would allow anything that this does not.
    pub fn narrowed(&self, other: &Self) -> Result<Self, GrantSpecError> {
        if !self.covers(other) {
            return Err(GrantSpecError(format!("`{other}` is not within `{self}`; a grant only narrows")));
        }
        let resource = match (&self.resource, &other.resource) {
            (own @ Resource::Variable { .. }, Resource::Variable { .. }) => own.clone(),
            (_, narrower) => narrower.clone(),
        };
        Ok(Self { action: other.action, resource })
    }

    /// As [`FromStr`], but `none`, an explicit nothing, is accepted too.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn parse_or_none(text: &str) -> Result<Option<Self>, GrantSpecError> {
        if text == "none" { Ok(None) } else { text.parse().map(Some) }
    }
}

/// A text is not a grant, or a grant not what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantSpecError(String);

impl fmt::Display for GrantSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GrantSpecError {}

impl FromStr for GrantSpec {
    type Err = GrantSpecError;

    /// Parses `ACTION[=RESOURCE]`, or `call:FUNCTION`.
    fn from_str(text: &str) -> Result<Self, GrantSpecError> {
        let split = text.find(['=', ':']).unwrap_or(text.len());
        let (name, rest) = text.split_at(split);
        let action = Action::named(name).ok_or_else(|| unknown_action(text))?;
        let wrong = |what: &str| GrantSpecError(format!("grant `{text}`: {what}; write `{}`", action.hint()));
        if action.resource_kind() == ResourceKind::Nothing {
            return if rest.is_empty() { Ok(Self::of(action)) } else { Err(wrong("it takes no resource")) };
        }
        let separator = if action.resource_kind() == ResourceKind::Function { ':' } else { '=' };
        let argument = match rest.strip_prefix(separator) {
            Some("") | None => return Err(wrong("the resource is missing")),
            Some(argument) if argument.contains('\0') => return Err(wrong("the resource contains a NUL")),
            Some(argument) => argument,
        };
        let resource = resource(action.resource_kind(), argument).map_err(wrong)?;
        Ok(Self { action, resource })
    }
}

fn resource(kind: ResourceKind, text: &str) -> Result<Resource, &'static str> {
    let host = |text: &str| HostPattern::new(text).ok_or("it names no host");
    Ok(match kind {
        ResourceKind::Nothing => Resource::Nothing,
        ResourceKind::Variable => {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            if name.is_empty() {
                return Err("the variable's name is empty");
            }
            Resource::Variable { name: name.to_owned(), value }
        }
        ResourceKind::Directory => {
            let (host, guest) = text.split_once("::").unwrap_or((text, text));
            if host.is_empty() || guest.is_empty() {
                return Err("a directory's name is empty");
            }
            Resource::Directory { host: host.into(), guest: guest.to_owned() }
        }
        ResourceKind::File => Resource::File(text.into()),
        ResourceKind::Address => {
            let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            if host.is_empty() {
                return Err("the host is missing");
            }
            let port = port.parse().ok().filter(|&port| port != 0).ok_or("the port is no number from 1 to 65535")?;
            Resource::Address { host: host.to_owned(), port }
        }
        ResourceKind::Endpoint => {
            let (name, port) = text.rsplit_once(':').ok_or("the port is missing")?;
            let port = match port {
                "*" => PortPattern::Any,
                port => PortPattern::One(
                    port.parse().ok().filter(|&port| port != 0).ok_or("the port is not 1 to 65535 or `*`")?,
                ),
            };
            Resource::Endpoint { host: host(name)?, port }
        }
        ResourceKind::Host => Resource::Host(host(text)?),
        ResourceKind::Function => Resource::Function(text.to_owned()),
    })
}

fn unknown_action(text: &str) -> GrantSpecError {
    let known: Vec<_> = Action::ALL.iter().map(|a| a.hint()).collect();
    GrantSpecError(format!("grant `{text}`: unknown action; the actions are {}", known.join(", ")))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Resource {
    /// The part of a grant's text behind the action's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Variable { name, value: None } => write!(f, "={name}"),
            Self::Variable { name, value: Some(value) } => write!(f, "={name}={value}"),
            Self::Directory { host, guest } if host.as_os_str() == guest.as_str() => write!(f, "={guest}"),
            Self::Directory { host, guest } => write!(f, "={}::{guest}", host.display()),
            Self::File(path) => write!(f, "={}", path.display()),
            Self::Address { host, port } if host.contains(':') => write!(f, "=[{host}]:{port}"),
            Self::Address { host, port } => write!(f, "={host}:{port}"),
            Self::Endpoint { host, port: PortPattern::Any } => write!(f, "={host}:*"),
            Self::Endpoint { host, port: PortPattern::One(port) } => write!(f, "={host}:{port}"),
            Self::Host(host) => write!(f, "={host}"),
            Self::Function(name) => write!(f, ":{name}"),
        }
    }
}

impl fmt::Display for GrantSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.action.name(), self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> GrantSpec {
        text.parse().expect(text)
    }

    #[test]
    fn grants_print_as_they_parse() {
        for text in [
            "stdio",
            "stdio.out",
            "args",
            "env=A",
            "env=A=b=c",
            "clock",
            "clock.monotonic",
            "random",
            "fs.read=.",
            "fs.read=/a::/b",
            "fs.create=x",
            "fs.write=x::y",
            "map.read=a/b",
            "map.write=x",
            "net.listen=localhost:80",
            "net.listen=[::1]:65535",
            "net.connect=example.org:443",
            "net.connect=*.example.org:*",
            "net.connect=[::1]:80",
            "net.resolve=*",
            "call:log",
        ] {
            assert_eq!(spec(text).to_string(), text);
        }
        assert_eq!(spec("fs.read=d::d").to_string(), "fs.read=d");
        assert_eq!(GrantSpec::parse_or_none("none"), Ok(None));
    }

    #[test]
    fn wrong_grants_say_what_to_write() {
        for (text, expected) in [
            ("", "unknown action"),
            ("net", "unknown action"),
            ("none", "unknown action"),
            ("map.read", "resource is missing"),
            ("map.write=a\0b", "NUL"),
            ("stdio=x", "takes no resource"),
            ("env", "env=NAME[=VALUE]"),
            ("env==x", "name is empty"),
            ("fs.read", "resource is missing"),
            ("fs.read=::x", "directory's name is empty"),
            ("fs.write=a\0b", "NUL"),
            ("net.listen=localhost", "port is missing"),
            ("net.listen=:80", "host is missing"),
            ("net.listen=[::1]:0", "no number from 1"),
            ("net.listen=[::1]:65536", "no number from 1"),
            ("net.connect=example.org", "port is missing"),
            ("net.connect=example.org:0", "port is not"),
            ("net.connect=a b:1", "names no host"),
            ("net.connect=*x:1", "names no host"),
            ("net.resolve=a/b", "names no host"),
            ("call:", "resource is missing"),
        ] {
            let message = text.parse::<GrantSpec>().expect_err(text).to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_grant_only_narrows() {
        for (wide, narrow) in [
            ("stdio", "stdio.err"),
            ("clock", "clock.realtime"),
            ("fs.write=/a", "fs.read=/a/b::/x"),
            ("fs.write=/a", "fs.create=/a"),
            ("fs.read=.", "fs.read=sub"),
            ("net.connect=*:*", "net.connect=*.a.b:80"),
            ("net.connect=*.b:*", "net.connect=*.a.b:80"),
            ("net.connect=*.b:80", "net.connect=x.B:80"),
            ("env=A=1", "env=A"),
            ("call:f", "call:f"),
            ("map.write=f", "map.read=f"),
        ] {
            assert!(spec(wide).narrowed(&spec(narrow)).is_ok(), "{wide} has {narrow}");
            assert!(wide == narrow || !spec(narrow).covers(&spec(wide)) || narrow == "env=A", "{narrow} lacks {wide}");
        }
        for (wide, other) in [
            ("stdio.err", "stdio"),
            ("stdio.in", "stdio.out"),
            ("fs.read=/a", "fs.write=/a"),
            ("fs.read=/a", "fs.read=/ab"),
            ("fs.read=/a", "fs.read=/a/../b"),
            ("fs.read=.", "fs.read=.."),
            ("fs.read=.", "fs.read=/etc"),
            ("net.connect=a:80", "net.connect=a:*"),
            ("net.connect=*.a:80", "net.connect=a:80"),
            ("net.connect=*.a:80", "net.connect=xa:80"),
            ("env=A=1", "env=A=2"),
            ("env=A", "env=A=2"),
            ("call:f", "call:g"),
            ("map.read=f", "map.write=f"),
            ("map.write=f", "map.write=f/g"),
        ] {
            assert!(spec(wide).narrowed(&spec(other)).is_err(), "{wide} has not {other}");
        }
        assert_eq!(spec("env=A=1").narrowed(&spec("env=A")), Ok(spec("env=A=1")));
    }
}
