//! Layouts and flag words of WASI preview 1 and of `wasi_unstable`, as serialisers.
//!
//! Invariant: every structure that a guest receives starts as an array of zeros, padding included,
//! and is written to guest memory once; every structure that a guest passes is copied out once.

use rustix::fs::{FileType as HostFileType, Stat};

use crate::errno::Errno;

// Row: NAME = bit;
macro_rules! bits {
    ($(#[$doc:meta])* $type:ident: $repr:ty { $($name:ident = $bit:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub(crate) struct $type(pub(crate) $repr);

        #[allow(dead_code, reason = "the list is the specification's, whole")]
        impl $type {
            $(pub(crate) const $name: Self = Self(1 << $bit);)*
            pub(crate) const ALL: Self = Self($(Self::$name.0)|*);
            pub(crate) const NONE: Self = Self(0);

            /// All bits of both.
            pub(crate) const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits that `other` has not.
            pub(crate) const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits that both have.
            pub(crate) const fn and(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// Whether no bit of `other` is missing.
            pub(crate) const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any bit of `other` is there.
            pub(crate) const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Takes a guest's word.
            pub(crate) fn parse(word: $repr) -> Result<Self, Errno> {
                if word & !Self::ALL.0 == 0 { Ok(Self(word)) } else { Err(Errno::INVAL) }
            }
        }
    };
}

bits! {
    /// What may be done through a descriptor.
    Rights: u64 {
        FD_DATASYNC = 0;
        FD_READ = 1;
        FD_SEEK = 2;
        FD_FDSTAT_SET_FLAGS = 3;
        FD_SYNC = 4;
        FD_TELL = 5;
        FD_WRITE = 6;
        FD_ADVISE = 7;
        FD_ALLOCATE = 8;
        PATH_CREATE_DIRECTORY = 9;
        PATH_CREATE_FILE = 10;
        PATH_LINK_SOURCE = 11;
        PATH_LINK_TARGET = 12;
        PATH_OPEN = 13;
        FD_READDIR = 14;
        PATH_READLINK = 15;
        PATH_RENAME_SOURCE = 16;
        PATH_RENAME_TARGET = 17;
        PATH_FILESTAT_GET = 18;
        PATH_FILESTAT_SET_SIZE = 19;
        PATH_FILESTAT_SET_TIMES = 20;
        FD_FILESTAT_GET = 21;
        FD_FILESTAT_SET_SIZE = 22;
        FD_FILESTAT_SET_TIMES = 23;
        PATH_SYMLINK = 24;
        PATH_REMOVE_DIRECTORY = 25;
        PATH_UNLINK_FILE = 26;
        POLL_FD_READWRITE = 27;
        SOCK_SHUTDOWN = 28;
        SOCK_ACCEPT = 29;
    }
}

bits! {
    /// The state flags of a descriptor.
    FdFlags: u16 {
        APPEND = 0;
        DSYNC = 1;
        NONBLOCK = 2;
        RSYNC = 3;
        SYNC = 4;
    }
}

bits! {
    /// How `path_open` opens.
    OpenFlags: u16 {
        CREATE = 0;
        DIRECTORY = 1;
        EXCLUSIVE = 2;
        TRUNCATE = 3;
    }
}

bits! {
    /// How a path is looked up.
    LookupFlags: u32 {
        SYMLINK_FOLLOW = 0;
    }
}

bits! {
    /// How bytes are received from a socket.
    ReceiveFlags: u16 {
        PEEK = 0;
        WAITALL = 1;
    }
}

bits! {
    /// Which directions of a socket end.
    ShutdownFlags: u16 {
        READ = 0;
        WRITE = 1;
    }
}

bits! {
    /// Which times are set, and to what.
    TimeFlags: u16 {
        ACCESS = 0;
        ACCESS_NOW = 1;
        MODIFICATION = 2;
        MODIFICATION_NOW = 3;
    }
}

/// Narrows a flag word: bits above the type's own are an error, not dropped.
pub(crate) fn flags16(word: u32) -> Result<u16, Errno> {
    u16::try_from(word).map_err(|_| Errno::INVAL)
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketDatagram = 5,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl From<HostFileType> for FileType {
    fn from(host: HostFileType) -> Self {
        match host {
            HostFileType::RegularFile => Self::RegularFile,
            HostFileType::Directory => Self::Directory,
            HostFileType::Symlink => Self::SymbolicLink,
            HostFileType::Socket => Self::SocketStream,
            HostFileType::CharacterDevice => Self::CharacterDevice,
            HostFileType::BlockDevice => Self::BlockDevice,
            HostFileType::Fifo | HostFileType::Unknown => Self::Unknown,
        }
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the array's length")
}

/// `fdstat`: `+0 type u8, +2 flags u16, +8 base u64, +16 inheriting u64`.
pub(crate) fn fdstat(kind: FileType, flags: FdFlags, base: Rights, inheriting: Rights) -> [u8; 24] {
    let mut bytes = [0; 24];
    put(&mut bytes, 0, [kind as u8]);
    put(&mut bytes, 2, flags.0.to_le_bytes());
    put(&mut bytes, 8, base.0.to_le_bytes());
    put(&mut bytes, 16, inheriting.0.to_le_bytes());
    bytes
}

/// Which interface a guest imports. What differs between the two stands in this impl and nowhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    #[default]
    Preview1,
    /// Preview 0: `wasi_unstable`.
    Unstable,
}

impl Layout {
    /// Length of a subscription.
    pub(crate) const fn subscription_len(self) -> usize {
        match self {
            Self::Preview1 => 48,
            Self::Unstable => 56,
        }
    }

    /// `subscription`: `+0 userdata u64, +8 tag u8`, then by tag either
    /// `+16 clock u32, +24 timeout u64, +32 precision u64, +40 flags u16` or `+16 fd u32`.
    /// In `wasi_unstable` the clock's fields come 8 bytes later, behind an identifier that says nothing.
    pub(crate) fn subscription(self, bytes: &[u8]) -> Result<Subscription, Errno> {
        let clock = 16 + self.subscription_len() - 48;
        let tag = bytes[8];
        let what = match tag {
            0 => Subscribed::Clock {
                id: u32::from_le_bytes(get(bytes, clock)),
                timeout: u64::from_le_bytes(get(bytes, clock + 8)),
                absolute: u16::from_le_bytes(get(bytes, clock + 24)) & 1 != 0,
            },
            1 => Subscribed::Readable { fd: u32::from_le_bytes(get(bytes, 16)) },
            2 => Subscribed::Writable { fd: u32::from_le_bytes(get(bytes, 16)) },
            _ => return Err(Errno::INVAL),
        };
        Ok(Subscription { userdata: u64::from_le_bytes(get(bytes, 0)), tag, what })
    }

    /// Where a seek starts from: start, position or end.
    pub(crate) fn whence(self, number: u32) -> Result<Whence, Errno> {
        let order = match self {
            Self::Preview1 => [Whence::Start, Whence::Position, Whence::End],
            Self::Unstable => [Whence::Position, Whence::End, Whence::Start],
        };
        order.get(number as usize).copied().ok_or(Errno::INVAL)
    }

    /// `filestat`: see [`FileStat`]. In `wasi_unstable` the number of links has 32 bits, at 20, and all
    /// after it comes 8 bytes earlier.
    pub(crate) fn filestat(self, stat: &FileStat) -> Vec<u8> {
        let bytes = stat.to_bytes();
        match self {
            Self::Preview1 => bytes.to_vec(),
            Self::Unstable => {
                let links = u32::try_from(stat.links).unwrap_or(u32::MAX);
                [&bytes[..20], &links.to_le_bytes(), &bytes[32..]].concat()
            }
        }
    }
}

/// Where a seek starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    Start,
    Position,
    End,
}

/// `filestat`: `+0 dev u64, +8 ino u64, +16 type u8, +24 nlink u64, +32 size u64, +40 atim, +48 mtim, +56 ctim`.
#[derive(Debug)]
pub(crate) struct FileStat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) kind: FileType,
    pub(crate) links: u64,
    pub(crate) size: u64,
    /// Access, modification and change time in nanoseconds since 1970.
    pub(crate) times: [u64; 3],
}

