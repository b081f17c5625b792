//! No path, link or spelling leads out of a granted directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aura_wasi::Errno;
use tempfile::TempDir;

use crate::guest::*;

/// A granted directory `inside` beside an `outside` with a secret, and links of every kind.
fn tree() -> (TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().expect("a directory");
    let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
    for dir in [&inside, &outside, &inside.join("sub"), &outside.join("dir")] {
        fs::create_dir(dir).expect("directory");
    }
    fs::write(outside.join("secret"), b"secret").expect("file");
    fs::write(inside.join("file"), b"file").expect("file");
    let out = outside.display();
    for (name, target) in [
        ("abs-file", format!("{out}/secret")),
        ("abs-dir", out.to_string()),
        ("abs-slash", format!("{out}/")),
        ("abs-missing", format!("{out}/missing")),
        ("up", "..".into()),
        ("up-slash", "../".into()),
        ("up-dot", "../.".into()),
        ("up-file", "../outside/secret".into()),
        ("up-missing", "../outside/missing".into()),
        ("up-dir", "../outside/dir".into()),
        ("up-dir-slash", "../outside/dir//".into()),
        ("through", "sub/../../outside/secret".into()),
        ("chain", "up-dir".into()),
        ("chain2", "chain/".into()),
        ("root", "/".into()),
        ("proc", "/proc/self/root".into()),
        ("return", "../inside/file".into()),
    ] {
        symlink(target, inside.join(name)).expect("link");
    }
    symlink("loop", inside.join("loop")).expect("link");
    symlink("../../outside/secret", inside.join("sub/up-file")).expect("link");
    (root, inside, outside)
}

fn snapshot(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("listing") {
            let entry = entry.expect("entry");
            let (path, kind) = (entry.path(), entry.file_type().expect("type"));
            if kind.is_dir() {
                dirs.push(path.clone());
            }
            let content = kind.is_file().then(|| fs::read(&path).expect("content"));
            found.insert(path, content);
        }
    }
    found
}

const SUFFIXES: [&str; 8] = ["", "/", "//", "/.", "/./", "/..", "/../", "/secret"];

/// Every way out: plain paths and links, which the kernel resolves at the last component or before it.
fn ways_out(outside: &Path) -> Vec<String> {
    let mut ways: Vec<String> = [
        "..",
        "../",
        "../outside/secret",
        "sub/../..",
        "sub/../../outside/secret",
        "./../outside/secret",
        "/",
        "//",
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/root/etc/passwd",
        "file/../../outside/secret",
        "../inside/file",
        "abs-file",
        "abs-dir",
        "abs-slash",
        "abs-missing",
        "up",
        "up-slash",
        "up-dot",
        "up-file",
        "up-missing",
        "up-dir",
        "up-dir-slash",
        "through",
        "chain",
        "chain2",
        "root",
        "proc",
        "return",
        "sub/up-file",
        "abs-dir/secret",
        "up/outside/secret",
        "sub/../up-file",
        "root/etc/passwd",
        "proc/etc/passwd",
        "abs-dir/new",
        "up-dir/new",
        "chain/new",
    ]
    .map(String::from)
    .to_vec();
    ways.push(outside.join("secret").display().to_string());
    ways
}

fn assert_refused(result: Errno, what: &str, path: &str) {
    // Whatever the reason given, it was refused; it was not a crash, and never success.
    assert_ne!(result, Errno::SUCCESS, "{what} of {path}");
}

/// HOSTILE 1b, CVE-2024-38358, CVE-2025-43853 and GHSA-vqjp-4c8c-hfgg: links and slashes against
/// every operation that follows them.
#[test]
fn cve_2024_38358_cve_2025_43853_ghsa_vqjp_followed_paths_stay_inside() {
    let (root, inside, outside) = tree();
    let before = snapshot(root.path());
    for action in ["fs.read", "fs.write"] {
        let mut guest = Guest::in_dir(action, &inside);
        for way in ways_out(&outside) {
            for suffix in SUFFIXES {
                let path = format!("{way}{suffix}");
                for open_flags in [0, CREATE, TRUNCATE, CREATE | TRUNCATE, CREATE | EXCLUSIVE, DIRECTORY] {
                    for rights in [RIGHT_READ, RIGHT_READ | RIGHT_WRITE, 0] {
                        let errno = guest.open(DIR, &path, open_flags, rights).err().unwrap_or(Errno::SUCCESS);
                        assert_refused(errno, "path_open", &path);
                    }
                }
                assert_refused(guest.stat(DIR, &path, true), "path_filestat_get", &path);
                let [at, len] = guest.path(&path);
                let args = [DIR.into(), 1, at, len, 0, 0, 5];
                assert_refused(guest.call("path_filestat_set_times", &args), "path_filestat_set_times", &path);
            }
        }
        assert_eq!(snapshot(root.path()), before, "{action}");
    }
}

