//! The descriptor table: what a guest's numbers stand for, and on whose authority.
//!
//! Invariant: every entry keeps the capability it came from and [`FdTable::entry`], the only way to
//! one, re-reads it. A file opened through a directory therefore dies with the directory's grant.
//! Rights are a function of grant, kind of object and mode of opening ([`GRANTED`]), further narrowed to
//! what the directory or listener that an entry came from hands down. A guest can only take some
//! away ([`Entry::narrow`]). Numbers 0 to 2 are for granted streams only: without them, output that a
//! program sends to 1 never lands in a file that it opened.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use aura_host_abi::{Action, Capability, GrantSpec, HostCall};

use crate::errno::Errno;
use crate::stream::{Stream, Waiter};
use crate::types::{FdFlags, Rights};

/// What a descriptor stands for.
#[derive(Debug)]
pub(crate) enum Object {
    Stream(Stream),
    Dir(Dir),
    File(File),
    Socket(Socket),
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Where lookups start.
    pub(crate) fd: OwnedFd,
    /// The cursor of `fd_readdir`, opened when first needed.
    pub(crate) reader: Option<OwnedFd>,
    /// The name under which the guest finds it, for granted directories.
    pub(crate) preopen: Option<String>,
}

/// An open file that is not a directory.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) fd: OwnedFd,
    /// Reading and writing it never waits.
    pub(crate) regular: bool,
}

/// A socket that the host passed in, or a connection that came over one.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: SocketKind,
}

/// What a socket is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    Listener,
    /// A stream of bytes.
    Stream,
    /// Messages that are received whole or cut off.
    Datagram,
}

/// What an entry passes on to what is opened through it.
#[derive(Clone, Debug)]
pub(crate) struct HandedDown {
    grant: Arc<Capability>,
    rights: Rights,
}

impl HandedDown {
    /// Whether files may be opened for writing.
    pub(crate) fn writing(&self) -> bool {
        self.rights.contains(Rights::FD_WRITE)
    }
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) object: Object,
    pub(crate) grant: Arc<Capability>,
    pub(crate) rights: Rights,
    pub(crate) inheriting: Rights,
    pub(crate) flags: FdFlags,
}

/// What a file handle may do in any mode, as far as its grant goes.
const FILE: Rights = Rights::FD_SEEK
    .with(Rights::FD_TELL)
    .with(Rights::FD_FDSTAT_SET_FLAGS)
    .with(Rights::FD_SYNC)
    .with(Rights::FD_ADVISE)
    .with(Rights::FD_FILESTAT_GET)
    .with(Rights::FD_FILESTAT_SET_TIMES)
    .with(Rights::POLL_FD_READWRITE);

/// What asks to write. C programs mask their wish with what the directory hands down, and of a
/// read-only one only `FD_DATASYNC` survives.
pub(crate) const WISH_TO_WRITE: Rights = Rights::FD_WRITE.with(Rights::FD_DATASYNC).with(Rights::FD_ALLOCATE);

/// What opening for writing adds. `FD_FILESTAT_SET_SIZE` is no wish: Go asks for it to read, too.
const WRITING: Rights = WISH_TO_WRITE.with(Rights::FD_FILESTAT_SET_SIZE);

const STREAM: Rights = Rights::FD_FDSTAT_SET_FLAGS.with(Rights::FD_FILESTAT_GET).with(Rights::POLL_FD_READWRITE);

const DIR_READ: Rights = Rights::PATH_OPEN
    .with(Rights::FD_READDIR)
    .with(Rights::PATH_READLINK)
    .with(Rights::PATH_FILESTAT_GET)
    .with(Rights::FD_FILESTAT_GET)
    .with(Rights::FD_FDSTAT_SET_FLAGS);

const DIR_WRITE: Rights = DIR_READ
    .with(Rights::PATH_CREATE_DIRECTORY)
    .with(Rights::PATH_CREATE_FILE)
    .with(Rights::PATH_LINK_SOURCE)
    .with(Rights::PATH_LINK_TARGET)
    .with(Rights::PATH_SYMLINK)
    .with(Rights::PATH_RENAME_SOURCE)
    .with(Rights::PATH_RENAME_TARGET)
    .with(Rights::PATH_FILESTAT_SET_SIZE)
    .with(Rights::PATH_FILESTAT_SET_TIMES)
    .with(Rights::FD_FILESTAT_SET_TIMES)
    .with(Rights::FD_SYNC)
    .with(Rights::PATH_REMOVE_DIRECTORY)
    .with(Rights::PATH_UNLINK_FILE);

/// What any socket may do. A listener is read from only in the sense of waiting for connections.
const SOCKET: Rights = STREAM.with(Rights::FD_READ).with(Rights::SOCK_SHUTDOWN);
const LISTENER: Rights = SOCKET.with(Rights::SOCK_ACCEPT);
const CONNECTION: Rights = SOCKET.with(Rights::FD_WRITE);

