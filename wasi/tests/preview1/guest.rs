//! A guest without an engine: some memory, a context, and calls of the table by name.
//!
//! # Safety
//! The one unsafe call makes a view of the guest's own vector, which is borrowed mutably, and
//! neither moved nor resized, for as long as the view lives.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aura_host_abi::{Capability, GuestMemory, HostCall, HostError, HostFn};
use aura_wasi::{Errno, FUNCTIONS, NET_FUNCTIONS, WasiCtx};

pub const OUT: u32 = 0x100;
pub const IOVS: u32 = 0x200;
pub const PATH: u32 = 0x1000;
pub const PATH2: u32 = 0x4000;
pub const BUFFER: u32 = 0x8000;
pub const MEMORY_LEN: usize = 256 << 10;

pub const CREATE: u32 = 1;
pub const DIRECTORY: u32 = 2;
pub const EXCLUSIVE: u32 = 4;
pub const TRUNCATE: u32 = 8;

pub const RIGHT_READ: u64 = 1 << 1;
pub const RIGHT_WRITE: u64 = 1 << 6;
pub const RIGHTS_ALL: u64 = (1 << 30) - 1;

/// The first descriptor that is not a stream's: where granted directories begin.
pub const DIR: u32 = 3;

pub struct Guest {
    pub ctx: WasiCtx,
    pub memory: Vec<u8>,
    pub deadline: Option<Instant>,
}

pub fn function(name: &str) -> &'static HostFn<WasiCtx> {
    FUNCTIONS.iter().chain(NET_FUNCTIONS).find(|f| f.name == name).unwrap_or_else(|| panic!("{name} is in the table"))
}

impl Guest {
    pub fn blind() -> Self {
        Self { ctx: WasiCtx::new(), memory: vec![0; MEMORY_LEN], deadline: None }
    }

    /// A guest with these grants, in the grammar of the command line.
    pub fn with(grants: &[&str]) -> Self {
        let mut guest = Self::blind();
        for grant in grants {
            guest.grant(grant);
        }
        guest
    }

    /// A guest with one directory, as descriptor [`DIR`].
    pub fn in_dir(action: &str, host: &Path) -> Self {
        Self::with(&[&format!("{action}={}::/d", host.display())])
    }

    pub fn grant(&mut self, grant: &str) -> Arc<Capability> {
        let capability = Arc::new(Capability::new(grant.parse().expect("a grant")));
        self.ctx.attach(Arc::clone(&capability)).unwrap_or_else(|error| panic!("{grant}: {error}"));
        capability
    }

    /// Grants a directory and gives its descriptor, which is the highest of all.
    pub fn grant_fd(&mut self, grant: &str) -> u32 {
        self.grant(grant);
        let mut found =
            (3..64).filter(|fd| self.call("fd_prestat_get", &[u64::from(*fd), OUT.into()]) == Errno::SUCCESS);
        found.next_back().expect("a granted directory")
    }

    pub fn try_call(&mut self, name: &str, args: &[u64]) -> Result<Errno, HostError> {
        self.call_of(function(name), args)
    }

    /// As `try_call`, of a row of either interface.
    pub fn call_of(&mut self, function: &HostFn<WasiCtx>, args: &[u64]) -> Result<Errno, HostError> {
        let name = function.name;
        assert_eq!(function.params.len(), args.len(), "{name}");
        let mut slots = args.to_vec();
        slots.resize(args.len().max(1), 0);
        let length = self.memory.len() as u64;
        // SAFETY: `self.memory` outlives the call below and is not touched while the view exists.
        let memory = unsafe { GuestMemory::from_raw(self.memory.as_mut_ptr(), length) };
        let mut call = HostCall::new(memory, &mut slots, self.deadline, None);
        (function.call)(&mut self.ctx, &mut call)?;
        let number = usize::try_from(slots[0]).expect("an errno");
        Ok(*Errno::ALL.get(number).unwrap_or_else(|| panic!("{name} answers {number}")))
    }

