//! Extism's manifest, read as a policy, so that its users can move.
//!
//! | key | becomes |
//! |---|---|
//! | `allowed_paths` `{ "HOST" = "GUEST" }` | `fs.write=HOST::GUEST`; with `ro:` before HOST, `fs.read` |
//! | `allowed_hosts` `["*.example.org"]` | `net.connect=HOST:*` and `net.resolve=HOST` |
//! | `timeout_ms` | the limit `timeout` |
//! | `memory.max_pages` | the limit `memory`, in pages of 64 KiB |
//! | `config` `{ KEY = "VALUE" }` | `env=KEY=VALUE` |
//! | `wasm` `[{ hash = "HEX" }]` | subjects; where a module comes from is the command line's business |

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use aura_runtime::{Action, GrantSpec, HostPattern, PortPattern, Resource};

use crate::policy::{Policy, PolicyGrant, Subject};

/// The part of a manifest that says what a plug-in may do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    #[serde(default)]
    wasm: Vec<Wasm>,
    #[serde(default)]
    allowed_paths: BTreeMap<String, String>,
    #[serde(default)]
    allowed_hosts: Vec<String>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    memory: Memory,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

/// One module of a manifest; of what Extism knows of it, the hash alone says who may.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wasm {
    hash: Option<String>,
    #[serde(rename = "path")]
    _path: Option<String>,
    #[serde(rename = "url")]
    _url: Option<String>,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    max_pages: Option<u64>,
}

/// The key that is at fault, and why.
type Fault = (&'static str, String);

impl Manifest {
    pub(crate) fn policy(self) -> Result<Policy, Fault> {
        let mut policy = Policy::default();
        for hash in self.wasm.into_iter().filter_map(|wasm| wasm.hash) {
            let digest = hash.parse().map_err(|why| ("wasm", format!("`{hash}`: {why}")))?;
            policy.subjects.push(Subject::Content(digest));
        }
        let mut grant = |action, resource| policy.grants.push(PolicyGrant::new(GrantSpec { action, resource }));
        for (host, guest) in self.allowed_paths {
            let (action, host) = match host.strip_prefix("ro:") {
                Some(host) => (Action::FsRead, host),
                None => (Action::FsWrite, host.as_str()),
            };
            if host.is_empty() || guest.is_empty() || host.contains('\0') || guest.contains('\0') {
                return Err((
                    "allowed_paths",
                    format!("`{host}` = `{guest}`: a directory's name is empty or has a NUL"),
                ));
            }
            grant(action, Resource::Directory { host: host.into(), guest });
        }
        for name in self.allowed_hosts {
            let host = HostPattern::new(&name);
            let host =
                host.ok_or_else(|| ("allowed_hosts", format!("`{name}` is neither a host, nor `*`, nor `*.SUFFIX`")))?;
            grant(Action::NetConnect, Resource::Endpoint { host: host.clone(), port: PortPattern::Any });
            grant(Action::NetResolve, Resource::Host(host));
        }
        for (name, value) in self.config {
            if name.is_empty() || name.contains(['\0', '=']) || value.contains('\0') {
                return Err(("config", format!("`{name}` is no name of a variable, or its value has a NUL")));
            }
            grant(Action::Env, Resource::Variable { name, value: Some(value) });
        }
        policy.limits.timeout = self.timeout_ms.map(Duration::from_millis);
        policy.limits.memory = self.memory.max_pages.map(|pages| pages.saturating_mul(64 << 10));
        Ok(policy)
    }
}
