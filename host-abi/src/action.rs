//! The actions that can be granted: one table.
//!
//! The grammar of `--grant`, the help of the command, the schema of policies, the messages of
//! denials and `aura inspect` are all read from it; a new right is a new row. An action may be a
//! narrower form of others: whoever holds the wider one may hand the narrower one on, and a
//! function that the wider one opens is opened by the narrower one if its own row says so.

// Row: Name = "name", [wider actions], resource, handles, "how a grant is written", "what it allows";
// `Handle` says that the body of a function finds out which grant it acts on (that of a descriptor, of one of several
// clocks), `Direct` that calling the function is the use.
macro_rules! actions {
    ($($name:ident = $text:literal, [$($wider:ident)*], $resource:ident, $use:ident, $hint:literal, $doc:literal;)*) => {
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

            /// The actions of which this is a narrower form.
            #[must_use]
            pub const fn wider(self) -> &'static [Self] {
                match self { $(Self::$name => &[$(Self::$wider),*]),* }
            }

            /// What kind of resource the action is on.
            #[must_use]
            pub const fn resource_kind(self) -> ResourceKind {
                match self { $(Self::$name => ResourceKind::$resource),* }
            }

            /// How the right is used.
            #[must_use]
            pub const fn usage(self) -> Usage {
                match self { $(Self::$name => Usage::$use),* }
            }

            /// The shape of a grant of this action, for help texts and denials.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint),* }
            }

            /// What the action allows, to be read after "it allows a program to".
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $doc),* }
            }
        }
    };
}

actions! {
    Stdio = "stdio", [], Nothing, Handle, "stdio", "read standard input, write standard output and standard error";
    StdioIn = "stdio.in", [Stdio], Nothing, Handle, "stdio.in", "read standard input";
    StdioOut = "stdio.out", [Stdio], Nothing, Handle, "stdio.out", "write standard output";
    StdioErr = "stdio.err", [Stdio], Nothing, Handle, "stdio.err", "write standard error";
    Args = "args", [], Nothing, Direct, "args", "see the command's arguments";
    Env = "env", [], Variable, Direct, "env=NAME[=VALUE]", "see one environment variable";
    Clock = "clock", [], Nothing, Handle, "clock", "read the clocks and wait for a time";
    ClockMonotonic = "clock.monotonic", [Clock], Nothing, Handle, "clock.monotonic", "measure spans of time and wait for one";
    ClockRealtime = "clock.realtime", [Clock], Nothing, Handle, "clock.realtime", "see date and time and wait for one";
    Random = "random", [], Nothing, Direct, "random", "draw random bytes";
    FsRead = "fs.read", [FsCreate FsWrite], Directory, Handle, "fs.read=HOST[::GUEST]", "list and read what lies below one directory";
    FsCreate = "fs.create", [FsWrite], Directory, Handle, "fs.create=HOST[::GUEST]", "read what lies below one directory, and add new files and directories to it";
    FsWrite = "fs.write", [], Directory, Handle, "fs.write=HOST[::GUEST]", "read, create, change and remove what lies below one directory";
    MapRead = "map.read", [MapWrite], File, Handle, "map.read=FILE", "read one file, or buffer of the host, as a part of its memory";
    MapWrite = "map.write", [], File, Handle, "map.write=FILE", "read and write one file, or buffer of the host, as a part of its memory";
    NetListen = "net.listen", [], Address, Handle, "net.listen=HOST:PORT", "accept connections at one address of this host and exchange bytes over them";
    NetConnect = "net.connect", [], Endpoint, Handle, "net.connect=HOST:PORT", "open TCP connections to one host and port";
    NetResolve = "net.resolve", [], Host, Handle, "net.resolve=HOST", "look up the addresses of one host name";
    Call = "call", [], Function, Direct, "call:FUNCTION", "call one function of the host";
}

/// What follows an action's name in the grammar of grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Nothing.
    Nothing,
    /// `=NAME[=VALUE]`
    Variable,
    /// `=HOST[::GUEST]`
    Directory,
    /// `=FILE`
    File,
    /// `=HOST:PORT`
    Address,
    /// `=HOST:PORT`; HOST may be `*` or `*.SUFFIX`, PORT may be `*`
    Endpoint,
    /// `=HOST`; HOST may be `*` or `*.SUFFIX`
    Host,
    /// `:NAME`
    Function,
}

/// How a right is used, which says where its uses are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Calling a function that the right opens is the use.
    Direct,
    /// The body of the function finds the grant that it acts on ([`crate::Capability::act`]), mostly that of a handle.
    Handle,
}

impl Action {
    /// The action with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }

    /// Whether who holds this action may do what `other` allows, on the same resource.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == other || other.wider().contains(&self)
    }

    /// How grants of any one of these actions are written: the few to tell somebody who needs one. Parts of a listed
    /// action, and what lies between two listed ones, are left out.
    #[must_use]
    pub fn hints(actions: &[Self]) -> Vec<&'static str> {
        let listed = |other: &&Self, wider: bool, action: Self| {
            **other != action && if wider { other.includes(action) } else { action.includes(**other) }
        };
        let told = |action: &&Self| {
            let wider: Vec<_> = actions.iter().filter(|other| listed(other, true, **action)).collect();
            let part = wider.iter().any(|wider| action.name().starts_with(wider.name()));
            let between = !wider.is_empty() && actions.iter().any(|other| listed(&other, false, **action));
            !part && !between
        };
        actions.iter().filter(told).map(|action| action.hint()).collect()
    }

    /// The whole table as aligned lines of text, for help.
    #[must_use]
    pub fn table() -> String {
        let width = Self::ALL.iter().map(|action| action.hint().len()).max().unwrap_or(0);
        let row = |action: &Self| format!("  {:width$}  {}\n", action.hint(), action.describe());
        Self::ALL.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_begin_their_hints() {
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(*action));
            assert!(action.hint().starts_with(action.name()), "{action:?}");
        }
    }

    #[test]
    fn hints_are_the_few_that_help() {
        use Action::{Clock, ClockMonotonic, ClockRealtime, FsCreate, FsRead, FsWrite};
        assert_eq!(Action::hints(&[Clock, ClockMonotonic, ClockRealtime]), ["clock"]);
        assert_eq!(Action::hints(&[FsRead, FsCreate, FsWrite]), [FsRead.hint(), FsWrite.hint()]);
        assert_eq!(Action::hints(&[FsCreate, FsWrite]), [FsCreate.hint(), FsWrite.hint()]);
    }

    #[test]
    fn wider_and_narrower_is_an_order() {
        for &a in Action::ALL {
            for &b in Action::ALL {
                assert!(a == b || !(a.includes(b) && b.includes(a)), "{a:?} {b:?}");
                for &c in Action::ALL {
                    assert!(!(a.includes(b) && b.includes(c)) || a.includes(c), "{a:?} {b:?} {c:?}");
                }
                assert!(!a.includes(b) || a.resource_kind() == b.resource_kind(), "{a:?} {b:?}");
            }
        }
    }
}
