//! How a module comes into an engine: from its bytes, or from an artifact with machine code that another engine compiled.

use aura_runtime::{Artifact, ArtifactKey, Engine, Error, Module};

/// Where an engine gets a module from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From its bytes.
    #[default]
    Bytes,
    /// From an artifact in memory with machine code of all functions, which another engine with the same options made.
    Artifact,
}

const KEY: ArtifactKey = ArtifactKey::new([5; ArtifactKey::LEN]);

impl Origin {
    /// The module with these bytes.
    ///
    /// # Errors
    /// If the engine refuses it; for [`Origin::Artifact`] also if it has no compiler.
    pub fn module(self, engine: &Engine, bytes: &[u8]) -> Result<Module, Error> {
        if self == Self::Bytes {
            return Module::from_binary(engine, bytes);
        }
        // Another engine numbers types otherwise: nothing of it may be in the code.
        let other = Engine::new(engine.config())?;
        Module::from_binary(&other, SOME_TYPES)?;
        let module = Module::from_binary(&other, bytes)?;
        let native = module.compile_native(1, &|_| {})?;
        let artifact = module.to_native_artifact(&KEY, [0; 32], &native)?;
        let module = Artifact::from_bytes(&artifact, &KEY)?.load(engine)?;
        assert!(module.has_native(), "the options are the same");
        Ok(module)
    }
}

/// A module with types that no other has, so that those of the next one get other numbers.
const SOME_TYPES: &[u8] = b"\0asm\x01\0\0\0\x01\x11\x02\x60\x05\x7f\x7e\x7d\x7c\x7f\0\x60\x05\x7e\x7e\x7d\x7c\x7f\0";
