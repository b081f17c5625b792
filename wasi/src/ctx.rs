//! What one guest has of WASI: its grants and all that derives from them.
//!
//! Invariant: a fresh context holds no authority; only [`WasiCtx::attach`] adds some, and each use
//! of it re-reads the capability that was attached.

use std::env;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aura_host_abi::spec::below;
use aura_host_abi::{Action, Capability, Resource};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno as HostErrno;

use crate::beneath;
use crate::denied::{Denied, DeniedOp};
use crate::errno::{Errno, Fail};
use crate::limits::{PATH_LEN_MAX, WasiLimits};
use crate::socket;
use crate::stream::{Input, Output, Stream, Streams};
use crate::table::{Dir, Entry, FdTable, File, HandedDown, Object, Socket};
use crate::types::{Layout, Rights};

/// Why a context cannot take what it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    #[error("`{0}` is not a grant that WASI serves")]
    NotWasi(String),
    #[error("environment variable `{0}` is not set in this process; write `env={0}=VALUE`")]
    VariableNotSet(String),
    #[error("environment variable `{0}` is not Unicode; write `env={0}=VALUE`")]
    VariableNotUnicode(String),
    #[error("cannot open directory `{path}`: {error}")]
    Directory { path: PathBuf, error: std::io::Error },
    #[error("`{path}` is not a directory; grant the directory that it lies in: `{grant}`")]
    NotADirectory { path: PathBuf, grant: String },
    #[error("this kernel refuses openat2 ({0}), without which no directory can be granted; Linux 5.6 or later has it")]
    NoOpenat2(std::io::Error),
    #[error("the name of directory `{0}` is too long for a guest")]
    NameTooLong(String),
    #[error("more than {0} handles would be open")]
    TooManyHandles(usize),
    #[error("{what} take {bytes} bytes; the limit is {max}")]
    StringsTooLong { what: &'static str, bytes: usize, max: usize },
    #[error("cannot listen at {address}: {error}")]
    Listen { address: String, error: std::io::Error },
    #[error("what was passed in for `{grant}` is no socket that a guest can use: {error}")]
    Socket { grant: String, error: std::io::Error },
    #[error("{0} contains a NUL, which ends a string for the guest")]
    Nul(&'static str),
}

/// The context of WASI functions: one per guest.
///
/// ```
/// use std::sync::Arc;
/// use aura_host_abi::Capability;
/// use aura_wasi::WasiCtx;
///
/// let mut ctx = WasiCtx::new();
/// ctx.set_args(vec!["program".into(), "--help".into()])?;
/// let clock = Arc::new(Capability::new("clock".parse()?));
/// ctx.attach(Arc::clone(&clock))?;
/// clock.revoke(); // The guest is denied from here on.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct WasiCtx {
    grants: Vec<Arc<Capability>>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<Variable>,
    pub(crate) streams: Streams,
    pub(crate) fds: FdTable,
    pub(crate) limits: WasiLimits,
    pub(crate) denied: Denied,
    /// The function that is being called, for reports.
    pub(crate) current: &'static str,
    /// The interface through which it was imported.
    pub(crate) layout: Layout,
}

/// A granted environment variable.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) grant: Arc<Capability>,
}