    pub fn call(&mut self, name: &str, args: &[u64]) -> Errno {
        self.try_call(name, args).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Calls and expects success.
    pub fn ok(&mut self, name: &str, args: &[u64]) {
        assert_eq!(self.call(name, args), Errno::SUCCESS, "{name}{args:?}");
    }

    pub fn put(&mut self, address: u32, bytes: &[u8]) {
        self.memory[address as usize..address as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub fn bytes(&self, address: u32, len: u32) -> &[u8] {
        &self.memory[address as usize..(address + len) as usize]
    }

    pub fn word(&self, address: u32) -> u32 {
        u32::from_le_bytes(self.bytes(address, 4).try_into().expect("4 bytes"))
    }

    pub fn long(&self, address: u32) -> u64 {
        u64::from_le_bytes(self.bytes(address, 8).try_into().expect("8 bytes"))
    }

    /// Puts a path and gives its two arguments.
    pub fn path(&mut self, path: &str) -> [u64; 2] {
        self.put(PATH, path.as_bytes());
        [PATH.into(), path.len() as u64]
    }

    pub fn path2(&mut self, path: &str) -> [u64; 2] {
        self.put(PATH2, path.as_bytes());
        [PATH2.into(), path.len() as u64]
    }

    /// `path_open` that follows links.
    pub fn open(&mut self, dir: u32, path: &str, open_flags: u32, rights: u64) -> Result<u32, Errno> {
        self.open_with(dir, path, 1, open_flags, rights, 0)
    }

    pub fn open_with(
        &mut self,
        dir: u32,
        path: &str,
        lookup: u32,
        open_flags: u32,
        rights: u64,
        flags: u32,
    ) -> Result<u32, Errno> {
        let [at, len] = self.path(path);
        let args = [dir.into(), lookup.into(), at, len, open_flags.into(), rights, rights, flags.into(), OUT.into()];
        match self.call("path_open", &args) {
            Errno::SUCCESS => Ok(self.word(OUT)),
            errno => Err(errno),
        }
    }

    /// A function `(dir, path, len)`.
    pub fn at_path(&mut self, name: &str, dir: u32, path: &str) -> Errno {
        let [at, len] = self.path(path);
        self.call(name, &[dir.into(), at, len])
    }

    pub fn stat(&mut self, dir: u32, path: &str, follow: bool) -> Errno {
        let [at, len] = self.path(path);
        self.call("path_filestat_get", &[dir.into(), follow.into(), at, len, OUT.into()])
    }

    pub fn readlink(&mut self, dir: u32, path: &str) -> Result<Vec<u8>, Errno> {
        let [at, len] = self.path(path);
        match self.call("path_readlink", &[dir.into(), at, len, BUFFER.into(), 4096, OUT.into()]) {
            Errno::SUCCESS => Ok(self.bytes(BUFFER, self.word(OUT)).to_vec()),
            errno => Err(errno),
        }
    }

    pub fn rename(&mut self, from_dir: u32, from: &str, to_dir: u32, to: &str) -> Errno {
        let ([from, from_len], [to, to_len]) = (self.path(from), self.path2(to));
        self.call("path_rename", &[from_dir.into(), from, from_len, to_dir.into(), to, to_len])
    }

    /// `path_link`, which follows nothing.
    pub fn link(&mut self, from_dir: u32, from: &str, to_dir: u32, to: &str) -> Errno {
        let ([from, from_len], [to, to_len]) = (self.path(from), self.path2(to));
        self.call("path_link", &[from_dir.into(), 0, from, from_len, to_dir.into(), to, to_len])
    }

    pub fn symlink(&mut self, target: &str, dir: u32, path: &str) -> Errno {
        let ([target, target_len], [path, len]) = (self.path(target), self.path2(path));
        self.call("path_symlink", &[target, target_len, dir.into(), path, len])
    }

    /// Describes pieces `(address, len)` and gives the two arguments of their list.
    pub fn pieces(&mut self, pieces: &[(u32, u32)]) -> [u64; 2] {
        for (index, (at, len)) in pieces.iter().enumerate() {
            let row = IOVS + 8 * index as u32;
            self.put(row, &at.to_le_bytes());
            self.put(row + 4, &len.to_le_bytes());
        }
        [IOVS.into(), pieces.len() as u64]
    }

    pub fn read(&mut self, fd: u32, len: u32) -> Result<Vec<u8>, Errno> {
        let [list, count] = self.pieces(&[(BUFFER, len)]);
        match self.call("fd_read", &[fd.into(), list, count, OUT.into()]) {
            Errno::SUCCESS => Ok(self.bytes(BUFFER, self.word(OUT)).to_vec()),
            errno => Err(errno),
        }
    }

    pub fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<u32, Errno> {
        self.put(BUFFER, bytes);
        let [list, count] = self.pieces(&[(BUFFER, bytes.len() as u32)]);
        match self.call("fd_write", &[fd.into(), list, count, OUT.into()]) {
            Errno::SUCCESS => Ok(self.word(OUT)),
            errno => Err(errno),
        }
    }

    pub fn fdstat(&mut self, fd: u32) -> Result<(u8, u64, u64), Errno> {
        match self.call("fd_fdstat_get", &[fd.into(), OUT.into()]) {
            Errno::SUCCESS => Ok((self.bytes(OUT, 1)[0], self.long(OUT + 8), self.long(OUT + 16))),
            errno => Err(errno),
        }
    }

    /// All names below a directory, read with a buffer of this size.
    pub fn list(&mut self, dir: u32, buffer_len: u32) -> Result<Vec<(String, u64, u8)>, Errno> {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            match self.call("fd_readdir", &[dir.into(), BUFFER.into(), buffer_len.into(), cookie, OUT.into()]) {
                Errno::SUCCESS => {}
                errno => return Err(errno),
            }
            let (used, mut at) = (self.word(OUT), 0);
            while at + 24 <= used {
                let name_len = self.word(BUFFER + at + 16);
                if at + 24 + name_len > used {
                    break;
                }
                let name = String::from_utf8(self.bytes(BUFFER + at + 24, name_len).to_vec()).expect("UTF-8");
                names.push((name, self.long(BUFFER + at + 8), self.bytes(BUFFER + at + 20, 1)[0]));
                cookie = self.long(BUFFER + at);
                at += 24 + name_len;
            }
            if used < buffer_len {
                return Ok(names);
            }
        }
    }
}
