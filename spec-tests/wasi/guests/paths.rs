//! Everything that takes a path.

#![no_std]

#[macro_use]
mod preview1;

use preview1::*;

const DIRECTORY_TYPE: u8 = 3;
const REGULAR_FILE: u8 = 4;
const SYMBOLIC_LINK: u8 = 7;

start!(run);

fn run() {
    directories();
    opening();
    spellings();
    renaming();
    hard_links();
    symbolic_links();
    following();
    times();
    removing();
}

extern "C" fn mkdir(dir: u32, path: u32, len: u32) -> u32 {
    path_create_directory(dir, path, len)
}

extern "C" fn rmdir(dir: u32, path: u32, len: u32) -> u32 {
    path_remove_directory(dir, path, len)
}

extern "C" fn unlink(dir: u32, path: u32, len: u32) -> u32 {
    path_unlink_file(dir, path, len)
}

fn rename(from: &str, to: &str) -> u32 {
    let ((from, from_len), (to, to_len)) = (path(from), path2(to));
    path_rename(DIR, from, from_len, DIR, to, to_len)
}

fn link(from: &str, to: &str) -> u32 {
    let ((from, from_len), (to, to_len)) = (path(from), path2(to));
    path_link(DIR, 0, from, from_len, DIR, to, to_len)
}

fn symlink(target: &str, name: &str) -> u32 {
    let ((target, target_len), (name, len)) = (path(target), path2(name));
    path_symlink(target, target_len, DIR, name, len)
}

/// The errno of opening, whether it succeeds or not.
fn opened(name: &str, lookup: u32, flags: u32, rights: u64) -> u32 {
    match open_with(DIR, name, lookup, flags, rights, 0) {
        Ok(fd) => fd_close(fd),
        Err(errno) => errno,
    }
}

fn directories() {
    is(at(mkdir, DIR, "dir"), SUCCESS);
    is(at(mkdir, DIR, "dir/nested/"), SUCCESS);
    is(at(mkdir, DIR, "dir"), EXIST);
    is(at(mkdir, DIR, "missing/dir"), NOENT);
    is(stat(DIR, "dir", 0), SUCCESS);
    is(byte(out() + 16), DIRECTORY_TYPE);
    is(at(rmdir, DIR, "dir"), NOTEMPTY);
    is(at(unlink, DIR, "dir"), ISDIR);
    is(at(unlink, DIR, "dir/"), ISDIR);
}

fn opening() {
    create(DIR, "file");
    is(opened("file", 0, CREATE | EXCLUSIVE, 0), EXIST);
    is(opened("missing", 0, 0, 0), NOENT);
    is(opened("file", 0, DIRECTORY, 0), NOTDIR);
    is(opened("dir", 0, DIRECTORY, 0), SUCCESS);
    is(opened(".", 0, 0, 0), SUCCESS);
    is(opened(".", 0, DIRECTORY, FD_READ), SUCCESS);
    is(opened(".", 0, DIRECTORY, FD_READ | FD_WRITE), ISDIR);
    is(opened("file/below", 0, 0, 0), NOTDIR);
    let fd = open(DIR, "file", 0, FD_READ | FD_WRITE).unwrap_or(u32::MAX);
    is(write(fd, b"content").unwrap_or(0), 7u32);
    is(opened("file", 0, TRUNCATE, 0), SUCCESS);
    is(fd_filestat_get(fd, out()), SUCCESS);
    is(long(out() + 32), 0u64);
    is(fd_close(fd), SUCCESS);
    // What is no directory is no place to open from.
    let file = open(DIR, "file", 0, FD_READ).unwrap_or(u32::MAX);
    is(open(file, "x", 0, 0).err().unwrap_or(0), NOTDIR);
    is(fd_close(file), SUCCESS);
    is(open(99, "x", 0, 0).err().unwrap_or(0), BADF);
}

fn spellings() {
    create(DIR, "dir/nested/inner");
    is(opened("dir/.//nested/../../dir/nested/../nested///./inner", 0, 0, 0), SUCCESS);
    is(opened("dir/nested///", 0, 0, 0), SUCCESS);
    for name in ["dir/nested/inner/", "dir/nested/inner///", "dir/nested/inner/."] {
        is(opened(name, 0, 0, 0), NOTDIR);
        is(stat(DIR, name, 0), NOTDIR);
    }
    for name in ["/dir/nested/inner", "/", "..", "dir/../..", "dir/nested/../../../data/dir"] {
        is(opened(name, 0, 0, 0), NOTCAPABLE);
        is(stat(DIR, name, 0), NOTCAPABLE);
    }
    is(opened("dir/nested/inner\0", 0, 0, 0), INVAL);
    is(opened("", 0, 0, 0), NOENT);
    is(at(unlink, DIR, "dir/nested/inner/"), NOTDIR);
    is(at(unlink, DIR, "dir/nested/inner"), SUCCESS);
}

