//! A policy as a value, and how it becomes true of a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aura_runtime::{Config, GrantSpec, Resource, Store, StoreLimits, Terms};
use aura_wasi::WasiLimits;

use crate::hash::Digest;
use crate::units::{show_bytes, show_duration};

/// What a program may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The modules it is for; all if none are named.
    pub subjects: Vec<Subject>,
    /// What they may do.
    pub grants: Vec<PolicyGrant>,
    /// What they may take.
    pub limits: Limits,
}

/// The module that something is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// By the name of its file, with or without the extension.
    Name(String),
    /// By its content in the binary format.
    Content(Digest),
}

/// One grant of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyGrant {
    /// The right and on what.
    pub spec: GrantSpec,
    /// How often it may be used.
    pub calls: Option<u64>,
    /// How many bytes it may move.
    pub bytes: Option<u64>,
    /// When it ends.
    pub until: Option<Until>,
    /// The module it is for, if not for all of the policy's.
    pub subject: Option<Subject>,
}

/// When a grant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So long after the program was started.
    After(Duration),
    /// At this time, in seconds since 1970.
    At(i64),
}

macro_rules! limits {
    ($($name:ident: $kind:ident, $doc:literal;)*) => {
        /// What a program may take; what is not set is as if there were no policy.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $doc] pub $name: Option<limits!(@type $kind)>,)*
        }

        impl Limits {
            /// The names of all limits, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// The tighter of both in each respect.
            #[must_use]
            pub fn tighter(self, other: Self) -> Self {
                Self { $($name: self.$name.into_iter().chain(other.$name).min(),)* }
            }

            /// Name and text of each limit that is set.
            #[must_use]
            pub fn set(&self) -> Vec<(&'static str, String)> {
                let set = self.rows().into_iter().filter(|(_, order, _)| *order != u128::MAX);
                set.map(|(name, _, text)| (name, text)).collect()
            }

            /// Name, order and text of each limit; the order of what is not set is the greatest.
            pub(crate) fn rows(&self) -> Vec<(&'static str, u128, String)> {
                vec![$((
                    stringify!($name),
                    self.$name.map_or(u128::MAX, |value| limits!(@order $kind, value)),
                    self.$name.map_or_else(|| "no limit".to_owned(), |value| limits!(@text $kind, value)),
                )),*]
            }
        }
    };
    (@type Duration) => { Duration };
    (@type $kind:ident) => { u64 };
    (@order Duration, $value:ident) => { $value.as_nanos() };
    (@order $kind:ident, $value:ident) => { u128::from($value) };
    (@text Duration, $value:ident) => { show_duration($value) };
    (@text Bytes, $value:ident) => { show_bytes($value) };
    (@text Number, $value:ident) => { $value.to_string() };
}

limits! {
    memory: Bytes, "Bytes of linear memory, together.";
    tables: Number, "Elements of tables, together.";
    instances: Number, "Instances.";
    stack: Bytes, "Bytes of stack, 64 KiB to 1 GiB.";
    fuel: Number, "Operators to run, about.";
    timeout: Duration, "Time from the start of the program to its end.";
    handles: Number, "Descriptors open at a time.";
    call_bytes: Bytes, "Bytes that one call moves.";
    output: Bytes, "Bytes written to standard output and standard error, together.";
}

impl Limits {
    /// Sets up an engine for them.
    pub fn configure(&self, config: &mut Config) {
        config.consume_fuel(self.fuel.is_some());
        if let Some(stack) = self.stack {
            config.max_wasm_stack(usize::try_from(stack).unwrap_or(usize::MAX));
        }
    }

    /// Bounds a store, except for the time, which [`Limits::start`] begins to count.
    ///
    /// # Errors
    /// If fuel is limited and the store's engine was not set up for it.
    pub fn apply<T>(&self, store: &mut Store<T>) -> aura_runtime::Result<()> {
        let default = StoreLimits::default();
        store.set_limits(StoreLimits {
            memory_bytes: self.memory.unwrap_or(default.memory_bytes),
            table_elements: self.tables.unwrap_or(default.table_elements),
            instances: self.instances.map_or(default.instances, |n| usize::try_from(n).unwrap_or(usize::MAX)),
            ..default
        });
        self.fuel.map_or(Ok(()), |fuel| store.set_fuel(fuel))
    }

    /// The bounds of WASI's functions.
    #[must_use]
    pub fn wasi(&self) -> WasiLimits {
        let default = WasiLimits::default();
        WasiLimits {
            handles_max: self.handles.map_or(default.handles_max, |n| usize::try_from(n).unwrap_or(usize::MAX)),
            call_bytes_max: self.call_bytes.unwrap_or(default.call_bytes_max),
            output_bytes_max: self.output.unwrap_or(default.output_bytes_max),
            ..default
        }
    }

