//! Holds the shape of the repository: the arrows between its crates, the rivals' place, the heads
//! of files, and that the documents name only what exists.
//!
//! Everything is read from the files as they are; a new crate or document is covered without a
//! change here, except that a crate's arrows are stated in [`ARROWS`].

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{code_of, count_word, files, root, shown};

/// Which of our crates each folder may use, in any table of dependencies. As ARCHITECTURE.md says.
const ARROWS: &[(&str, &[&str])] = &[
    ("host-abi", &[]),
    ("validator", &["host-abi"]),
    ("jit", &["host-abi", "validator"]),
    ("runtime", &["host-abi", "validator", "jit"]),
    ("wasi", &["host-abi"]),
    ("policy", &["runtime", "wasi"]),
    ("spec-tests", &["runtime", "wasi"]),
    ("cli", &["runtime", "wasi", "policy", "spec-tests"]),
    ("benches", &["runtime", "wasi"]),
    ("guest", &[]),
    ("examples/embed", &["runtime", "wasi"]),
    ("fuzz", &["runtime", "wasi"]),
];

/// Engines of others: only the benches may depend on one.
const RIVALS: &[&str] = &["wasmtime", "wasmtime-wasi", "wasmi", "wasmi_wasi", "wasmer", "wasm3", "wamr"];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A manifest, by the folder it stands in.
fn manifests() -> Vec<(String, String)> {
    let found = files("", &["Cargo.toml"]).into_iter();
    let found = found.map(|path| (shown(path.parent().expect("a file has a folder")), read(&path)));
    found.filter(|(folder, _)| !folder.is_empty()).collect()
}

