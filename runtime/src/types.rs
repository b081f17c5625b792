//! Canonical function types: equal types of all modules of an engine have one number.
//!
//! `call_indirect` compares numbers. Numbers are never reused while the engine lives.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use aura_host_abi::FuncType;

#[derive(Debug, Default)]
pub(crate) struct TypeRegistry {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_type: HashMap<Arc<FuncType>, u32>,
    by_id: Vec<Arc<FuncType>>,
}

impl TypeRegistry {
    /// The number of a type, new if it was never seen.
    pub(crate) fn intern(&self, ty: &FuncType) -> u32 {
        if let Some(id) = self.inner.read().expect("registry readers do not panic").by_type.get(ty) {
            return *id;
        }
        let mut inner = self.inner.write().expect("registry writers do not panic");
        if let Some(id) = inner.by_type.get(ty) {
            return *id;
        }
        let id = u32::try_from(inner.by_id.len()).expect("fewer than 2^32 function types");
        let ty = Arc::new(ty.clone());
        inner.by_id.push(ty.clone());
        inner.by_type.insert(ty, id);
        id
    }

    /// The type with this number.
    pub(crate) fn get(&self, id: u32) -> Arc<FuncType> {
        self.inner.read().expect("registry readers do not panic").by_id[id as usize].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aura_host_abi::ValType;

    #[test]
    fn equal_types_have_one_number() {
        let registry = TypeRegistry::default();
        let a = registry.intern(&FuncType::new([ValType::I32], []));
        let b = registry.intern(&FuncType::new([ValType::I64], []));
        assert_ne!(a, b);
        assert_eq!(a, registry.intern(&FuncType::new([ValType::I32], [])));
        assert_eq!(*registry.get(b), FuncType::new([ValType::I64], []));
    }
}
