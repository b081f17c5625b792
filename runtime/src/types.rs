//! Canonical types: equal recursion groups of all modules of an engine have the same numbers.
//!
//! Types are equal if their recursion groups are (specification 3.0, section 3.3.1): a group is brought
//! into a form in which its own types have their place in the group as their name and all others the
//! number they have already, and equal forms are one entry. So equal types have equal numbers, and
//! subtyping is a look into the list of a type's supertypes ([`VmType::ancestors`]), which both tiers
//! read without a lock. Numbers are never reused, and records never move, while the engine lives; how many types
//! modules may add is bounded.
//!
//! # Safety
//! The table holds null, or chunks that its registry owns; a chunk holds null, or records that the registry owns, immutable
//! since before they were published.

use std::collections::HashMap;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use aura_host_abi::vm::{DISPLAY_MIN, NO_TYPE, TYPES_PER_CHUNK, VmType, VmTypeChunk};
use aura_host_abi::{CompositeType, ConcreteType, FieldType, FuncType, HeapType, RefType, SubType, TypeIndex, ValType};

use crate::error::{Error, Result};

/// Types that the modules of an engine may define; the host may add [`HOST_TYPES_MAX`] more.
const MODULE_TYPES_MAX: usize = 1 << 22;
const HOST_TYPES_MAX: usize = 1 << 16;
/// What all types of an engine's modules may weigh; see [`SubType::weight`].
const MODULE_WEIGHT_MAX: usize = 1 << 26;

/// The types of an engine.
#[derive(Debug)]
pub(crate) struct TypeRegistry {
    engine: u32,
    /// Chunks of records, null where there is none yet.
    table: Box<[AtomicPtr<VmTypeChunk>]>,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The number of a group's first type, by its canonical form.
    groups: HashMap<Arc<[SubType]>, u32>,
    #[allow(clippy::vec_box, reason = "the table points to what the boxes hold")]
    records: Vec<Box<TypeRecord>>,
    #[allow(clippy::vec_box, reason = "as above")]
    chunks: Vec<Box<VmTypeChunk>>,
    weight: usize,
}

/// What is known of a type. Its head is what compiled code reads.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct TypeRecord {
    vm: VmType,
    ancestors: Box<[u32]>,
    /// The type; other types in it by their canonical numbers.
    pub(crate) ty: SubType,
}

// SAFETY: a record points to its own box alone and never changes.
unsafe impl Send for TypeRecord {}
// SAFETY: as above.
unsafe impl Sync for TypeRecord {}

impl Default for TypeRegistry {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let engine = NEXT.fetch_add(1, Ordering::Relaxed);
        assert_ne!(engine, u32::MAX, "a process makes fewer than 2^32 engines");
        let chunks = (MODULE_TYPES_MAX + HOST_TYPES_MAX) / TYPES_PER_CHUNK;
        let table = (0..chunks).map(|_| AtomicPtr::default()).collect();
        Self { engine, table, inner: RwLock::default() }
    }
}

impl TypeRegistry {
    /// The table of records as machine code reads it.
    pub(crate) fn table(&self) -> *const AtomicPtr<VmTypeChunk> {
        self.table.as_ptr()
    }

    /// The number of a function type that the host made, new if it was never seen.
    ///
    /// # Errors
    /// If it names types of another engine.
    ///
    /// # Panics
    /// If the host defines more than [`HOST_TYPES_MAX`] types.
    pub(crate) fn intern(&self, ty: &FuncType) -> Result<u32> {
        ty.params().iter().chain(ty.results()).try_for_each(|ty| self.check(*ty))?;
        let group = [SubType::simple(CompositeType::Func(ty.clone()))];
        let limit = (self.table.len() * TYPES_PER_CHUNK, usize::MAX);
        Ok(self.intern_group(&group, limit).expect("the host defines fewer than 2^16 types"))
    }