const FILE_READ: Rights = FILE.without(Rights::FD_FILESTAT_SET_TIMES).with(Rights::FD_READ);
const FILE_WRITE: Rights = FILE.with(Rights::FD_READ).with(WRITING);

/// Of a directory that is only added to. That what is opened for writing is new, `path_open` sees to.
const DIR_CREATE: Rights = DIR_READ.with(Rights::PATH_CREATE_DIRECTORY).with(Rights::PATH_CREATE_FILE);

/// One row per grant of files: rights of its directories, and what they hand down.
const GRANTED: [(Action, Rights, Rights); 3] = [
    (Action::FsRead, DIR_READ, DIR_READ.with(FILE_READ).with(Rights::FD_DATASYNC)),
    (Action::FsCreate, DIR_CREATE, DIR_CREATE.with(FILE_WRITE)),
    (Action::FsWrite, DIR_WRITE, DIR_WRITE.with(FILE_WRITE)),
];

fn only_adds(grant: &Capability) -> bool {
    grant.spec().action == Action::FsCreate
}

fn granted(grant: &Capability) -> (Rights, Rights) {
    let action = grant.spec().action;
    GRANTED
        .iter()
        .find(|row| row.0 == action)
        .map_or((Rights::NONE, Rights::NONE), |&(_, base, inheriting)| (base, inheriting))
}

impl Entry {
    /// A granted stream.
    pub(crate) fn stream(stream: Stream, grant: Arc<Capability>) -> Self {
        let mode = if stream == Stream::In { Rights::FD_READ } else { Rights::FD_WRITE };
        let object = Object::Stream(stream);
        Self { object, grant, rights: STREAM.with(mode), inheriting: Rights::NONE, flags: FdFlags::NONE }
    }

    /// A granted directory under the name the guest finds it by.
    pub(crate) fn granted_dir(fd: OwnedFd, name: String, grant: Arc<Capability>) -> Self {
        let (rights, inheriting) = granted(&grant);
        let object = Object::Dir(Dir { fd, reader: None, preopen: Some(name) });
        Self { object, grant, rights, inheriting, flags: FdFlags::NONE }
    }

    /// A directory opened through another.
    pub(crate) fn opened_dir(fd: OwnedFd, handed: HandedDown) -> Self {
        let object = Object::Dir(Dir { fd, reader: None, preopen: None });
        let rights = handed.rights.and(DIR_WRITE);
        Self { object, grant: handed.grant, rights, inheriting: handed.rights, flags: FdFlags::NONE }
    }

    /// A file opened through a directory: to read, to write, both or neither.
    pub(crate) fn file(file: File, wanted: Rights, flags: FdFlags, handed: HandedDown) -> Self {
        let mut rights = FILE;
        if wanted.intersects(Rights::FD_READ) {
            rights = rights.with(Rights::FD_READ);
        }
        if wanted.intersects(Rights::FD_WRITE) {
            rights = rights.with(WRITING);
        } else if only_adds(&handed.grant) {
            // It may have been there before: its times are not to be changed either.
            rights = rights.without(Rights::FD_FILESTAT_SET_TIMES);
        }
        let rights = rights.and(handed.rights);
        Self { object: Object::File(file), grant: handed.grant, rights, inheriting: Rights::NONE, flags }
    }

    /// A socket that the host passed in.
    pub(crate) fn socket(socket: Socket, grant: Arc<Capability>) -> Self {
        let (rights, inheriting) = match socket.kind {
            SocketKind::Listener => (LISTENER, CONNECTION),
            SocketKind::Stream | SocketKind::Datagram => (CONNECTION, Rights::NONE),
        };
        Self { object: Object::Socket(socket), grant, rights, inheriting, flags: FdFlags::NONE }
    }

    /// A connection that the guest opened.
    pub(crate) fn connected(socket: Socket, grant: Arc<Capability>) -> Self {
        let object = Object::Socket(socket);
        Self { object, grant, rights: CONNECTION, inheriting: Rights::NONE, flags: FdFlags::NONE }
    }

    /// A connection that came over a listener.
    pub(crate) fn accepted(socket: Socket, flags: FdFlags, handed: HandedDown) -> Self {
        let rights = CONNECTION.and(handed.rights);
        Self { object: Object::Socket(socket), grant: handed.grant, rights, inheriting: Rights::NONE, flags }
    }

    /// Whether what is there already may not be changed through this entry.
    pub(crate) fn only_adds(&self) -> bool {
        only_adds(&self.grant)
    }

    /// What is opened through this entry gets.
    pub(crate) fn hands_down(&self) -> HandedDown {
        HandedDown { grant: Arc::clone(&self.grant), rights: self.inheriting }
    }

