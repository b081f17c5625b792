//! The permission matrix: every function that takes a path, with every grant, and every way to spell a
//! path, against a golden.
//!
//! Each cell finds the tree as it was made. Beside the answer it says what changed on the host, as a
//! comparison of names, contents, targets, times and numbers of links before and after shows. Outside of the
//! granted directory, and without a grant to write, nothing may. `BLESS=1` renews the golden.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use aura_wasi::Errno;
use tempfile::TempDir;

use crate::guest::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/preview1/matrix.golden");

/// How a guest came by descriptor 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// Nothing was granted there; standard streams are.
    None,
    /// Reading and writing was, until it was taken back; another directory still is.
    Revoked,
    Read,
    /// Reading, and adding what is new.
    Create,
    Write,
}

const GRANTS: [Grant; 5] = [Grant::None, Grant::Revoked, Grant::Read, Grant::Create, Grant::Write];

fn spellings(outside: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("a file", text("file")),
        ("a directory", text("empty")),
        ("something new", text("new")),
        ("..", text("..")),
        ("below ..", text("../outside/secret")),
        ("absolute", text(&outside.join("secret").display().to_string())),
        ("symlink inside", text("inside-link")),
        ("symlink out", text("outside-link")),
        ("below symlink out", text("outside-directory/secret")),
        ("loop", text("loop")),
        ("dangling", text("dangling")),
        ("file/", text("file/")),
        ("directory/", text("empty/")),
        ("new/", text("new/")),
        ("symlink out/", text("outside-directory/")),
        ("file/.", text("file/.")),
        ("directory/.", text("empty/.")),
        ("symlink out/.", text("outside-directory/.")),
        (".", text(".")),
        ("empty", Vec::new()),
        ("NUL", text("file\0/../../outside/secret")),
        ("4096 bytes", "./".repeat(2046).into_bytes().into_iter().chain(*b"file").collect()),
        ("4097 bytes", vec![b'x'; 4097]),
        ("not UTF-8", b"\xff\xfe".to_vec()),
    ]
}

/// A function of one path; another it may take is fixed.
struct Operation {
    name: &'static str,
    call: fn(&mut Guest, [u64; 2]) -> Errno,
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "path_create_directory",
        call: |guest, [at, len]| guest.call("path_create_directory", &[3, at, len]),
    },
    Operation {
        name: "path_filestat_get, following",
        call: |guest, [at, len]| guest.call("path_filestat_get", &[3, 1, at, len, OUT.into()]),
    },
    Operation {
        name: "path_filestat_get",
        call: |guest, [at, len]| guest.call("path_filestat_get", &[3, 0, at, len, OUT.into()]),
    },
    Operation {
        name: "path_filestat_set_times, following",
        call: |guest, [at, len]| guest.call("path_filestat_set_times", &[3, 1, at, len, 7, 7, 5]),
    },
    Operation {
        name: "path_filestat_set_times",
        call: |guest, [at, len]| guest.call("path_filestat_set_times", &[3, 0, at, len, 7, 7, 5]),
    },
    Operation {
        name: "path_link from",
        call: |guest, [at, len]| {
            let [to, to_len] = guest.path2("linked");
            guest.call("path_link", &[3, 0, at, len, 3, to, to_len])
        },
    },
    Operation {
        name: "path_link to",
        call: |guest, [at, len]| {
            let [from, from_len] = guest.path2("other");
            guest.call("path_link", &[3, 0, from, from_len, 3, at, len])
        },
    },
    Operation { name: "path_open to read, following", call: |guest, path| open(guest, path, 1, 0, RIGHT_READ) },
    Operation { name: "path_open to read", call: |guest, path| open(guest, path, 0, 0, RIGHT_READ) },
    Operation { name: "path_open to write, following", call: |guest, path| open(guest, path, 1, 0, RIGHT_WRITE) },
    Operation { name: "path_open to create, following", call: |guest, path| open(guest, path, 1, CREATE, RIGHT_WRITE) },
    Operation { name: "path_open to truncate, following", call: |guest, path| open(guest, path, 1, TRUNCATE, 0) },
    Operation {
        name: "path_open of a directory, following",
        call: |guest, path| open(guest, path, 1, DIRECTORY, RIGHT_READ),
    },
    Operation {
        name: "path_readlink",
        call: |guest, [at, len]| guest.call("path_readlink", &[3, at, len, BUFFER.into(), 100, OUT.into()]),
    },
    Operation {
        name: "path_remove_directory",
        call: |guest, [at, len]| guest.call("path_remove_directory", &[3, at, len]),
    },
    Operation {
        name: "path_rename from",
        call: |guest, [at, len]| {
            let [to, to_len] = guest.path2("renamed");
            guest.call("path_rename", &[3, at, len, 3, to, to_len])
        },
    },
    Operation {
        name: "path_rename to",
        call: |guest, [at, len]| {
            let [from, from_len] = guest.path2("other");
            guest.call("path_rename", &[3, from, from_len, 3, at, len])
        },
    },
    Operation {
        name: "path_symlink at",
        call: |guest, [at, len]| {
            let [target, target_len] = guest.path2("file");
            guest.call("path_symlink", &[target, target_len, 3, at, len])
        },
    },
    Operation {
        name: "path_symlink to",
        call: |guest, [at, len]| {
            let [name, name_len] = guest.path2("made");
            guest.call("path_symlink", &[at, len, 3, name, name_len])
        },
    },
    Operation { name: "path_unlink_file", call: |guest, [at, len]| guest.call("path_unlink_file", &[3, at, len]) },
];