    /// The number of a type that the host made, new if it was never seen.
    ///
    /// # Errors
    /// If it names types of another engine.
    pub(crate) fn define(&self, ty: &SubType) -> Result<u32> {
        let check = |ty: &FieldType| self.check(ty.storage.unpacked());
        match &ty.composite {
            CompositeType::Func(ty) => ty.params().iter().chain(ty.results()).try_for_each(|ty| self.check(*ty))?,
            CompositeType::Struct(ty) => ty.fields().iter().try_for_each(check)?,
            CompositeType::Array(ty) => check(&ty.element)?,
        }
        self.intern_group(std::slice::from_ref(ty), (self.table.len() * TYPES_PER_CHUNK, usize::MAX))
    }

    /// The number of each of a module's types.
    ///
    /// # Errors
    /// If the engine's modules would have too many types.
    pub(crate) fn intern_module(&self, module: &aura_validator::Module) -> Result<Box<[u32]>> {
        let mut ids: Vec<u32> = Vec::with_capacity(module.types().len());
        for group in module.type_groups() {
            let name = |index| match index {
                TypeIndex::Module(n) if n >= group.start => TypeIndex::Group(n - group.start),
                TypeIndex::Module(n) => self.named(ids[n as usize]),
                other => other,
            };
            let types = &module.types()[group.start as usize..group.end as usize];
            let limits = (MODULE_TYPES_MAX, MODULE_WEIGHT_MAX);
            let first = match types.iter().any(SubType::names_types) {
                true => {
                    let form: Vec<_> = types.iter().map(|ty| ty.map_index(name)).collect();
                    self.intern_group(&form, limits)?
                }
                false => self.intern_group(types, limits)?,
            };
            ids.extend((first..).take(types.len()));
        }
        Ok(ids.into())
    }

    /// The number of the first type of a group in canonical form.
    fn intern_group(&self, form: &[SubType], (types_max, weight_max): (usize, usize)) -> Result<u32> {
        if let Some(first) = self.inner.read().expect("registry readers do not panic").groups.get(form) {
            return Ok(*first);
        }
        let mut inner = self.inner.write().expect("registry writers do not panic");
        if let Some(first) = inner.groups.get(form) {
            return Ok(*first);
        }
        let first = inner.records.len();
        let weight = inner.weight + form.iter().map(SubType::weight).sum::<usize>();
        if first + form.len() > types_max || weight > weight_max {
            return Err(Error::resource(format!(
                "the engine holds {first} types and takes no more; make another engine for other modules"
            )));
        }
        for ty in form {
            self.add(&mut inner, ty, first as u32);
        }
        inner.weight = weight;
        inner.groups.insert(form.into(), first as u32);
        Ok(first as u32)
    }

    /// Adds a type of the group that begins with the number `first`.
    fn add(&self, inner: &mut Inner, ty: &SubType, first: u32) {
        let id = inner.records.len() as u32;
        let ty = ty.map_index(|index| match index {
            TypeIndex::Group(n) => self.named(first + n),
            other => other,
        });
        let mut ancestors = match ty.supertype {
            None => Vec::new(),
            Some(above) => self.record(number(above)).chain().to_vec(),
        };
        let depth = ancestors.len();
        ancestors.push(id);
        ancestors.resize(ancestors.len().max(DISPLAY_MIN), NO_TYPE);
        let ancestors = ancestors.into_boxed_slice();
        let vm = VmType { ancestors: ancestors.as_ptr(), depth: depth as u32, padding: 0 };
        inner.records.push(Box::new(TypeRecord { vm, ancestors, ty }));
        let record: *const TypeRecord = &**inner.records.last().expect("just pushed");
        let (chunk, place) = (id as usize / TYPES_PER_CHUNK, id as usize % TYPES_PER_CHUNK);
        if chunk == inner.chunks.len() {
            inner.chunks.push(Box::new(std::array::from_fn(|_| AtomicPtr::default())));
            let added: *const VmTypeChunk = &**inner.chunks.last().expect("just pushed");
            self.table[chunk].store(added.cast_mut(), Ordering::Release);
        }
        inner.chunks[chunk][place].store(record.cast_mut().cast(), Ordering::Release);
    }

