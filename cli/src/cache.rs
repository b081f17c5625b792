//! The user's key, and the cache of artifacts: `aura run` keeps what it validated, so that the next run need not, and the machine
//! code that it made of what was hot, so that the next run begins with it.
//!
//! An entry is an artifact of the module, and one of its machine code alone, which is small and is written anew when a run made
//! much more of it. Each is named after the digest of the module's bytes, the options and the version, appears whole by
//! renaming, so that several processes may use one cache, and is believed only with the user's key, as every artifact.
//! The cache is a convenience: where it cannot be used, the command does without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use aura_policy::units::show_bytes;
use aura_policy::{Digest, digest};
use aura_runtime::{Artifact, ArtifactKey, Engine, Module};

use crate::args::CacheCommand;

use crate::report::{Failure, print};

/// Bytes that all entries may take together; the ones that were not used for the longest time go first.
const BYTES_MAX: u64 = 1 << 30;

/// Smaller modules are validated faster than two files are opened.
const MODULE_MIN: usize = 64 << 10;

/// The user's key: of a file, else the one in the configuration directory, which is made at first use.
///
/// # Errors
/// If it cannot be read or made, or others may read it.
pub(crate) fn key(file: Option<&Path>) -> Result<ArtifactKey, Failure> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => folder("XDG_CONFIG_HOME", ".config")
            .ok_or_else(|| Failure::new("no key: HOME is not set").help("--key FILE names a file for the key"))?
            .join("artifact.key"),
    };
    ArtifactKey::read_or_make(&path).map_err(|error| Failure::new(format!("no key: {error}")))
}

/// The user's directory of a kind that the XDG base directory specification names, and in it this command's.
fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))?.join("aura"))
}

fn entries_folder() -> Option<PathBuf> {
    Some(folder("XDG_CACHE_HOME", ".cache")?.join("artifacts"))
}

/// Machine code is written anew if a run made at least one part in so many of what there was.
const NEW_CODE: u64 = 8;

/// What is kept of one module under one engine's options.
pub(crate) struct Entry {
    path: PathBuf,
    /// Where its machine code is.
    code: PathBuf,
    /// Whether the module is there.
    is_known: bool,
    key: ArtifactKey,
    content: [u8; 32],
}

impl Entry {
    /// The place of a module; `None` if it is too small to be kept, or there is no place.
    pub(crate) fn of(engine: &Engine, wasm: &[u8], content: Digest) -> Option<Self> {
        if wasm.len() < MODULE_MIN {
            return None;
        }
        let place = |what: &str| {
            let name = format!("{content} {} {} {what}", env!("CARGO_PKG_VERSION"), engine.validity());
            Some(entries_folder()?.join(format!("{}.aura", digest(name.as_bytes()))))
        };
        let code = place(&engine.code_target().unwrap_or_default())?;
        Some(Self { path: place("")?, code, is_known: false, key: key(None).ok()?, content: content.0 })
    }

    /// The module, if it was kept before.
    pub(crate) fn load(&mut self, engine: &Engine) -> Option<Module> {
        let open = |path| Artifact::open(path, &self.key).ok().filter(|artifact| artifact.label() == self.content);
        let artifact = open(&self.path)?;
        let module = match open(&self.code) {
            Some(code) => artifact.load_with_code(engine, code),
            None => artifact.load(engine),
        };
        let module = module.ok()?;
        self.is_known = true;
        // When it was used last decides what is dropped; a cache that cannot be written still serves.
        for path in [&self.path, &self.code] {
            let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        Some(module)
    }

    /// Keeps a module that was validated, with what was lowered of it, and what was compiled.
    pub(crate) fn keep(&self, module: &Module) {
        if !self.is_known
            && let Ok(artifact) = module.to_artifact_as_used(&self.key, self.content)
        {
            write(&self.path, &artifact);
        }
        let (new, known) = module.native_bytes();
        if new > 0
            && new >= known / NEW_CODE
            && let Ok(Some(native)) = module.native_so_far()
        {
            write(&self.code, &native.to_artifact(&self.key, self.content));
        }
    }
}

/// Writes a file of the cache, which appears whole, or not at all if it cannot.
fn write(path: &Path, artifact: &[u8]) {
    let Some(folder) = path.parent().filter(|_| artifact.len() as u64 <= BYTES_MAX / 4) else { return };
    let begun = path.with_extension(format!("{}", std::process::id()));
    let made =
        fs::create_dir_all(folder).and_then(|()| fs::write(&begun, artifact)).and_then(|()| fs::rename(&begun, path));
    match made {
        Ok(()) => shrink(folder, BYTES_MAX),
        Err(_) => drop(fs::remove_file(&begun)),
    }
}

/// A file of the cache.
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// All files of the cache, those used last first; none if there is no cache.
fn kept(folder: &Path) -> Vec<Kept> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let known = entries.filter_map(|entry| {
        let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some(Kept { path: entry.path(), bytes: about.len(), used: about.modified().unwrap_or(SystemTime::UNIX_EPOCH) })
    });
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|kept| std::cmp::Reverse(kept.used));
    known
}

/// Drops files until all together take no more than so many bytes.
fn shrink(folder: &Path, bytes_max: u64) {
    let mut bytes = 0;
    for kept in kept(folder) {
        bytes += kept.bytes;
        if bytes > bytes_max {
            // Another process may have dropped it just now.
            let _ = fs::remove_file(&kept.path);
        }
    }
}

/// Shows or empties the cache.
///
/// # Errors
/// If there can be no cache, or a file of it cannot be removed.
pub(crate) fn cache(command: &CacheCommand) -> Result<ExitCode, Failure> {
    let folder = entries_folder().ok_or_else(|| Failure::new("no cache: HOME is not set"))?;
    let kept = kept(&folder);
    match command {
        CacheCommand::List => {
            let mut text = String::new();
            for Kept { path, bytes, used } in &kept {
                let age = used.elapsed().unwrap_or_default().as_secs();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                text.push_str(&format!("{name}  {:>10}  used {age} s ago\n", show_bytes(*bytes)));
            }
            let all = kept.iter().map(|kept| kept.bytes).sum();
            let (shown, most) = (show_bytes(all), show_bytes(BYTES_MAX));
            print(&format!("{text}{} artifacts, {shown} of at most {most}, in {}\n", kept.len(), folder.display()))?;
        }
        CacheCommand::Clear => {
            for Kept { path, .. } in &kept {
                fs::remove_file(path).map_err(|error| Failure::io("remove", path, &error))?;
            }
            print(&format!("removed {} artifacts from {}\n", kept.len(), folder.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    #[test]
    fn what_was_not_used_for_the_longest_time_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        for age in 0..5_u64 {
            let path = folder.path().join(format!("{age}.aura"));
            fs::write(&path, [0; 100]).expect("a file");
            let used = SystemTime::now() - Duration::from_secs(60 * age);
            fs::File::open(&path).and_then(|file| file.set_modified(used)).expect("a time");
        }
        shrink(folder.path(), 350);
        let left: Vec<_> =
            kept(folder.path()).iter().map(|kept| kept.path.file_stem().expect("a name").to_owned()).collect();
        assert_eq!(left, ["0", "1", "2"]);
    }
}
