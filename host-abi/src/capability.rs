//! What may be granted, and the slot that a grant is.
//!
//! A grant is a point with three coordinates: *subject* (a store or an instance, kept by the
//! runtime), [`Action`] and [`Resource`]. Granting makes a [`Capability`]; every use re-reads its
//! state, so revoking is one store that covers function references the guest kept, tables it
//! filled and everything derived. The table of actions below is the only list: the grammar of
//! `--grant`, the messages of denials and `aura inspect` come from it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

macro_rules! actions {
    ($($name:ident = $text:literal, $resource:ident, $hint:literal, $doc:literal;)*) => {
        /// A right that can be granted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $(#[doc = $doc] $name),* }

        impl Action {
            /// All actions in table order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name in the grammar of grants.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// What kind of resource the action is on.
            #[must_use]
            pub const fn resource_kind(self) -> ResourceKind {
                match self { $(Self::$name => ResourceKind::$resource),* }
            }

            /// The shape of a grant of this action, for help texts and denials.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint),* }
            }

            /// One sentence on what the action allows.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $doc),* }
            }
        }
    };
}

actions! {
    Stdio = "stdio", Nothing, "stdio", "read standard input, write standard output and standard error";
    Args = "args", Nothing, "args", "see the command's arguments";
    Env = "env", Variable, "env=NAME[=VALUE]", "see one environment variable";
    Clock = "clock", Nothing, "clock", "read the clocks and wait for a time";
    Random = "random", Nothing, "random", "draw random bytes";
    FsRead = "fs.read", Directory, "fs.read=HOST[::GUEST]", "list and read what lies below one directory";
    FsWrite = "fs.write", Directory, "fs.write=HOST[::GUEST]", "read, create, change and remove what lies below one directory";
    NetListen = "net.listen", Address, "net.listen=HOST:PORT", "accept connections at one address of this host and exchange bytes over them";
    Call = "call", Function, "call:FUNCTION", "call one function of the host";
}

/// What follows an action's name in the grammar of grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    Nothing,
    /// `=NAME[=VALUE]`
    Variable,
    /// `=HOST[::GUEST]`
    Directory,
    /// `=HOST:PORT`
    Address,
    /// `:NAME`
    Function,
}

/// What a granted action applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The action has no resource of its own.
    Nothing,
    /// An environment variable; without a value, the host's own is taken when the grant is made.
    Variable { name: String, value: Option<String> },
    /// A host directory under the name the guest sees.
    Directory { host: PathBuf, guest: String },
    /// A host by name or number, and a port that is not 0.
    Address { host: String, port: u16 },
    /// A host function registered under this name.
    Function(String),
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
}

/// A text is not a grant.
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
        let action = Action::ALL.iter().copied().find(|a| a.name() == name).ok_or_else(|| unknown_action(text))?;
        let wrong = |what: &str| GrantSpecError(format!("grant `{text}`: {what}; write `{}`", action.hint()));
        let argument = |separator: char| match rest.strip_prefix(separator) {
            Some("") | None => Err(wrong("the resource is missing")),
            Some(argument) if argument.contains('\0') => Err(wrong("the resource contains a NUL")),
            Some(argument) => Ok(argument),
        };
        let resource = match action.resource_kind() {
            ResourceKind::Nothing if rest.is_empty() => Resource::Nothing,
            ResourceKind::Nothing => return Err(wrong("it takes no resource")),
            ResourceKind::Variable => {
                let argument = argument('=')?;
                let (name, value) = match argument.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (argument, None),
                };
                if name.is_empty() {
                    return Err(wrong("the variable's name is empty"));
                }
                Resource::Variable { name: name.to_owned(), value }
            }
            ResourceKind::Directory => {
                let argument = argument('=')?;
                let (host, guest) = argument.split_once("::").unwrap_or((argument, argument));
                if host.is_empty() || guest.is_empty() {
                    return Err(wrong("a directory's name is empty"));
                }
                Resource::Directory { host: host.into(), guest: guest.to_owned() }
            }
            ResourceKind::Address => {
                let (host, port) = argument('=')?.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                if host.is_empty() {
                    return Err(wrong("the host is missing"));
                }
                let port = port.parse().ok().filter(|&port| port != 0);
                let port = port.ok_or_else(|| wrong("the port is no number from 1 to 65535"))?;
                Resource::Address { host: host.to_owned(), port }
            }
            ResourceKind::Function => Resource::Function(argument(':')?.to_owned()),
        };
        Ok(Self { action, resource })
    }
}