/// The names in all tables of dependencies of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut within = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            within = header.ends_with("dependencies");
            names.extend(header.split_once("dependencies.").map(|(_, name)| name.to_owned()));
        } else if within && !line.starts_with('#') {
            names.extend(line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    names
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    for (folder, manifest) in manifests() {
        let (_, allowed) =
            ARROWS.iter().find(|(name, _)| *name == folder).unwrap_or_else(|| panic!("{folder}: no arrows"));
        for name in dependencies(&manifest) {
            if let Some(ours) = name.strip_prefix("aura-") {
                assert!(allowed.contains(&ours), "{folder}/Cargo.toml: {folder} may not use {ours}");
            }
            assert!(folder == "benches" || !RIVALS.contains(&name.as_str()), "{folder}/Cargo.toml: {name} is a rival");
        }
    }
}

#[test]
fn the_workspace_has_every_crate_and_builds_no_rival_by_default() {
    let workspace = read(&root().join("Cargo.toml"));
    let list = |key: &str| -> BTreeSet<String> {
        let text = workspace.split_once(&format!("\n{key} = [")).unwrap_or_else(|| panic!("no {key}")).1;
        let text = text.split_once(']').expect("a list ends").0;
        text.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let members = list("members");
    let folders: BTreeSet<String> = manifests().into_iter().map(|(folder, _)| folder).filter(|f| f != "fuzz").collect();
    assert_eq!(members, folders);
    let missing: Vec<_> = members.difference(&list("default-members")).cloned().collect();
    assert_eq!(missing, ["benches"]);
}

#[test]
fn packages_are_named_after_their_folders() {
    for (folder, manifest) in manifests() {
        let name = if folder == "examples/embed" { "examples" } else { folder.as_str() };
        assert!(manifest.contains(&format!("name = \"aura-{name}\"")), "{folder}/Cargo.toml");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{folder}/Cargo.toml: the workspace's lints");
        assert!(!manifest.contains("description = \"x\""), "{folder}/Cargo.toml: the description says nothing");
    }
}

#[test]
fn the_document_draws_the_same_arrows() {
    let document = read(&root().join("ARCHITECTURE.md"));
    for (folder, allowed) in ARROWS {
        let room = folder.split('/').next().expect("a folder has a name");
        let Some(row) = document.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{room}/`")))
        else {
            assert!(!root().join(folder).exists(), "ARCHITECTURE.md has no row for `{room}/`");
            continue;
        };
        let last = row.trim().trim_end_matches('|').rsplit('|').next().expect("a row has cells").replace('`', "");
        let mut named: Vec<&str> = last.split(',').map(str::trim).collect();
        named.retain(|name| *name != "nothing of ours");
        assert_eq!(&named, allowed, "ARCHITECTURE.md, row `{room}/`");
    }
}

#[test]
fn the_readme_lists_every_grant() {
    let readme = read(&root().join("README.md"));
    for action in aura_runtime::Action::ALL {
        let row = format!("| `{}` | {} |", action.hint(), action.describe());
        assert!(readme.contains(&row), "README.md lacks the row {row}");
    }
}

#[test]
fn files_open_with_what_they_are() {
    let bare = files("", &[".rs"]).into_iter().filter(|path| !read(path).starts_with("//!"));
    assert_eq!(bare.map(|path| shown(&path)).collect::<Vec<_>>(), [""; 0], "files that do not open with `//!`");
}

#[test]
fn files_with_unsafe_code_state_their_invariants() {
    let silent = files("", &[".rs"]).into_iter().filter(|path| {
        let text = read(path);
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let has_unsafe = count_word(&code_of(source::without_tests(&text)), "unsafe") > 0;
        let name = shown(path);
        let is_product = !name.split('/').any(|part| part == "tests") && !name.starts_with("examples/guests");
        has_unsafe && is_product && !head.contains("# Safety")
    });
    assert_eq!(
        silent.map(|path| shown(&path)).collect::<Vec<_>>(),
        [""; 0],
        "unsafe code without `# Safety` in the head"
    );
}

/// Files of the crates that guests depend on which may reach the host without a grant: for the embedder, or by a grant's name.
const AMBIENT: &[&str] = &[
    "policy/src/audit.rs",
    "policy/src/policy.rs",
    "policy/src/schema.rs",
    "runtime/src/files.rs",
    "wasi/src/beneath.rs",
    "wasi/src/ctx.rs",
    "wasi/src/net.rs",
];

#[test]
fn ambient_authority_is_where_it_is_meant_to_be() {
    let mut found = Vec::new();
    for folder in ["host-abi", "validator", "jit", "runtime", "wasi", "policy"] {
        let head = read(&root().join(folder).join("src/lib.rs"));
        assert!(
            head.contains("deny(clippy::disallowed_methods)"),
            "{folder}/src/lib.rs does not deny ambient authority"
        );
        for path in files(folder, &["rs"]) {
            let text = read(&path);
            let excused =
                ["expect", "allow"].iter().any(|level| text.contains(&format!("{level}(clippy::disallowed_methods")));
            if excused {
                found.push(shown(&path));
            }
        }
    }
    found.sort();
    assert_eq!(found, AMBIENT, "what may reach the host without a grant; read a new place twice");
}

#[test]
fn nothing_is_left_to_do() {
    // Put together, so that this file does not name them.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let phrases =
        [concat!("todo", "!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore"), concat!("for ", "now,")];
    let mut left = Vec::new();
    for path in files("", &[".rs", ".toml", ".sh", ".c", ".cpp", ".wat", ".wast", ".awk", ".md", "/run"]) {
        let text = read(&path);
        let found = words.iter().filter(|word| count_word(&text, word) > 0);
        let found = found.chain(phrases.iter().filter(|phrase| text.contains(**phrase)));
        left.extend(found.map(|found| format!("{}: {found}", shown(&path))));
    }
    assert_eq!(left, [""; 0]);
}

/// Markdown files of the repository with the folder that their links start from.
fn documents() -> Vec<(PathBuf, String)> {
    files("", &[".md"]).into_iter().map(|path| (path.clone(), read(&path))).collect()
}

#[test]
fn documents_link_to_what_exists() {
    for (path, text) in documents() {
        let folder = path.parent().expect("a file has a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            let file = target.split('#').next().unwrap_or_default();
            if target.contains("://") || file.is_empty() || target.contains(['`', ' ', '<']) || is_sample(&path) {
                continue;
            }
            assert!(folder.join(file).exists(), "{} links to {target}", shown(&path));
        }
    }
}

/// Data for guests is written as the guests want it.
fn is_sample(path: &Path) -> bool {
    shown(path).starts_with("examples/data")
}

#[test]
fn documents_name_paths_that_exist() {
    let rooms: BTreeSet<String> = fs::read_dir(root())
        .expect("the root")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    for (path, text) in documents() {
        let folder = path.parent().expect("a file has a folder");
        for name in text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace) {
            let name = name.trim_end_matches(['.', ',', ':', ';']);
            if !is_path(name, &rooms) || is_sample(&path) {
                continue;
            }
            let exists = root().join(name).exists() || folder.join(name).exists();
            assert!(exists, "{} names {name}, which does not exist", shown(&path));
        }
    }
}

/// Whether a word in code marks is meant as a path of this repository: it begins with the name of something in the
/// root, and has no sign that a path of ours has not.
fn is_path(word: &str, rooms: &BTreeSet<String>) -> bool {
    let first = word.split('/').next().unwrap_or_default();
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    let ignored = ["target", "third_party"].contains(&first);
    plain && !ignored && word.contains('/') && (rooms.contains(first) || first.ends_with("-tests"))
}

#[test]
fn code_is_told_from_text() {
    let text = "let a = \"unsafe\"; // unsafe\n/* unsafe /* unsafe */ */ let b = r#\"unsafe \" \"#; 'a: loop { '\\'' ; 'u'; }\nunsafe {}\n";
    let code = code_of(text);
    assert_eq!(count_word(&code, "unsafe"), 1, "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(code.contains("'a: loop"), "{code}");
    assert_eq!(source::code_lines("// a\n\nfn b() {}\n"), 1);
}
