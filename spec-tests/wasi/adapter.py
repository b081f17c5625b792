"""Lets the runner of the official WASI test suite run its preview 1 programs on Aura.

The runner loads this file and calls the functions below; it is no program of its own. The environment
variable AURA names the command and its options, by default `aura`: `AURA="target/release/aura --engine jit"`.
"""

import os
import shlex
import subprocess

AURA = shlex.split(os.getenv("AURA", "aura"))
COMMAND = AURA[:1]
OPTIONS = AURA[1:]

# What every test may have. Directories and variables come from the test's own description.
GRANTS = ["stdio", "args", "clock", "random"]


def get_name():
    return "aura"


def get_version():
    shown = subprocess.run(COMMAND + ["--version"], encoding="UTF-8", capture_output=True, check=True)
    return shown.stdout.split()[1]


def get_wasi_versions():
    return ["wasm32-wasip1"]


def get_wasi_worlds():
    return ["wasi:cli/command"]


def compute_argv(test_path, args_env_root, proposals, *_versions):
    """The command that runs one test.

    `args_env_root` has the program's arguments, its variables, and the directory that it finds as `/`: a
    path or None. Earlier runners give a list of (host, guest) pairs in the directory's place.
    """
    del proposals  # Preview 1 has none.
    args, env, root = args_env_root
    if root is None:
        directories = []
    elif isinstance(root, (str, os.PathLike)):
        directories = [(root, "/")]
    else:
        directories = list(root)
    grants = list(GRANTS)
    grants += [f"env={name}={value}" for name, value in env.items()]
    grants += [f"fs.write={os.fspath(host)}::{guest}" for host, guest in directories]
    granted = [word for grant in grants for word in ("--grant", grant)]
    return COMMAND + ["run"] + OPTIONS + granted + [os.fspath(test_path)] + list(args)