impl FileStat {
    /// What is told of a stream: nothing but its type.
    pub(crate) fn stream(kind: FileType) -> Self {
        Self { device: 0, inode: 0, kind, links: 1, size: 0, times: [0; 3] }
    }

    pub(crate) fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        put(&mut bytes, 0, self.device.to_le_bytes());
        put(&mut bytes, 8, self.inode.to_le_bytes());
        put(&mut bytes, 16, [self.kind as u8]);
        put(&mut bytes, 24, self.links.to_le_bytes());
        put(&mut bytes, 32, self.size.to_le_bytes());
        for (index, time) in self.times.iter().enumerate() {
            put(&mut bytes, 40 + 8 * index, time.to_le_bytes());
        }
        bytes
    }
}

#[allow(clippy::useless_conversion, reason = "the widths of these fields differ between architectures")]
impl From<&Stat> for FileStat {
    fn from(stat: &Stat) -> Self {
        Self {
            device: u64::from(stat.st_dev),
            inode: u64::from(stat.st_ino),
            kind: HostFileType::from_raw_mode(stat.st_mode).into(),
            links: u64::from(stat.st_nlink),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            times: [
                nanoseconds(stat.st_atime.into(), stat.st_atime_nsec.into()),
                nanoseconds(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
                nanoseconds(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
            ],
        }
    }
}

/// A host time as a guest's: before 1970 is 0, past the year 2554 is the last instant that fits.
pub(crate) fn nanoseconds(seconds: i64, nanoseconds: u64) -> u64 {
    u64::try_from(seconds).map_or(0, |seconds| seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

/// `prestat` of a directory: `+0 tag u8 (0), +4 name length u32`.
pub(crate) fn prestat(name_len: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    put(&mut bytes, 4, name_len.to_le_bytes());
    bytes
}

/// Length of a [`dirent`] without the name that follows it.
pub(crate) const DIRENT_LEN: usize = 24;

/// `dirent`: `+0 next u64, +8 ino u64, +16 name length u32, +20 type u8`.
pub(crate) fn dirent(next: u64, inode: u64, name_len: u32, kind: FileType) -> [u8; DIRENT_LEN] {
    let mut bytes = [0; DIRENT_LEN];
    put(&mut bytes, 0, next.to_le_bytes());
    put(&mut bytes, 8, inode.to_le_bytes());
    put(&mut bytes, 16, name_len.to_le_bytes());
    put(&mut bytes, 20, [kind as u8]);
    bytes
}

/// Length of an event.
pub(crate) const EVENT_LEN: usize = 32;

/// What a guest waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) userdata: u64,
    pub(crate) tag: u8,
    pub(crate) what: Subscribed,
}

/// The three kinds of subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subscribed {
    Clock { id: u32, timeout: u64, absolute: bool },
    Readable { fd: u32 },
    Writable { fd: u32 },
}

/// `event`: `+0 userdata u64, +8 errno u16, +10 tag u8, +16 bytes ready u64, +24 flags u16 (1: the other end hung up)`.
pub(crate) fn event(to: &Subscription, errno: Errno, ready_bytes: u64, hangup: bool) -> [u8; EVENT_LEN] {
    let mut bytes = [0; EVENT_LEN];
    put(&mut bytes, 0, to.userdata.to_le_bytes());
    put(&mut bytes, 8, (errno as u16).to_le_bytes());
    put(&mut bytes, 10, [to.tag]);
    put(&mut bytes, 16, ready_bytes.to_le_bytes());
    put(&mut bytes, 24, u16::from(hangup).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_the_guests_range_are_clamped() {
        assert_eq!(nanoseconds(-1, 999_999_999), 0);
        assert_eq!(nanoseconds(i64::MIN, 0), 0);
        assert_eq!(nanoseconds(i64::MAX, 5), u64::MAX);
        assert_eq!(nanoseconds(2, 3), 2_000_000_003);
    }

    #[test]
    fn unknown_bits_are_refused() {
        assert_eq!(FdFlags::parse(1 << 5), Err(Errno::INVAL));
        assert_eq!(OpenFlags::parse(0b1111), Ok(OpenFlags::ALL));
        assert_eq!(flags16(1 << 16), Err(Errno::INVAL));
    }

    #[test]
    fn structures_have_zeroed_padding() {
        let stat = FileStat { device: !0, inode: !0, kind: FileType::Unknown, links: !0, size: !0, times: [!0; 3] };
        assert_eq!(stat.to_bytes()[16..24], [0; 8]);
        assert_eq!(dirent(!0, !0, !0, FileType::RegularFile)[20..], [4, 0, 0, 0]);
        let fd = fdstat(FileType::Directory, FdFlags(!0), Rights(!0), Rights(!0));
        assert_eq!((fd[1], &fd[4..8]), (0, &[0; 4][..]));
        assert_eq!(prestat(u32::MAX)[..4], [0; 4]);
        let old = Layout::Unstable.filestat(&stat);
        assert_eq!((old.len(), &old[16..20], &old[20..]), (56, &[0; 4][..], &[0xff; 36][..]));
    }

    #[test]
    fn the_old_layouts_differ_where_they_did() {
        let mut bytes = [0; 56];
        put(&mut bytes, 24, 3u32.to_le_bytes());
        put(&mut bytes, 32, 7u64.to_le_bytes());
        bytes[48] = 1;
        let old = Layout::Unstable.subscription(&bytes).map(|subscription| subscription.what);
        assert!(matches!(old, Ok(Subscribed::Clock { id: 3, timeout: 7, absolute: true })));
        let new = Layout::Preview1.subscription(&bytes[8..]).map(|subscription| subscription.what);
        assert!(matches!(new, Ok(Subscribed::Clock { id: 3, timeout: 7, absolute: true })));
        assert_eq!((Layout::Preview1.whence(0), Layout::Unstable.whence(0)), (Ok(Whence::Start), Ok(Whence::Position)));
        assert_eq!((Layout::Preview1.whence(2), Layout::Unstable.whence(2)), (Ok(Whence::End), Ok(Whence::Start)));
        assert_eq!(Layout::Unstable.whence(3), Err(Errno::INVAL));
    }
}