    /// What is known of the type with this number.
    ///
    /// # Panics
    /// If the registry never gave the number.
    pub(crate) fn record(&self, id: u32) -> &TypeRecord {
        self.find(id).expect("a number of this engine")
    }

    fn find(&self, id: u32) -> Option<&TypeRecord> {
        let chunk = self.table.get(id as usize / TYPES_PER_CHUNK)?.load(Ordering::Acquire);
        // SAFETY: a chunk of the table is null or lives as long as the registry; what changes in it is atomic.
        let chunk = unsafe { chunk.as_ref() }?;
        let record = chunk[id as usize % TYPES_PER_CHUNK].load(Ordering::Acquire);
        // SAFETY: an entry is null or a record of this registry, which begins with its head, never changes and
        // lives as long as the registry.
        unsafe { record.cast::<TypeRecord>().as_ref() }
    }

    /// The function type with this number.
    ///
    /// # Panics
    /// If the number is of no function type.
    pub(crate) fn func(&self, id: u32) -> &FuncType {
        self.record(id).ty.composite.as_func().expect("the number of a function type")
    }

    /// Whether one type is a subtype of another.
    pub(crate) fn is_subtype(&self, sub: u32, of: u32) -> bool {
        sub == of || {
            let depth = self.record(of).vm.depth as usize;
            self.record(sub).chain().get(depth) == Some(&of)
        }
    }

    /// Whether every value of `value` may stand where `place` is expected; both name types of this engine.
    pub(crate) fn matches(&self, value: ValType, place: ValType) -> bool {
        value.matches(place, |a, b| self.is_subtype(number(a), number(b)))
    }

    /// The reference type of exactly the values of a defined type.
    pub(crate) fn reference(&self, id: u32) -> RefType {
        let kind = self.record(id).ty.composite.kind();
        RefType { nullable: false, heap: HeapType::Concrete(ConcreteType { kind, index: self.named(id) }) }
    }

    /// A type in words: a defined type by what it is, not by its number, which depends on what the engine saw before.
    pub(crate) fn show(&self, ty: ValType) -> String {
        let Some(concrete) = ty.concrete() else { return ty.to_string() };
        let Some(record) = self.find(number(concrete.index)) else { return ty.to_string() };
        let abstracted = |ty: ValType| match ty {
            ValType::Ref(RefType { nullable, heap: HeapType::Concrete(ConcreteType { kind, .. }) }) => {
                ValType::Ref(RefType { nullable, heap: kind.abstracted() })
            }
            other => other,
        };
        let null = if ty.is_defaultable() { "null " } else { "" };
        format!("(ref {null}{})", record.ty.composite.map_values(abstracted))
    }

    /// Errs if a type is of another engine, or of a module and not of an engine.
    pub(crate) fn check(&self, ty: ValType) -> Result<()> {
        match ty.concrete().map(|concrete| concrete.index) {
            None => Ok(()),
            Some(TypeIndex::Engine { engine, id }) if engine == self.engine && self.find(id).is_some() => Ok(()),
            Some(TypeIndex::Engine { .. }) => Err(Error::usage(format!("the type {ty} belongs to another engine"))),
            Some(_) => {
                Err(Error::usage(format!("the type {ty} is of no engine; take it from a module's imports or exports")))
            }
        }
    }

    /// The name of the type with this number.
    pub(crate) fn named(&self, id: u32) -> TypeIndex {
        TypeIndex::Engine { engine: self.engine, id }
    }
}

impl TypeRecord {
    /// The numbers of all supertypes, the top one first, and of the type itself.
    fn chain(&self) -> &[u32] {
        &self.ancestors[..=self.vm.depth as usize]
    }
}