/// Opens, and writes if that was asked for.
fn open(guest: &mut Guest, [at, len]: [u64; 2], lookup: u64, flags: u32, rights: u64) -> Errno {
    let errno = guest.call("path_open", &[3, lookup, at, len, flags.into(), rights, rights, 0, OUT.into()]);
    if errno == Errno::SUCCESS && rights == RIGHT_WRITE {
        let fd = guest.word(OUT);
        assert_eq!(guest.write(fd, b"written"), Ok(7));
    }
    errno
}

/// `inside`, which is granted, beside `outside`, which is not.
fn tree(root: &Path) {
    let (inside, outside) = (root.join("inside"), root.join("outside"));
    for dir in [&inside, &outside, &inside.join("empty")] {
        fs::create_dir(dir).expect("directory");
    }
    fs::write(inside.join("file"), b"content").expect("file");
    fs::write(inside.join("other"), b"other").expect("file");
    fs::write(outside.join("secret"), b"secret").expect("file");
    for (target, name) in [
        ("file", "inside-link"),
        ("../outside/secret", "outside-link"),
        ("../outside", "outside-directory"),
        ("loop", "loop"),
        ("missing", "dangling"),
    ] {
        symlink(target, inside.join(name)).expect("link");
    }
}

type Snapshot = BTreeMap<String, (u64, String)>;

/// All of a tree but the times of access, which reading changes by the host's own rules.
fn snapshot(root: &Path) -> Snapshot {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).expect("metadata");
        let mut content = String::new();
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).expect("listing").map(|entry| entry.expect("entry").path()));
        } else if meta.is_symlink() {
            content = fs::read_link(&path).expect("link").display().to_string();
        } else {
            content = String::from_utf8(fs::read(&path).expect("content")).expect("text");
        }
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let facts = format!("{times:?} {} {} {content}", meta.nlink(), meta.mode());
        found.insert(path.strip_prefix(root).expect("below").display().to_string(), (meta.ino(), facts));
    }
    found
}

/// What differs, as words: `+` is new, `-` is gone, `=` is another file, `~` has changed. Directories change
/// with what is in them.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut words = Vec::new();
    for (name, (inode, facts)) in before {
        match after.get(name) {
            None => words.push(format!("-{name}")),
            Some((other, _)) if other != inode => words.push(format!("={name}")),
            Some((_, other)) if other != facts && !name.is_empty() => words.push(format!("~{name}")),
            Some(_) => {}
        }
    }
    words.extend(after.keys().filter(|name| !before.contains_key(*name)).map(|name| format!("+{name}")));
    words
}

/// A tree, and what was found in it when it was made. It serves until a call has changed it.
struct Ground {
    root: TempDir,
    before: Snapshot,
}