fn renaming() {
    create(DIR, "a");
    is(rename("a", "b"), SUCCESS);
    is(stat(DIR, "a", 0), NOENT);
    is(stat(DIR, "b", 0), SUCCESS);
    is(rename("missing", "b"), NOENT);
    create(DIR, "c");
    is(rename("b", "c"), SUCCESS);
    is(rename("c", "dir"), ISDIR);
    is(rename("dir", "c"), NOTDIR);
    is(rename("c", "new/"), NOTDIR);
    is(rename("dir/nested/", "moved"), SUCCESS);
    is(rename("moved", "dir/nested/"), SUCCESS);
    is(at(mkdir, DIR, "empty"), SUCCESS);
    is(rename("empty", "dir"), NOTEMPTY);
    is(rename("empty", "dir/nested"), SUCCESS);
    is(rename("c", "../c"), NOTCAPABLE);
    is(rename("../c", "c"), NOTCAPABLE);
    is(at(unlink, DIR, "c"), SUCCESS);
}

fn hard_links() {
    is(link("file", "link"), SUCCESS);
    is(stat(DIR, "link", 0), SUCCESS);
    is(long(out() + 24), 2u64);
    is(link("file", "link"), EXIST);
    is(link("file", "file"), EXIST);
    is(link("file", "dir"), EXIST);
    is(link("dir", "other"), PERM);
    is(link("file", "other/"), NOENT);
    is(link("missing", "other"), NOENT);
    let ((from, from_len), (to, to_len)) = (path("file"), path2("other"));
    is(path_link(DIR, FOLLOW, from, from_len, DIR, to, to_len), INVAL);
    is(at(unlink, DIR, "link"), SUCCESS);
}

fn symbolic_links() {
    is(symlink("target", "symlink"), SUCCESS);
    is(symlink("target", "symlink"), EXIST);
    is(symlink("target", "dir/"), EXIST);
    is(symlink("target", "file/"), NOTDIR);
    is(symlink("target", "other/"), NOENT);
    is(symlink("/target", "other"), NOTCAPABLE);
    put(buffer(), &[0xa5; 10]);
    let (name, len) = path("symlink");
    is(path_readlink(DIR, name, len, buffer(), 10, out()), SUCCESS);
    is(word(out()), 6u32);
    holds(has(buffer(), b"target\xa5\xa5\xa5\xa5"));
    put(buffer(), &[0xa5; 10]);
    is(path_readlink(DIR, name, len, buffer(), 4, out()), SUCCESS);
    is(word(out()), 4u32);
    holds(has(buffer(), b"targ\xa5"));
    let (name, len) = path("file");
    is(path_readlink(DIR, name, len, buffer(), 10, out()), INVAL);
}

fn following() {
    is(stat(DIR, "symlink", 0), SUCCESS);
    is(byte(out() + 16), SYMBOLIC_LINK);
    is(stat(DIR, "symlink", FOLLOW), NOENT);
    is(opened("symlink", 0, 0, 0), LOOP);
    is(opened("symlink", 0, DIRECTORY, 0), NOTDIR);
    is(link("symlink", "hard"), SUCCESS);
    is(at(unlink, DIR, "hard"), SUCCESS);
    is(rename("symlink", "renamed"), SUCCESS);
    is(rename("renamed", "symlink"), SUCCESS);
    is(at(mkdir, DIR, "target"), SUCCESS);
    is(opened("symlink", FOLLOW, DIRECTORY, 0), SUCCESS);
    is(opened("symlink", 0, DIRECTORY, 0), NOTDIR);
    is(at(rmdir, DIR, "symlink"), NOTDIR);
    is(at(rmdir, DIR, "target"), SUCCESS);
    is(symlink("loop", "loop"), SUCCESS);
    is(opened("loop", FOLLOW, 0, 0), LOOP);
    is(symlink("../data", "out"), SUCCESS);
    is(opened("out", FOLLOW, 0, 0), NOTCAPABLE);
    is(stat(DIR, "out/file", 0), NOTCAPABLE);
    for name in ["symlink", "loop", "out"] {
        is(at(unlink, DIR, name), SUCCESS);
    }
}

fn times() {
    const MODIFICATION: u32 = 4;
    is(symlink("file", "symlink"), SUCCESS);
    for (lookup, time) in [(0, 111), (FOLLOW, 222)] {
        let (name, len) = path("symlink");
        is(path_filestat_set_times(DIR, lookup, name, len, 0, time, MODIFICATION), SUCCESS);
        is(stat(DIR, "symlink", lookup), SUCCESS);
        is(long(out() + 48), time);
    }
    is(stat(DIR, "file", 0), SUCCESS);
    is(byte(out() + 16), REGULAR_FILE);
    is(long(out() + 48), 222u64);
    let (name, len) = path("file");
    is(path_filestat_set_times(DIR, 0, name, len, 0, 0, MODIFICATION | 8), INVAL);
    is(at(unlink, DIR, "symlink"), SUCCESS);
}

fn removing() {
    is(at(rmdir, DIR, "file"), NOTDIR);
    is(at(rmdir, DIR, "file/"), NOTDIR);
    is(at(unlink, DIR, "file"), SUCCESS);
    is(at(unlink, DIR, "file"), NOENT);
    is(at(rmdir, DIR, "."), INVAL);
    is(at(rmdir, DIR, ".."), NOTCAPABLE);
    is(at(rmdir, DIR, "dir/nested/"), SUCCESS);
    is(at(rmdir, DIR, "dir"), SUCCESS);
    is(at(rmdir, DIR, "dir"), NOENT);
}