/// The same ways for operations that act on a name: they may act on a link itself, inside, but
/// never on anything outside.
#[test]
fn ghsa_vqjp_operations_on_names_stay_inside() {
    let on_one = ["path_unlink_file", "path_remove_directory", "path_create_directory"];
    for operation in on_one.into_iter().chain(["from", "to", "link from", "link to", "symlink"]) {
        let (root, inside, outside) = tree();
        let before = snapshot(&outside);
        let mut guest = Guest::in_dir("fs.write", &inside);
        for way in ways_out(&outside) {
            for suffix in SUFFIXES {
                let path = format!("{way}{suffix}");
                let errno = match operation {
                    "from" => guest.rename(DIR, &path, DIR, "renamed"),
                    "to" => {
                        fs::write(inside.join("source"), b"").expect("file");
                        guest.rename(DIR, "source", DIR, &path)
                    }
                    "link from" => {
                        let errno = guest.link(DIR, &path, DIR, "linked");
                        guest.at_path("path_unlink_file", DIR, "linked");
                        errno
                    }
                    "link to" => guest.link(DIR, "file", DIR, &path),
                    "symlink" => guest.symlink("sub", DIR, &path),
                    _ => guest.at_path(operation, DIR, &path),
                };
                let leads_out = ["/", ".", "sub/../.", "file/"].iter().any(|start| way.starts_with(start));
                if leads_out || suffix.len() > 2 {
                    assert_refused(errno, operation, &path);
                }
                assert_eq!(snapshot(&outside), before, "{operation} of {path}");
            }
        }
        let beside: Vec<_> = fs::read_dir(root.path()).expect("listing").collect();
        assert_eq!(beside.len(), 2, "{operation}");
    }
}