    /// Starts the clock of a store.
    pub fn start<T>(&self, store: &mut Store<T>) {
        if let Some(timeout) = self.timeout {
            store.set_deadline(timeout);
        }
    }
}

impl Subject {
    /// Whether a module is meant.
    #[must_use]
    pub fn is(&self, file_name: &str, content: &Digest) -> bool {
        match self {
            Self::Name(name) => {
                name == file_name || Path::new(file_name).file_stem().is_some_and(|stem| stem == name.as_str())
            }
            Self::Content(digest) => digest == content,
        }
    }
}

impl PolicyGrant {
    /// A grant without bounds.
    #[must_use]
    pub fn new(spec: GrantSpec) -> Self {
        Self { spec, calls: None, bytes: None, until: None, subject: None }
    }

    /// Its bounds, with times counted from now.
    ///
    /// # Errors
    /// If its time is over already.
    #[expect(clippy::disallowed_methods, reason = "a policy names times")]
    pub fn terms(&self) -> Result<Terms, String> {
        let until = match self.until {
            None => None,
            Some(Until::After(duration)) => Instant::now().checked_add(duration),
            Some(Until::At(seconds)) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let left = u64::try_from(seconds).ok().and_then(|at| Duration::from_secs(at).checked_sub(now));
                let left = left.ok_or("its time is over")?;
                Instant::now().checked_add(left)
            }
        };
        Ok(Terms { calls: self.calls, bytes: self.bytes, until })
    }

    /// Whether this allows all that `other` does, bounds included.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let most = |own: Option<u64>, other: Option<u64>| own.is_none_or(|own| other.is_some_and(|other| other <= own));
        let lasts = match (self.until, other.until) {
            (None, _) => true,
            (Some(Until::After(own)), Some(Until::After(other))) => other <= own,
            (Some(Until::At(own)), Some(Until::At(other))) => other <= own,
            _ => false,
        };
        let same_name = match (&self.spec.resource, &other.spec.resource) {
            (Resource::Directory { host, guest }, Resource::Directory { host: other, guest: name }) => {
                guest == name || host != other
            }
            _ => true,
        };
        (self.subject.is_none() || self.subject == other.subject)
            && self.spec.covers(&other.spec)
            && same_name
            && most(self.calls, other.calls)
            && most(self.bytes, other.bytes)
            && lasts
    }
}

impl Policy {
    /// Whether the policy is for a module; if so, what it grants to it.
    #[must_use]
    pub fn grants_for(&self, file_name: &str, content: &Digest) -> Option<Vec<&PolicyGrant>> {
        let meant = self.subjects.is_empty() || self.subjects.iter().any(|subject| subject.is(file_name, content));
        let for_it = |grant: &&PolicyGrant| grant.subject.as_ref().is_none_or(|subject| subject.is(file_name, content));
        meant.then(|| self.grants.iter().filter(for_it).collect())
    }

    /// Makes relative host paths relative to `folder`.
    pub(crate) fn below(&mut self, folder: &Path) {
        for grant in &mut self.grants {
            if let Resource::Directory { host, .. } | Resource::File(host) = &mut grant.spec.resource
                && host.is_relative()
            {
                *host = joined(folder, host);
            }
        }
    }
}

/// `folder/path` without needless dots, so that it reads well and compares by components; as the system knows it if it
/// has a `..` and exists.
#[allow(clippy::disallowed_methods, reason = "the policy's author named the directory")]
fn joined(folder: &Path, path: &Path) -> PathBuf {
    let joined = plainly_joined(folder, path);
    let climbs = joined.components().any(|part| matches!(part, std::path::Component::ParentDir));
    if climbs { joined.canonicalize().unwrap_or(joined) } else { joined }
}

fn plainly_joined(folder: &Path, path: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() {
        return path.to_owned();
    }
    let mut joined = folder.to_owned();
    joined.extend(path.components().filter(|part| !matches!(part, std::path::Component::CurDir)));
    joined
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Content(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => write!(f, "{} after the start", show_duration(*duration)),
            Self::At(seconds) => f.write_str(&crate::schema::show_time(*seconds)),
        }
    }
}

impl fmt::Display for PolicyGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.spec)?;
        let mut bounds = Vec::new();
        bounds.extend(self.calls.map(|calls| format!("at most {calls} calls")));
        bounds.extend(self.bytes.map(|bytes| format!("at most {}", show_bytes(bytes))));
        bounds.extend(self.until.map(|until| format!("until {until}")));
        bounds.extend(self.subject.as_ref().map(|subject| format!("for {subject} only")));
        if bounds.is_empty() { Ok(()) } else { write!(f, " ({})", bounds.join(", ")) }
    }
}