impl Ground {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        tree(root.path());
        let before = snapshot(root.path());
        Self { root, before }
    }

    /// A guest with this grant of `inside`.
    fn guest(&self, grant: Grant, elsewhere: &Path) -> Guest {
        let inside = self.root.path().join("inside");
        let mut guest = Guest::with(&["stdio"]);
        match grant {
            Grant::None => {}
            Grant::Read => drop(guest.grant(&format!("fs.read={}::/d", inside.display()))),
            Grant::Create => drop(guest.grant(&format!("fs.create={}::/d", inside.display()))),
            Grant::Write => drop(guest.grant(&format!("fs.write={}::/d", inside.display()))),
            Grant::Revoked => {
                let granted = guest.grant(&format!("fs.write={}::/d", inside.display()));
                guest.grant(&format!("fs.write={}::/e", elsewhere.display()));
                granted.revoke();
            }
        }
        guest
    }
}

/// One cell: the answer and what changed.
fn cell(ground: &mut Ground, operation: &Operation, grant: Grant, spelling: usize) -> String {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut guest = ground.guest(grant, elsewhere.path());
    let path = &spellings(&ground.root.path().join("outside"))[spelling].1;
    guest.put(PATH, path);
    let errno = (operation.call)(&mut guest, [PATH.into(), path.len() as u64]);
    let after = snapshot(ground.root.path());
    if !matches!(grant, Grant::Create | Grant::Write) {
        assert_eq!(ground.before, after, "{} {grant:?} {path:?}", operation.name);
        assert_eq!(fs::read_dir(elsewhere.path()).expect("listing").count(), 0);
    }
    let of_outside = |snapshot: &Snapshot| -> Vec<_> {
        snapshot.iter().filter(|row| row.0.starts_with("outside")).map(|row| format!("{row:?}")).collect()
    };
    assert_eq!(of_outside(&ground.before), of_outside(&after), "{} {grant:?} {path:?}", operation.name);
    let words = changes(&ground.before, &after).into_iter().filter(|word| word != "~inside");
    let words = words.map(|word| word.replacen("inside/", "", 1));
    let words: Vec<_> = words.collect();
    if grant == Grant::Create {
        assert!(words.iter().all(|word| word.starts_with('+')), "{} {path:?}: {words:?}", operation.name);
    }
    let text = [errno.name().to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ");
    if ground.before != after {
        *ground = Ground::new();
    }
    text
}

fn table() -> String {
    let mut text = String::from(
        "The answers of every function that takes a path, by grant and spelling of the path, and what each\n\
         changed below the granted directory: + new, - gone, = another, ~ changed. Made by `BLESS=1 cargo test -p\n\
         aura-wasi --test preview1 matrix`.\n",
    );
    let spellings: Vec<_> = spellings(Path::new("/")).into_iter().map(|row| row.0).collect();
    let mut ground = Ground::new();
    for operation in OPERATIONS {
        let _ = writeln!(
            text,
            "\n{}\n  {:20}{:12}{:12}{:12}{:16}write",
            operation.name, "", "none", "revoked", "read", "create"
        );
        for (index, spelling) in spellings.iter().enumerate() {
            let [none, revoked, read, create, write] = GRANTS.map(|grant| cell(&mut ground, operation, grant, index));
            let _ = writeln!(text, "  {spelling:20}{none:12}{revoked:12}{read:12}{create:16}{write}");
        }
    }
    text
}

#[test]
fn the_permission_matrix_is_the_golden() {
    let table = table();
    if std::env::var_os("BLESS").is_some() {
        fs::write(GOLDEN, &table).expect("the golden");
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    for (line, (expected, found)) in golden.lines().zip(table.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of the golden; BLESS=1 renews it", line + 1);
    }
    assert_eq!(golden.lines().count(), table.lines().count(), "BLESS=1 renews the golden");
}

/// Every function with a path in its name is in the matrix.
#[test]
fn the_permission_matrix_is_complete() {
    for function in aura_wasi::FUNCTIONS.iter().filter(|function| function.name.starts_with("path_")) {
        assert!(OPERATIONS.iter().any(|operation| operation.name.starts_with(function.name)), "{}", function.name);
    }
}