impl WasiCtx {
    /// A context without any authority.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the limits. Handles that are open stay open.
    pub fn set_limits(&mut self, limits: WasiLimits) {
        self.limits = limits;
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &WasiLimits {
        &self.limits
    }

    /// Sets the arguments, program name first. The guest sees them only by a grant of `args`.
    ///
    /// # Errors
    /// If one contains a NUL, or together they pass [`WasiLimits::strings_bytes_max`].
    pub fn set_args(&mut self, args: Vec<String>) -> Result<(), AttachError> {
        if args.iter().any(|arg| arg.contains('\0')) {
            return Err(AttachError::Nul("an argument"));
        }
        let bytes = args.iter().map(|arg| arg.len() + 1).sum();
        self.check_strings("the arguments", bytes)?;
        self.args = args;
        Ok(())
    }

    /// Sets where standard input comes from, once it is granted.
    pub fn set_stdin(&mut self, input: Input) {
        self.streams.input = input;
        self.streams.consumed = 0;
    }

    /// Sets where standard output goes, once it is granted.
    pub fn set_stdout(&mut self, output: Output) {
        self.streams.output = output;
    }

    /// Sets where standard error goes, once it is granted.
    pub fn set_stderr(&mut self, output: Output) {
        self.streams.error = output;
    }

    /// What the guest was denied within granted functions, each once, in order; the list is bounded.
    #[must_use]
    pub fn denials(&self) -> &[DeniedOp] {
        self.denied.as_slice()
    }

    /// What the guest holds open beside granted streams and directories, in words that go before "open"; `None` if nothing. A
    /// snapshot of an instance cannot have it: instances that begin there have a context of their own.
    #[must_use]
    pub fn open_handles(&self) -> Option<String> {
        let handles: Vec<_> = self.fds.opened().map(|(number, kind)| format!("{number} ({kind})")).collect();
        match handles.as_slice() {
            [] => None,
            [one] => Some(format!("handle {one}")),
            many => Some(format!("handles {}", many.join(", "))),
        }
    }

    /// Gives the guest what `grant` stands for, for as long as it is not revoked.
    ///
    /// # Errors
    /// If the grant is not WASI's, names something this process does not have, or passes a limit.
    /// The context is then unchanged.
    #[expect(clippy::disallowed_methods, reason = "a grant names the address")]
    pub fn attach(&mut self, grant: Arc<Capability>) -> Result<(), AttachError> {
        let spec = grant.spec();
        match (spec.action, &spec.resource) {
            (Action::Stdio, Resource::Nothing) => self.attach_streams(&Stream::ALL, &grant)?,
            (Action::StdioIn, Resource::Nothing) => self.attach_streams(&[Stream::In], &grant)?,
            (Action::StdioOut, Resource::Nothing) => self.attach_streams(&[Stream::Out], &grant)?,
            (Action::StdioErr, Resource::Nothing) => self.attach_streams(&[Stream::Err], &grant)?,
            (Action::Args | Action::Random, Resource::Nothing) => {}
            (Action::Clock | Action::ClockMonotonic | Action::ClockRealtime, Resource::Nothing) => {}
            (Action::Env, Resource::Variable { name, value }) => {
                let value = variable(name, value.as_deref())?;
                self.attach_variable(name, value, &grant)?;
            }
            (Action::FsRead | Action::FsCreate | Action::FsWrite, Resource::Directory { host, guest }) => {
                self.attach_directory(host, guest, &grant)?;
            }
            (Action::NetListen, Resource::Address { host, port }) => {
                let address = (host.as_str(), *port);
                let listener = TcpListener::bind(address)
                    .map_err(|error| AttachError::Listen { address: format!("{host}:{port}"), error })?;
                self.insert_socket(&grant, listener.into())?;
            }
            // Lent by the host, which nothing here has a part in.
            (Action::MapRead | Action::MapWrite, Resource::File(_)) => {}
            (Action::NetConnect, Resource::Endpoint { .. }) | (Action::NetResolve, Resource::Host(_)) => {}
            _ => return Err(AttachError::NotWasi(spec.to_string())),
        }
        self.grants.push(grant);
        Ok(())
    }

    /// Gives the guest a socket that the host opened, for as long as the grant of `net.listen` is not
    /// revoked; returns its descriptor. A listener is switched to not blocking, for the host's side of it too.
    ///
    /// Attach directories first: C programs look for them from 3 on and stop at the first descriptor that
    /// is something else.
    ///
    /// # Errors
    /// If the grant is of another action, this is no socket of streams or messages, or a limit is
    /// passed. The context is then unchanged.
    pub fn attach_socket(&mut self, grant: Arc<Capability>, socket: impl Into<OwnedFd>) -> Result<u32, AttachError> {
        if grant.spec().action != Action::NetListen {
            return Err(AttachError::NotWasi(grant.spec().to_string()));
        }
        let fd = self.insert_socket(&grant, socket.into())?;
        self.grants.push(grant);
        Ok(fd)
    }

    fn insert_socket(&mut self, grant: &Arc<Capability>, fd: OwnedFd) -> Result<u32, AttachError> {
        let refused = |error: HostErrno| AttachError::Socket { grant: grant.spec().to_string(), error: error.into() };
        let socket = socket::adopt(fd).map_err(refused)?;
        let max = self.limits.handles_max;
        let entry = Entry::socket(socket, Arc::clone(grant));
        self.fds.insert(entry, max).map_err(|_| AttachError::TooManyHandles(max))
    }

    fn attach_streams(&mut self, streams: &[Stream], grant: &Arc<Capability>) -> Result<(), AttachError> {
        for &stream in streams {
            let max = self.limits.handles_max;
            let entry = Entry::stream(stream, Arc::clone(grant));
            self.fds.insert_at(stream as usize, entry, max).map_err(|_| AttachError::TooManyHandles(max))?;
        }
        Ok(())
    }

    fn attach_variable(&mut self, name: &str, value: String, grant: &Arc<Capability>) -> Result<(), AttachError> {
        if name.contains('\0') || value.contains('\0') {
            return Err(AttachError::Nul("an environment variable"));
        }
        let held: usize = self.env.iter().map(Variable::guest_len).sum();
        let variable = Variable { name: name.to_owned(), value, grant: Arc::clone(grant) };
        self.check_strings("the environment variables", held + variable.guest_len())?;
        self.env.push(variable);
        Ok(())
    }

    fn attach_directory(&mut self, host: &Path, guest: &str, grant: &Arc<Capability>) -> Result<(), AttachError> {
        if guest.len() > PATH_LEN_MAX as usize {
            return Err(AttachError::NameTooLong(guest.to_owned()));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open_granted(host, flags, grant).map_err(|error| cannot_open(host, grant, error))?;
        beneath::probe(&fd).map_err(|error| AttachError::NoOpenat2(error.into()))?;
        let max = self.limits.handles_max;
        let entry = Entry::granted_dir(fd, guest.to_owned(), Arc::clone(grant));
        self.fds.insert(entry, max).map_err(|_| AttachError::TooManyHandles(max))?;
        Ok(())
    }

    fn check_strings(&self, what: &'static str, bytes: usize) -> Result<(), AttachError> {
        let max = self.limits.strings_bytes_max;
        if bytes > max { Err(AttachError::StringsTooLong { what, bytes, max }) } else { Ok(()) }
    }

    /// Grants of the network, for their owner to look through.
    pub(crate) fn net_grants(&self) -> impl Iterator<Item = &Arc<Capability>> {
        let net = [Action::NetConnect, Action::NetResolve];
        self.grants.iter().filter(move |grant| net.contains(&grant.spec().action))
    }

    /// Whether any grant of one of these actions stands.
    pub(crate) fn holds(&self, actions: &[Action]) -> bool {
        self.grants.iter().any(|grant| actions.contains(&grant.spec().action) && grant.is_live())
    }

    /// Whether a grant of this clock stands; the call then acts on it.
    pub(crate) fn acts_on_clock(&self, id: u32) -> bool {
        self.clock_grants(id).any(|grant| grant.act())
    }

    /// A grant of this clock that stands; the call does not act on it yet.
    pub(crate) fn clock_grant(&self, id: u32) -> Option<&Arc<Capability>> {
        self.clock_grants(id).find(|grant| grant.is_live())
    }

    fn clock_grants(&self, id: u32) -> impl Iterator<Item = &Arc<Capability>> {
        let part = match id {
            0 => Some(Action::ClockRealtime),
            1 => Some(Action::ClockMonotonic),
            _ => None,
        };
        let allows = move |action: Action| action == Action::Clock || Some(action) == part;
        self.grants.iter().filter(move |grant| allows(grant.spec().action))
    }

    /// As [`WasiCtx::acts_on_clock`]; if none stands, the denial is remembered.
    pub(crate) fn clock(&mut self, id: u32) -> Result<(), Errno> {
        if self.acts_on_clock(id) {
            return Ok(());
        }
        let needed = match id {
            0 => Action::ClockRealtime,
            1 => Action::ClockMonotonic,
            _ => Action::Clock,
        };
        let any = self.holds(&[Action::ClockRealtime, Action::ClockMonotonic]);
        let needed = if any { needed } else { Action::Clock };
        self.denied.add(format!("{} for a time", self.current), needed.hint().to_owned());
        Err(Errno::NOTCAPABLE)
    }

    /// The entry of a descriptor with the rights that an operation needs: the one check.
    pub(crate) fn entry(&mut self, fd: u32, needed: Rights) -> Result<&mut Entry, Errno> {
        // First of all the call acts on the grant, with which a denial is then counted.
        let acted = self.fds.entry(fd).map(|_| ());
        if acted.is_err() {
            self.note_unusable(fd);
            acted?;
        }
        self.look_at(fd, needed)?;
        self.fds.entry(fd)
    }

    /// As [`WasiCtx::entry`], but the call does not act on the grant yet.
    pub(crate) fn look_at(&mut self, fd: u32, needed: Rights) -> Result<&Entry, Errno> {
        match self.fds.peek(fd) {
            Ok(entry) if !entry.rights.contains(needed) => {
                if let Some(grant) = entry.wider_grant(needed) {
                    self.denied.add(format!("{} on descriptor {fd}", self.current), grant);
                }
                return Err(Errno::NOTCAPABLE);
            }
            Ok(_) => {}
            Err(errno) => {
                self.note_unusable(fd);
                return Err(errno);
            }
        }
        self.fds.peek(fd)
    }

    /// A file that is not a directory, with these rights.
    pub(crate) fn file(&mut self, fd: u32, needed: Rights) -> Result<&File, Fail> {
        match &self.entry(fd, Rights::NONE)?.object {
            Object::Stream(_) | Object::Socket(_) => return Err(Errno::SPIPE.into()),
            Object::Dir(_) => return Err(Errno::ISDIR.into()),
            Object::File(_) => {}
        }
        match &self.entry(fd, needed)?.object {
            Object::File(file) => Ok(file),
            _ => Err(Errno::BADF.into()),
        }
    }

    /// A socket, with these rights.
    pub(crate) fn socket(&mut self, fd: u32, needed: Rights) -> Result<&Socket, Fail> {
        if !matches!(self.entry(fd, Rights::NONE)?.object, Object::Socket(_)) {
            return Err(Errno::NOTSOCK.into());
        }
        match &self.entry(fd, needed)?.object {
            Object::Socket(socket) => Ok(socket),
            _ => Err(Errno::BADF.into()),
        }
    }

    /// A directory and what it hands down, for an operation on `path` below it.
    pub(crate) fn dir(&mut self, fd: u32, needed: Rights, path: &str) -> Result<(&mut Dir, HandedDown), Fail> {
        let entry = self.entry(fd, Rights::NONE)?;
        if !matches!(entry.object, Object::Dir(_)) {
            return Err(Errno::NOTDIR.into());
        }
        if !entry.rights.contains(needed) {
            if let Some(grant) = entry.wider_grant(needed) {
                self.denied.add(format!("{} of {path:?}", self.current), grant);
            }
            return Err(Errno::NOTCAPABLE.into());
        }
        let entry = self.fds.entry(fd)?;
        let handed = entry.hands_down();
        match &mut entry.object {
            Object::Dir(dir) => Ok((dir, handed)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// Remembers that a path led out of its directory, if that is what went wrong.
    pub(crate) fn note_escape(&mut self, errno: Errno, path: &str) -> Fail {
        if errno == Errno::NOTCAPABLE {
            let asked = format!("{} of {path:?}, outside the granted directory", self.current);
            self.denied.add(asked, Action::FsRead.hint().to_owned());
        }
        errno.into()
    }

    /// Remembers why a descriptor cannot be used, where a grant would help.
    fn note_unusable(&mut self, fd: u32) {
        match self.fds.record(fd) {
            Some(entry) => {
                let asked = format!("{} on descriptor {fd}, whose grant was revoked", self.current);
                self.denied.add(asked, entry.grant.spec().to_string());
            }
            None if fd < 3 && !self.holds(&[Action::Stdio]) => {
                let part = [Action::StdioIn, Action::StdioOut, Action::StdioErr];
                let needed = if self.holds(&part) { part[fd as usize] } else { Action::Stdio };
                let asked = format!("{} on standard descriptor {fd}", self.current);
                self.denied.add(asked, needed.hint().to_owned());
            }
            None => {}
        }
    }
}

impl Variable {
    /// Bytes of `NAME=VALUE` and its terminator.
    pub(crate) fn guest_len(&self) -> usize {
        self.name.len() + self.value.len() + 2
    }
}

#[expect(clippy::disallowed_methods, reason = "a grant names the variable")]
fn variable(name: &str, value: Option<&str>) -> Result<String, AttachError> {
    match value {
        Some(value) => Ok(value.to_owned()),
        None => env::var(name).map_err(|error| match error {
            env::VarError::NotPresent => AttachError::VariableNotSet(name.to_owned()),
            env::VarError::NotUnicode(_) => AttachError::VariableNotUnicode(name.to_owned()),
        }),
    }
}

/// Opens a granted directory. One that was narrowed is opened beneath what it was narrowed from, so
/// that a symbolic link on the way does not make it wider.
#[expect(clippy::disallowed_methods, reason = "a grant names the directory")]
fn open_granted(host: &Path, flags: OFlags, grant: &Capability) -> Result<OwnedFd, HostErrno> {
    let mut widest = None;
    let mut next = grant.parent();
    while let Some(parent) = next {
        widest = Some(parent);
        next = parent.parent();
    }
    let root = widest.and_then(|widest| match &widest.spec().resource {
        Resource::Directory { host: root, .. } => Some((root, below(root, host)?)),
        _ => None,
    });
    match root {
        Some((root, rest)) if !rest.as_os_str().is_empty() => {
            let root = rustix::fs::open(root, flags, Mode::empty())?;
            rustix::fs::openat2(root, rest, flags, Mode::empty(), beneath::RESOLVE)
        }
        _ => rustix::fs::open(host, flags, Mode::empty()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a grant names the directory")]
fn cannot_open(host: &Path, grant: &Capability, error: HostErrno) -> AttachError {
    let path = host.to_owned();
    if error != HostErrno::NOTDIR || !host.exists() {
        return AttachError::Directory { path, error: error.into() };
    }
    let parent = host.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let grant = format!("{}={}", grant.spec().action.name(), parent.display());
    AttachError::NotADirectory { path, grant }
}
