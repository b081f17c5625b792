//! Links that guests make.

use std::fs;
use std::os::unix::fs::MetadataExt;

use aura_wasi::Errno;
use tempfile::TempDir;

use crate::guest::*;

fn writable() -> (TempDir, Guest) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("sub")).expect("directory");
    fs::write(dir.path().join("file"), b"file").expect("file");
    let guest = Guest::in_dir("fs.write", dir.path());
    (dir, guest)
}

#[test]
fn a_hard_link_is_the_same_file() {
    let (dir, mut guest) = writable();
    let sub = guest.open(DIR, "sub", DIRECTORY, RIGHTS_ALL).expect("directory");
    assert_eq!(guest.link(DIR, "file", sub, "link"), Errno::SUCCESS);
    let inode = |name: &str| fs::metadata(dir.path().join(name)).expect(name).ino();
    assert_eq!(inode("file"), inode("sub/link"));
    assert_eq!(guest.stat(sub, "link", true), Errno::SUCCESS);
    assert_eq!((guest.long(OUT + 8), guest.long(OUT + 24)), (inode("file"), 2));
    for (from, to, errno) in [
        ("file", "sub/link", Errno::EXIST),
        ("file", "file", Errno::EXIST),
        ("file", "sub", Errno::EXIST),
        ("file", "sub/", Errno::EXIST),
        ("file", "new/", Errno::NOENT),
        ("file", "file/", Errno::NOTDIR),
        ("file/", "new", Errno::NOTDIR),
        ("sub", "new", Errno::PERM),
        ("sub/", "new", Errno::PERM),
        ("missing", "new", Errno::NOENT),
        ("missing/", "new", Errno::NOENT),
        (".", "new", Errno::INVAL),
        ("file", ".", Errno::INVAL),
        ("file", "sub/..", Errno::INVAL),
        ("..", "new", Errno::NOTCAPABLE),
        ("file", "../new", Errno::NOTCAPABLE),
        ("file", "/new", Errno::NOTCAPABLE),
    ] {
        assert_eq!(guest.link(DIR, from, DIR, to), errno, "{from} to {to}");
    }
    let [at, len] = guest.path("file");
    assert_eq!(guest.call("path_link", &[DIR.into(), 1, at, len, DIR.into(), at, len]), Errno::INVAL, "follow");
}

#[test]
fn a_hard_link_of_a_symbolic_link_is_one_too() {
    let (dir, mut guest) = writable();
    for (target, name) in [("missing", "dangling"), ("loop", "loop")] {
        assert_eq!(guest.symlink(target, DIR, name), Errno::SUCCESS);
        assert_eq!(guest.link(DIR, name, DIR, "link"), Errno::SUCCESS);
        assert_eq!(guest.readlink(DIR, "link"), Ok(target.into()));
        assert_eq!(guest.link(DIR, "file", DIR, name), Errno::EXIST);
        assert_eq!(guest.at_path("path_unlink_file", DIR, "link"), Errno::SUCCESS);
    }
    assert!(dir.path().join("file").exists());
}

#[test]
fn symbolic_links_are_kept_as_written() {
    let (dir, mut guest) = writable();
    for (index, target) in
        ["file", "sub/../file", "./file", "sub/", "missing", "..", "../..", "a//b/."].iter().enumerate()
    {
        let name = format!("link-{index}");
        assert_eq!(guest.symlink(target, DIR, &name), Errno::SUCCESS, "{target}");
        assert_eq!(guest.readlink(DIR, &name).expect(target), target.as_bytes());
        assert_eq!(fs::read_link(dir.path().join(&name)).expect("a link").to_str(), Some(*target));
    }
    assert!(guest.open(DIR, "link-1", 0, RIGHT_READ).is_ok());
    for name in ["link-5", "link-6", "link-5/outside"] {
        assert_eq!(guest.open(DIR, name, 0, RIGHT_READ), Err(Errno::NOTCAPABLE), "{name}");
    }
    for (target, name, errno) in [
        ("file", "file", Errno::EXIST),
        ("file", "link-4", Errno::EXIST),
        ("file", "sub", Errno::EXIST),
        ("file", "sub/", Errno::EXIST),
        ("file", "file/", Errno::NOTDIR),
        ("file", "new/", Errno::NOENT),
        ("file", "missing/new", Errno::NOENT),
        ("file", "file/new", Errno::NOTDIR),
        ("file", ".", Errno::INVAL),
        ("file", "..", Errno::NOTCAPABLE),
        ("", "new", Errno::NOENT),
        ("a\0b", "new", Errno::INVAL),
        ("file", "a\0b", Errno::INVAL),
    ] {
        assert_eq!(guest.symlink(target, DIR, name), errno, "{target:?} at {name:?}");
    }
}

/// HOSTILE 1b, CVE-2025-43853 and CVE-2024-38358: a link that names host paths is not made, and one that
/// leads out by another way is of no use.
#[test]
fn cve_2025_43853_cve_2024_38358_links_that_lead_out() {
    let root = tempfile::tempdir().expect("a directory");
    let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
    fs::create_dir(&inside).expect("directory");
    fs::create_dir(&outside).expect("directory");
    fs::write(outside.join("secret"), b"secret").expect("file");
    let mut guest = Guest::in_dir("fs.write", &inside);
    let secret = outside.join("secret").display().to_string();
    for target in ["/", "//", "/etc/passwd", &secret] {
        assert_eq!(guest.symlink(target, DIR, "absolute"), Errno::NOTCAPABLE, "{target}");
    }
    let denied = guest.ctx.denials()[0].to_string();
    assert!(denied.starts_with("path_symlink of \"/\", outside the granted directory"), "{denied}");
    for (name, target) in
        [("out", "../outside/secret"), ("dir", "../outside"), ("slash", "../outside/"), ("dot", "../outside/.")]
    {
        assert_eq!(guest.symlink(target, DIR, name), Errno::SUCCESS);
        for way in [name.to_owned(), format!("{name}/"), format!("{name}/secret"), format!("{name}/new")] {
            for (open_flags, rights) in
                [(0, RIGHT_READ), (CREATE, RIGHT_WRITE), (TRUNCATE, RIGHT_WRITE), (DIRECTORY, 0)]
            {
                let opened = guest.open(DIR, &way, open_flags, rights);
                assert!(matches!(opened, Err(Errno::NOTCAPABLE | Errno::NOENT | Errno::ISDIR)), "{way}: {opened:?}");
            }
            assert_ne!(guest.stat(DIR, &way, true), Errno::SUCCESS, "{way}");
        }
        for operation in ["path_create_directory", "path_unlink_file", "path_remove_directory"] {
            assert_eq!(guest.at_path(operation, DIR, &format!("{name}/secret")), Errno::NOTCAPABLE, "{operation}");
        }
        assert_eq!(guest.link(DIR, &format!("{name}/secret"), DIR, "stolen"), Errno::NOTCAPABLE);
        assert_eq!(guest.rename(DIR, &format!("{name}/secret"), DIR, "stolen"), Errno::NOTCAPABLE);
        assert_eq!(guest.symlink("x", DIR, &format!("{name}/planted")), Errno::NOTCAPABLE);
    }
    assert_eq!(fs::read(outside.join("secret")).expect("file"), b"secret");
    assert_eq!(fs::read_dir(&outside).expect("listing").count(), 1);
    assert!(!inside.join("stolen").exists() && !inside.join("absolute").exists());
}