/// The canonical number of a type that the engine knows.
fn number(index: TypeIndex) -> u32 {
    match index {
        TypeIndex::Engine { id, .. } => id,
        other => unreachable!("{other:?} stands where types of the engine do"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use aura_validator::{Features, Limits, Module};

    /// The numbers of a module's types.
    fn ids(registry: &TypeRegistry, wat: &str) -> Vec<u32> {
        let features = Features::default().with("function-references", true).expect("function-references");
        let features = features.with("gc", true).expect("gc");
        let module = Module::new(wat::parse_str(wat).expect("text"), &features, &Limits::default()).expect("module");
        registry.intern_module(&module).expect("room").into()
    }

    #[test]
    fn equal_function_types_have_one_number() {
        let registry = TypeRegistry::default();
        let intern = |ty| registry.intern(&FuncType::new([ty], [])).expect("a type of no engine");
        let (a, b) = (intern(ValType::I32), intern(ValType::I64));
        assert_ne!(a, b);
        assert_eq!(a, intern(ValType::I32));
        assert_eq!(*registry.func(b), FuncType::new([ValType::I64], []));
    }

    #[test]
    fn equal_groups_have_the_same_numbers_whatever_module_they_stand_in() {
        let registry = TypeRegistry::default();
        let list = "(rec (type $l (struct (field i32) (field (ref null $l)))) (type $f (func (param (ref $l)))))";
        let one = ids(&registry, &format!("(module {list} (type (func (param (ref $f)))))"));
        let again = list.replace("$l", "$m").replace("$f", "$g");
        let two = format!("(module (type (func)) {list} (type (func (param (ref $f)))) {again})");
        let two = ids(&registry, &two);
        assert_eq!(one[..2], two[1..3]);
        assert_eq!(one[2], two[3]);
        assert_eq!(one[..2], two[4..6]);
        // The same types in another group, or in another order, are others.
        let apart = ids(&registry, "(module (type $l (struct (field i32) (field (ref null $l)))))");
        assert!(!one.contains(&apart[0]));
    }

    #[test]
    fn subtypes_are_found_at_any_depth() {
        let registry = TypeRegistry::default();
        let mut wat = "(module (type $t0 (sub (struct)))".to_owned();
        for n in 1..=63 {
            wat += &format!("(type $t{n} (sub $t{} (struct)))", n - 1);
        }
        let chain = ids(&registry, &(wat + " (type $u (sub $t0 (struct (field i32)))))"));
        for (a, sub) in chain[..64].iter().enumerate() {
            for (b, of) in chain[..64].iter().enumerate() {
                assert_eq!(registry.is_subtype(*sub, *of), b <= a, "{a} below {b}");
            }
        }
        assert!(registry.is_subtype(chain[64], chain[0]) && !registry.is_subtype(chain[64], chain[1]));
        let place = ValType::Ref(RefType { nullable: true, ..registry.reference(chain[7]) });
        assert!(registry.matches(ValType::Ref(registry.reference(chain[9])), place));
        assert!(!registry.matches(place, ValType::Ref(registry.reference(chain[7]))));
    }

    #[test]
    fn t2_types_of_another_engine_are_refused() {
        let (one, two) = (TypeRegistry::default(), TypeRegistry::default());
        let id = one.intern(&FuncType::new([], [])).expect("a type of no engine");
        two.intern(&FuncType::new([], [])).expect("a type of no engine");
        let ty = FuncType::new([ValType::Ref(one.reference(id))], []);
        assert!(one.intern(&ty).is_ok());
        assert!(two.intern(&ty).expect_err("a foreign type").to_string().contains("another engine"));
    }

    #[test]
    fn t3_many_threads_get_the_same_numbers() {
        let registry = TypeRegistry::default();
        let wat = "(module (rec (type $a (sub (func (param (ref null $b))))) (type $b (sub (struct)))) (type (sub $b (struct (field i8)))))";
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| ids(&registry, wat))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        assert!(registry.is_subtype(all[0][2], all[0][1]));
    }
}