fn unknown_action(text: &str) -> GrantSpecError {
    let known: Vec<_> = Action::ALL.iter().map(|a| a.hint()).collect();
    GrantSpecError(format!("grant `{text}`: unknown action; the actions are {}", known.join(", ")))
}

impl fmt::Display for GrantSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action.name())?;
        match &self.resource {
            Resource::Nothing => Ok(()),
            Resource::Variable { name, value: None } => write!(f, "={name}"),
            Resource::Variable { name, value: Some(value) } => write!(f, "={name}={value}"),
            Resource::Directory { host, guest } if host.as_os_str() == guest.as_str() => write!(f, "={guest}"),
            Resource::Directory { host, guest } => write!(f, "={}::{guest}", host.display()),
            Resource::Address { host, port } if host.contains(':') => write!(f, "=[{host}]:{port}"),
            Resource::Address { host, port } => write!(f, "={host}:{port}"),
            Resource::Function(name) => write!(f, ":{name}"),
        }
    }
}

const LIVE: u32 = 1;
const REVOKED: u32 = 2;

/// The slot of one grant. Shared by the grant's handle, the import vector and everything derived from it.
#[derive(Debug)]
pub struct Capability {
    state: AtomicU32,
    uses: AtomicU64,
    denials: AtomicU64,
    spec: GrantSpec,
}

impl Capability {
    /// A live capability.
    #[must_use]
    pub fn new(spec: GrantSpec) -> Self {
        Self { state: AtomicU32::new(LIVE), uses: AtomicU64::new(0), denials: AtomicU64::new(0), spec }
    }

    /// What was granted.
    #[must_use]
    pub fn spec(&self) -> &GrantSpec {
        &self.spec
    }

    /// Re-reads the state: whether the grant still stands. Counts nothing.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state.load(Ordering::Acquire) == LIVE
    }

    /// Re-reads the state and counts the use or the denial.
    #[must_use]
    pub fn use_once(&self) -> bool {
        let live = self.is_live();
        let counter = if live { &self.uses } else { &self.denials };
        counter.fetch_add(1, Ordering::Relaxed);
        live
    }

    /// Takes the grant back. Uses that begin after this returns are denied.
    pub fn revoke(&self) {
        self.state.store(REVOKED, Ordering::Release);
    }

    /// How often the capability was used.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// How often its use was denied after revocation.
    #[must_use]
    pub fn denials(&self) -> u64 {
        self.denials.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_print_as_they_parse() {
        for text in [
            "stdio",
            "args",
            "env=A",
            "env=A=b=c",
            "clock",
            "random",
            "fs.read=.",
            "fs.read=/a::/b",
            "fs.write=x::y",
            "net.listen=localhost:80",
            "net.listen=[::1]:65535",
            "call:log",
        ] {
            assert_eq!(text.parse::<GrantSpec>().expect(text).to_string(), text);
        }
        assert_eq!("fs.read=d::d".parse::<GrantSpec>().expect("same").to_string(), "fs.read=d");
    }

    #[test]
    fn wrong_grants_say_what_to_write() {
        for (text, expected) in [
            ("", "unknown action"),
            ("net", "unknown action"),
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
            ("call:", "resource is missing"),
        ] {
            let message = text.parse::<GrantSpec>().expect_err(text).to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_revoked_capability_stays_revoked_and_counts() {
        let capability = Capability::new(GrantSpec::of(Action::Clock));
        assert!(capability.use_once());
        capability.revoke();
        assert!(!capability.use_once() && !capability.use_once());
        assert_eq!((capability.uses(), capability.denials()), (1, 2));
    }
}