#[test]
fn link_texts_are_told_unless_absolute() {
    let (_root, inside, _outside) = tree();
    let mut guest = Guest::in_dir("fs.read", &inside);
    assert_eq!(guest.readlink(DIR, "abs-file"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.readlink(DIR, "up-file").expect("target"), b"../outside/secret");
    assert_eq!(guest.readlink(DIR, "loop").expect("target"), b"loop");
    for path in ["up-dir/", "abs-dir/", "up/outside", "../outside", "/etc/mtab"] {
        assert!(guest.readlink(DIR, path).is_err(), "{path}");
    }
    assert_eq!(guest.open(DIR, "loop", 0, RIGHT_READ), Err(Errno::LOOP));
}

#[test]
fn a_subdirectory_is_no_way_back_up() {
    let (_root, inside, _outside) = tree();
    let mut guest = Guest::in_dir("fs.write", &inside);
    let sub = guest.open(DIR, "sub", DIRECTORY, RIGHTS_ALL).expect("directory");
    for path in ["..", "../file", "../../outside/secret", "up-file"] {
        assert_eq!(guest.open(sub, path, 0, RIGHT_READ), Err(Errno::NOTCAPABLE), "{path}");
    }
    let own = guest.list(sub, 4096).expect("listing");
    let inode = |name: &str| own.iter().find(|row| row.0 == name).expect("a name").1;
    assert_eq!(inode(".."), inode("."), "the number of what lies above is not told");
}

#[test]
fn refusals_say_so() {
    let (_root, inside, _outside) = tree();
    let mut guest = Guest::in_dir("fs.read", &inside);
    for path in ["..", "/etc/passwd", "up-file", "abs-file", "sub/../.."] {
        assert_eq!(guest.open(DIR, path, 0, RIGHT_READ), Err(Errno::NOTCAPABLE), "{path}");
        assert_eq!(guest.stat(DIR, path, true), Errno::NOTCAPABLE, "{path}");
    }
    let text = guest.ctx.denials()[0].to_string();
    assert_eq!(text, "path_open of \"..\", outside the granted directory: needs fs.read=HOST[::GUEST]");
}

#[test]
fn trailing_slashes_ask_for_a_directory() {
    let (_root, inside, _outside) = tree();
    symlink("sub", inside.join("to-sub")).expect("link");
    let mut guest = Guest::in_dir("fs.write", &inside);
    assert_eq!(guest.open(DIR, "file/", 0, RIGHT_READ), Err(Errno::NOTDIR));
    assert_eq!(guest.open(DIR, "new/", CREATE, RIGHT_WRITE), Err(Errno::ISDIR));
    assert_eq!(guest.stat(DIR, "file/", true), Errno::NOTDIR);
    assert_eq!(guest.stat(DIR, "sub/", true), Errno::SUCCESS);
    assert_eq!(guest.at_path("path_unlink_file", DIR, "file/"), Errno::NOTDIR);
    assert_eq!(guest.at_path("path_unlink_file", DIR, "to-sub/"), Errno::NOTDIR);
    assert_eq!(guest.at_path("path_unlink_file", DIR, "sub/"), Errno::ISDIR);
    assert_eq!(guest.at_path("path_remove_directory", DIR, "to-sub/"), Errno::NOTDIR);
    assert_eq!(guest.rename(DIR, "file/", DIR, "new"), Errno::NOTDIR);
    assert_eq!(guest.rename(DIR, "file", DIR, "new/"), Errno::NOTDIR);
    assert_eq!(guest.rename(DIR, "to-sub/", DIR, "new"), Errno::NOTDIR);
    assert!(inside.join("file").exists() && inside.join("sub").exists());
    for name in ["path_unlink_file", "path_remove_directory"] {
        for path in [".", "sub/.", "sub/..", "./."] {
            assert_eq!(guest.at_path(name, DIR, path), Errno::INVAL, "{name} of {path}");
        }
    }
}

/// HOSTILE 1b, erlang_wasm 0.10.1: a NUL never shortens a path; neither do length or encoding.
#[test]
fn erlang_wasm_nul_and_other_malformed_paths_in_every_argument() {
    let (root, inside, _outside) = tree();
    let before = snapshot(root.path());
    let mut guest = Guest::in_dir("fs.write", &inside);
    let long = "x".repeat(4097);
    let malformed: [(&[u8], Errno); 5] = [
        (b"file\0../../x", Errno::INVAL),
        (b"\0", Errno::INVAL),
        (b"\xff\xfe", Errno::ILSEQ),
        (b"", Errno::NOENT),
        (long.as_bytes(), Errno::NAMETOOLONG),
    ];
    let fine = guest.path2("file");
    for (bytes, errno) in malformed {
        guest.put(PATH, bytes);
        let [at, len] = [PATH.into(), bytes.len() as u64];
        let dir = DIR.into();
        for (name, args) in [
            ("path_open", vec![dir, 1, at, len, 0, RIGHT_READ, 0, 0, OUT.into()]),
            ("path_filestat_get", vec![dir, 1, at, len, OUT.into()]),
            ("path_filestat_set_times", vec![dir, 1, at, len, 0, 0, 5]),
            ("path_readlink", vec![dir, at, len, BUFFER.into(), 10, OUT.into()]),
            ("path_create_directory", vec![dir, at, len]),
            ("path_remove_directory", vec![dir, at, len]),
            ("path_unlink_file", vec![dir, at, len]),
            ("path_rename", vec![dir, at, len, dir, fine[0], fine[1]]),
            ("path_rename", vec![dir, fine[0], fine[1], dir, at, len]),
            ("path_link", vec![dir, 0, at, len, dir, fine[0], fine[1]]),
            ("path_link", vec![dir, 0, fine[0], fine[1], dir, at, len]),
            ("path_symlink", vec![at, len, dir, fine[0], fine[1]]),
            ("path_symlink", vec![fine[0], fine[1], dir, at, len]),
        ] {
            assert_eq!(guest.call(name, &args), errno, "{name} of {bytes:?}");
        }
    }
    assert_eq!(snapshot(root.path()), before);
}

/// Links that only the kernel can make, and that lead anywhere: those of `/proc`.
#[test]
fn links_of_the_kernel_are_not_followed() {
    let mut guest = Guest::in_dir("fs.read", Path::new("/proc/self"));
    for path in ["root/etc/passwd", "cwd/.", "root", "exe", "fd/0", "root/"] {
        let opened = guest.open(DIR, path, 0, RIGHT_READ);
        assert!(matches!(opened, Err(Errno::LOOP | Errno::NOTCAPABLE | Errno::NOENT)), "{path}: {opened:?}");
    }
    assert!(guest.open(DIR, "status", 0, RIGHT_READ).is_ok());
}

/// The kernel's own limit is the guest's: what fits is resolved, however much of it says nothing.
#[test]
fn the_longest_path_is_resolved() {
    let (_root, inside, _outside) = tree();
    let mut guest = Guest::in_dir("fs.read", &inside);
    let padded = |len: usize| format!("{}file", "./".repeat((len - 4) / 2));
    assert_eq!(guest.stat(DIR, &padded(4094), true), Errno::SUCCESS);
    assert_eq!(guest.stat(DIR, &padded(4096), true), Errno::NAMETOOLONG);
}

/// HOSTILE 1b, CVE-2024-51745, CVE-2024-51756 and GHSA-f2pq-268w-886c: the crate builds for Linux
/// only, where names of Windows devices, drives and streams are names like any other.
#[test]
fn cve_2024_51745_ghsa_f2pq_windows_names_are_plain_names() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut guest = Guest::in_dir("fs.write", dir.path());
    for name in ["COM\u{b9}", "LPT0", "C:foo", "\\\\?\\C:", "f:stream", "..\\x"] {
        guest.open(DIR, name, CREATE, RIGHT_WRITE).expect(name);
        assert!(dir.path().join(name).is_file(), "{name}");
    }
}
