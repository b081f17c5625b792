//! Runs the built command in an empty folder.

use std::path::Path;
use std::process::{Command, Stdio};

/// What a run of the command left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Checks the exit code and that standard error contains each of `parts`.
    #[track_caller]
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }

    /// Checks that the command succeeded with this standard output.
    #[track_caller]
    pub fn prints(&self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (0, stdout), "{self:#?}");
    }
}

/// A folder with files, in which the command runs.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// An empty folder.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a name")).expect("folders");
        std::fs::write(path, contents).expect("a file");
        self
    }

    /// Runs the command with these arguments.
    pub fn aura(&self, args: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_aura"))
            .args(args)
            .current_dir(self.path())
            .env("XDG_CACHE_HOME", self.path().join(".cache"))
            .env("XDG_CONFIG_HOME", self.path().join(".config"))
            .stdin(Stdio::null())
            .output()
            .expect("the command runs");
        Ran {
            code: output.status.code().expect("the command exits"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// Runs the command on one module in the text format, called `m.wat`, as the last argument but `rest`.
#[allow(dead_code, reason = "not every test file needs it")]
pub fn run_wat(text: &str, flags: &[&str], rest: &[&str]) -> Ran {
    let folder = Folder::new();
    folder.write("m.wat", text).aura(&[flags, &["m.wat"], rest].concat())
}
