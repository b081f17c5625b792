//! The error numbers of WASI preview 1, and how a body of the table ends early.
//!
//! One table gives number, name and the host's error of the same meaning. Invariant: a guest
//! mistake is an [`Errno`] in its result, never a panic; only [`Fail::Host`] ends the guest.

use std::fmt;

use aura_host_abi::{HostError, OutOfBounds};
use rustix::io::Errno as HostErrno;

// Row: NAME = number <= the host's errno of the same meaning, where there is one.
macro_rules! errnos {
    ($($name:ident = $number:literal $(<= $host:ident)?;)*) => {
        /// An error number as guests see it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[allow(clippy::upper_case_acronyms, reason = "the names are those of the specification")]
        pub enum Errno { $($name = $number),* }

        impl Errno {
            /// All errors, in order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name in the specification, in upper case and without the customary `E`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }

        impl From<HostErrno> for Errno {
            /// The error of the same meaning, [`Errno::IO`] if WASI has none.
            fn from(error: HostErrno) -> Self {
                match error {
                    $($(HostErrno::$host => Self::$name,)?)*
                    _ => Self::IO,
                }
            }
        }
    };
}

errnos! {
    SUCCESS = 0;
    TOOBIG = 1 <= TOOBIG;
    ACCES = 2 <= ACCESS;
    ADDRINUSE = 3 <= ADDRINUSE;
    ADDRNOTAVAIL = 4 <= ADDRNOTAVAIL;
    AFNOSUPPORT = 5;
    AGAIN = 6 <= AGAIN;
    ALREADY = 7;
    BADF = 8 <= BADF;
    BADMSG = 9;
    BUSY = 10 <= BUSY;
    CANCELED = 11;
    CHILD = 12;
    CONNABORTED = 13 <= CONNABORTED;
    CONNREFUSED = 14 <= CONNREFUSED;
    CONNRESET = 15 <= CONNRESET;
    DEADLK = 16;
    DESTADDRREQ = 17 <= DESTADDRREQ;
    DOM = 18;
    DQUOT = 19 <= DQUOT;
    EXIST = 20 <= EXIST;
    FAULT = 21 <= FAULT;
    FBIG = 22 <= FBIG;
    HOSTUNREACH = 23 <= HOSTUNREACH;
    IDRM = 24;
    ILSEQ = 25 <= ILSEQ;
    INPROGRESS = 26;
    INTR = 27 <= INTR;
    INVAL = 28 <= INVAL;
    IO = 29 <= IO;
    ISCONN = 30 <= ISCONN;
    ISDIR = 31 <= ISDIR;
    LOOP = 32 <= LOOP;
    MFILE = 33 <= MFILE;
    MLINK = 34 <= MLINK;
    MSGSIZE = 35 <= MSGSIZE;
    MULTIHOP = 36;
    NAMETOOLONG = 37 <= NAMETOOLONG;
    NETDOWN = 38 <= NETDOWN;
    NETRESET = 39 <= NETRESET;
    NETUNREACH = 40 <= NETUNREACH;
    NFILE = 41 <= NFILE;
    NOBUFS = 42 <= NOBUFS;
    NODEV = 43 <= NODEV;
    NOENT = 44 <= NOENT;
    NOEXEC = 45;
    NOLCK = 46 <= NOLCK;
    NOLINK = 47;
    NOMEM = 48 <= NOMEM;
    NOMSG = 49;
    NOPROTOOPT = 50;
    NOSPC = 51 <= NOSPC;
    NOSYS = 52 <= NOSYS;
    NOTCONN = 53 <= NOTCONN;
    NOTDIR = 54 <= NOTDIR;
    NOTEMPTY = 55 <= NOTEMPTY;
    NOTRECOVERABLE = 56;
    NOTSOCK = 57 <= NOTSOCK;
    NOTSUP = 58 <= OPNOTSUPP;
    NOTTY = 59 <= NOTTY;
    NXIO = 60 <= NXIO;
    OVERFLOW = 61 <= OVERFLOW;
    OWNERDEAD = 62;
    PERM = 63 <= PERM;
    PIPE = 64 <= PIPE;
    PROTO = 65 <= PROTO;
    PROTONOSUPPORT = 66;
    PROTOTYPE = 67;
    RANGE = 68 <= RANGE;
    ROFS = 69 <= ROFS;
    SPIPE = 70 <= SPIPE;
    SRCH = 71;
    STALE = 72 <= STALE;
    TIMEDOUT = 73 <= TIMEDOUT;
    TXTBSY = 74 <= TXTBSY;
    XDEV = 75 <= XDEV;
    NOTCAPABLE = 76;
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), *self as u16)
    }
}

impl std::error::Error for Errno {}

/// Why a body ended without success.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The guest is told.
    Errno(Errno),
    /// The guest does not go on.
    Host(HostError),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<HostErrno> for Fail {
    fn from(error: HostErrno) -> Self {
        Self::Errno(error.into())
    }
}

impl From<OutOfBounds> for Fail {
    fn from(_: OutOfBounds) -> Self {
        Self::Errno(Errno::FAULT)
    }
}

impl From<HostError> for Fail {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// How a body of the table ends.
pub(crate) type Outcome = Result<(), Fail>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_end_with_notcapable() {
        for (number, errno) in Errno::ALL.iter().enumerate() {
            assert_eq!(*errno as usize, number, "{errno}");
        }
        assert_eq!(Errno::ALL.len(), 77);
    }
}