    /// Gives up all rights but these. NOTCAPABLE, and nothing changes, if one of them is not held.
    pub(crate) fn narrow(&mut self, rights: Rights, inheriting: Rights) -> Result<(), Errno> {
        if !self.rights.contains(rights) || !self.inheriting.contains(inheriting) {
            return Err(Errno::NOTCAPABLE);
        }
        (self.rights, self.inheriting) = (rights, inheriting);
        Ok(())
    }

    /// How an operation on this entry waits.
    pub(crate) fn waiter<'a, 'b>(&'a self, call: &'a HostCall<'b>) -> Waiter<'a, 'b> {
        Waiter { call, grant: &self.grant, nonblock: self.flags.contains(FdFlags::NONBLOCK) }
    }

    /// The grant that would allow `needed` where this one does not, if there is one.
    pub(crate) fn wider_grant(&self, needed: Rights) -> Option<String> {
        let spec = self.grant.spec();
        let changes = FILE_WRITE.with(DIR_WRITE).without(FILE_READ.with(DIR_READ));
        let helps =
            matches!(spec.action, Action::FsRead | Action::FsCreate) && needed.without(self.rights).intersects(changes);
        helps.then(|| GrantSpec { action: Action::FsWrite, resource: spec.resource.clone() }.to_string())
    }
}

/// The first number that is not a standard stream's.
const FIRST: usize = 3;

/// The table itself.
#[derive(Debug, Default)]
pub(crate) struct FdTable {
    rows: Vec<Option<Entry>>,
    open: usize,
}

impl FdTable {
    /// The entry of a number, after re-reading its grant: BADF if there is none, NOTCAPABLE if the
    /// grant was taken back.
    pub(crate) fn entry(&mut self, fd: u32) -> Result<&mut Entry, Errno> {
        let entry = self.rows.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BADF)?;
        if entry.grant.act() { Ok(entry) } else { Err(Errno::NOTCAPABLE) }
    }

    /// As [`FdTable::entry`], for those who change nothing.
    pub(crate) fn peek(&self, fd: u32) -> Result<&Entry, Errno> {
        let entry = self.rows.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BADF)?;
        if entry.grant.is_live() { Ok(entry) } else { Err(Errno::NOTCAPABLE) }
    }

    /// What a number stands for, its grant standing or not: for reports and for closing only.
    pub(crate) fn record(&self, fd: u32) -> Option<&Entry> {
        self.rows.get(fd as usize)?.as_ref()
    }

    /// Number and kind of each handle that the guest opened itself, or that is a socket: what a new context does not have.
    pub(crate) fn opened(&self) -> impl Iterator<Item = (usize, &'static str)> + '_ {
        let kind = |entry: &Entry| match &entry.object {
            Object::Stream(_) | Object::Dir(Dir { preopen: Some(_), .. }) => None,
            Object::Dir(_) => Some("directory"),
            Object::File(_) => Some("file"),
            Object::Socket(_) => Some("socket"),
        };
        self.rows.iter().enumerate().filter_map(move |(number, row)| Some((number, kind(row.as_ref()?)?)))
    }

    /// Whether another handle may be opened.
    pub(crate) fn has_room(&self, max: usize) -> bool {
        self.open < max
    }

    /// Puts an entry at the lowest free number from 3 on.
    pub(crate) fn insert(&mut self, entry: Entry, max: usize) -> Result<u32, Errno> {
        let free = (FIRST..self.rows.len()).find(|&i| self.rows[i].is_none());
        let index = free.unwrap_or(self.rows.len().max(FIRST));
        self.insert_at(index, entry, max)
    }

    /// Puts an entry at a number of the host's choice, replacing what is there.
    pub(crate) fn insert_at(&mut self, index: usize, entry: Entry, max: usize) -> Result<u32, Errno> {
        let number = u32::try_from(index).map_err(|_| Errno::MFILE)?;
        let occupied = self.rows.get(index).is_some_and(Option::is_some);
        if !occupied && !self.has_room(max) {
            return Err(Errno::MFILE);
        }
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, || None);
        }
        self.open += usize::from(!occupied);
        self.rows[index] = Some(entry);
        Ok(number)
    }

    /// Closes a number. Works on a handle whose grant was taken back: closing reveals nothing.
    pub(crate) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        let row = self.rows.get_mut(fd as usize).ok_or(Errno::BADF)?;
        row.take().ok_or(Errno::BADF)?;
        self.open -= 1;
        Ok(())
    }

    /// Moves one open handle over another, which is closed.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.entry(from)?;
        self.entry(to)?;
        if from != to {
            self.rows[to as usize] = self.rows[from as usize].take();
            self.open -= 1;
        }
        Ok(())
    }
}
