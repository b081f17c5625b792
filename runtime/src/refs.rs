//! References to objects of the heap, as the host holds them.
//!
//! A [`Rooted`] keeps its object in use, and stays right when the object moves, until the scope ends in which it
//! was made: a [`RootScope`], the call of a host function, or else the store. Used after that, or with another store,
//! it is an error. An [`OwnedRooted`] has no scope. In the manner of Wasmtime.
//!
//! ```
//! use aura_runtime::{Engine, FieldType, RootScope, Rooted, StorageType, Store, StructRef, StructType, Val, ValType};
//! # fn main() -> aura_runtime::Result<()> {
//! let engine = Engine::default();
//! let field = FieldType { storage: StorageType::Val(ValType::I32), mutable: true };
//! let point = engine.define_struct(StructType::new([field, field]))?;
//! let mut store = Store::new(&engine, ());
//! let mut scope = RootScope::new(&mut store);
//! let object = Rooted::<StructRef>::new(&mut scope, point, &[Val::I32(3), Val::I32(4)])?;
//! object.set_field(&mut scope, 0, Val::I32(5))?;
//! assert!(matches!(object.field(&scope, 0)?, Val::I32(5)));
//! drop(scope);
//! assert!(object.field(&store, 0).is_err());
//! # Ok(()) }
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use aura_host_abi::composite::OBJECT_HEADER;
use aura_host_abi::gc::{NULL, ObjectKind, i31, i31_signed, i31_unsigned, is_i31, is_object, kind_of, tag, type_of};
use aura_host_abi::{
    ArrayType, CompositeKind, CompositeType, ConcreteType, FieldType, HeapType, RefType, StorageType, StructType,
    SubType, TypeIndex, ValType,
};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gc::{self, Root, ScopeStart};
use crate::store::{AsContext, AsContextMut, StoreContext, StoreContextMut, StoreData};
use crate::value::{ExternRef, Val};

mod sealed {
    pub trait Sealed {}
}

/// What a [`Rooted`] refers to.
pub trait Kind: sealed::Sealed + 'static {
    /// The type that every such reference has.
    const HEAP: HeapType;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $heap:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Kind for $name {
            const HEAP: HeapType = HeapType::$heap;
        }
    )*};
}

kinds! {
    /// Anything but functions and exceptions; for those see [`crate::ExnRef`].
    AnyRef = Any;
    /// What `ref.eq` compares: structures, arrays, i31.
    EqRef = Eq;
    /// A structure.
    StructRef = Struct;
    /// An array.
    ArrayRef = Array;
    /// A number of 31 bits that is a reference.
    I31Ref = I31;
}

/// A reference that is not null, of one store, until its scope ends.
pub struct Rooted<T> {
    pub(crate) root: Root,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Rooted<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Rooted<T> {}

impl<T: Kind> fmt::Debug for Rooted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rooted(ref {})", T::HEAP)
    }
}

impl<T> Rooted<T> {
    pub(crate) fn from_root(root: Root) -> Self {
        Self { root, kind: PhantomData }
    }

    /// Roots a reference of this kind that a slot holds.
    pub(crate) fn from_slot(store: &StoreData, bits: u64) -> Option<Self> {
        let reference = bits as u32;
        (reference != NULL).then(|| Self::from_root(Root::new(store, reference)))
    }

    /// Whether both are the same object, or the same i31.
    ///
    /// # Errors
    /// If one is of another store, or its scope has ended.
    pub fn ref_eq<U>(&self, store: impl AsContext, other: &Rooted<U>) -> Result<bool> {
        let data = &store.as_context().0.data;
        Ok(self.root.get(data)? == other.root.get(data)?)
    }

    /// The least type of what it refers to; a defined type by its number in the engine.
    ///
    /// # Errors
    /// If it is of another store, or its scope has ended.
    pub fn ty(&self, store: impl AsContext) -> Result<HeapType> {
        let data = &store.as_context().0.data;
        Ok(heap_type(data, self.root.get(data)?))
    }

    /// A reference to the same that belongs to no scope.
    ///
    /// # Errors
    /// If it is of another store, or its scope has ended.
    pub fn to_owned_rooted(&self, mut store: impl AsContextMut) -> Result<OwnedRooted<T>> {
        let data = &mut store.as_context_mut().0.data;
        let reference = self.root.get(data)?;
        let (index, alive) = data.roots.get_mut().keep(reference);
        Ok(OwnedRooted { store: self.root.store, index, alive, kind: PhantomData })
    }
}

macro_rules! upcasts {
    ($($from:ident $($name:ident $to:ident),*;)*) => {
        $(impl Rooted<$from> {
            $(#[doc = concat!("The same as a reference of the kind [`", stringify!($to), "`].")]
            #[must_use]
            pub fn $name(self) -> Rooted<$to> {
                Rooted::from_root(self.root)
            })*
        })*
    };
}

upcasts! {
    EqRef to_any AnyRef;
    StructRef to_any AnyRef, to_eq EqRef;
    ArrayRef to_any AnyRef, to_eq EqRef;
    I31Ref to_any AnyRef, to_eq EqRef;
}

impl Rooted<AnyRef> {
    /// The same as a reference of another kind, if it refers to one of those.
    ///
    /// # Errors
    /// If it is of another store, or its scope has ended.
    pub fn downcast<T: Kind>(&self, store: impl AsContext) -> Result<Option<Rooted<T>>> {
        let data = &store.as_context().0.data;
        let found = heap_type(data, self.root.get(data)?);
        Ok(found.matches(T::HEAP, |_, _| false).then(|| Rooted::from_root(self.root)))
    }

    /// The structure, if it is one.
    ///
    /// # Errors
    /// As [`Rooted::downcast`].
    pub fn as_struct(&self, store: impl AsContext) -> Result<Option<Rooted<StructRef>>> {
        self.downcast(store)
    }

    /// The array, if it is one.
    ///
    /// # Errors
    /// As [`Rooted::downcast`].
    pub fn as_array(&self, store: impl AsContext) -> Result<Option<Rooted<ArrayRef>>> {
        self.downcast(store)
    }

    /// The i31, if it is one.
    ///
    /// # Errors
    /// As [`Rooted::downcast`].
    pub fn as_i31(&self, store: impl AsContext) -> Result<Option<Rooted<I31Ref>>> {
        self.downcast(store)
    }

    /// `extern.convert_any`.
    #[must_use]
    pub fn to_extern(self) -> ExternRef {
        ExternRef(self.root)
    }
}

impl ExternRef {
    /// `any.convert_extern`.
    #[must_use]
    pub fn to_any(self) -> Rooted<AnyRef> {
        Rooted::from_root(self.0)
    }
}

impl Rooted<I31Ref> {
    /// `ref.i31`: the lower 31 bits of a number.
    pub fn wrapping(store: impl AsContext, value: u32) -> Self {
        Self::from_root(Root::new(&store.as_context().0.data, i31(value)))
    }

    fn bits(&self, store: impl AsContext) -> Result<u32> {
        self.root.get(&store.as_context().0.data)
    }

    /// The number, zero-extended.
    ///
    /// # Errors
    /// If it is of another store.
    pub fn get_u32(&self, store: impl AsContext) -> Result<u32> {
        self.bits(store).map(i31_unsigned)
    }

    /// The number, sign-extended.
    ///
    /// # Errors
    /// If it is of another store.
    pub fn get_i32(&self, store: impl AsContext) -> Result<i32> {
        self.bits(store).map(i31_signed)
    }
}

impl Engine {
    /// A structure type without supertype for objects that the host makes.
    ///
    /// # Errors
    /// If it names types of another engine, or the engine has too many types.
    pub fn define_struct(&self, ty: StructType) -> Result<HeapType> {
        self.define(&SubType::simple(CompositeType::Struct(ty)))
    }

    /// An array type without supertype for objects that the host makes.
    ///
    /// # Errors
    /// If it names types of another engine, or the engine has too many types.
    pub fn define_array(&self, ty: ArrayType) -> Result<HeapType> {
        self.define(&SubType::simple(CompositeType::Array(ty)))
    }

    fn define(&self, ty: &SubType) -> Result<HeapType> {
        let id = self.types().define(ty)?;
        Ok(self.types().reference(id).heap)
    }
}

/// The canonical number of a defined type of this kind.
fn type_id(store: &StoreData, ty: HeapType, kind: CompositeKind) -> Result<u32> {
    store.engine.types().check(ValType::Ref(RefType { nullable: false, heap: ty }))?;
    match ty {
        HeapType::Concrete(ConcreteType { kind: found, index: TypeIndex::Engine { id, .. } }) if found == kind => {
            Ok(id)
        }
        _ => Err(Error::usage(format!("{ty} is not a defined {kind:?} type"))),
    }
}

/// The structure that an object is.
fn struct_type(store: &StoreData, reference: u32) -> StructType {
    let header = store.heap.header(reference);
    let ty = &store.engine.types().record(type_of(header.tag)).ty.composite;
    match ty {
        CompositeType::Struct(ty) => ty.clone(),
        other => unreachable!("an object is a structure by its kind, its type is {other}"),
    }
}

fn checked(store: &StoreData, values: &[Val], fields: &[FieldType]) -> Result<()> {
    if values.len() != fields.len() {
        return Err(Error::usage(format!("{} values given for {} fields", values.len(), fields.len())));
    }
    for (index, (value, field)) in values.iter().zip(fields).enumerate() {
        check_value(store, index, *value, *field)?;
    }
    Ok(())
}

fn check_value(store: &StoreData, index: usize, value: Val, field: FieldType) -> Result<()> {
    let wanted = field.storage.unpacked();
    if value.fits(wanted, store)? {
        return Ok(());
    }
    Err(Error::usage(format!("value {index} is of type {}, expected {wanted}", value.ty())))
}

fn check_mutable(field: FieldType) -> Result<()> {
    if field.mutable { Ok(()) } else { Err(Error::usage("the field is immutable")) }
}

fn read(store: &StoreData, reference: u32, at: u64, storage: StorageType) -> Val {
    let bits = store.heap.read(reference, at, storage.size());
    Val::from_bits(bits, storage.unpacked(), store)
}

/// Stores a value that was checked.
fn write(store: &StoreData, reference: u32, at: u64, storage: StorageType, value: Val) -> Result<()> {
    let bits = value.to_bits(store)?;
    store.heap.write(reference, at, storage.size(), bits);
    if storage.is_heap_ref() {
        store.heap.note_stores(reference, at, storage.size().into());
    }
    Ok(())
}

impl Rooted<StructRef> {
    /// Makes a structure of a defined type, with these values for its fields.
    ///
    /// # Errors
    /// If the type is none of the store's engine, number or types of the values are not its fields', a reference is
    /// of another store or out of scope, or the heap is full.
    pub fn new(mut store: impl AsContextMut, ty: HeapType, fields: &[Val]) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        let id = type_id(data, ty, CompositeKind::Struct)?;
        let engine = data.engine.clone();
        let ty = engine.types().record(id).ty.composite.as_struct().expect("a structure type");
        checked(data, fields, ty.fields())?;
        let made = gc::allocate(data, tag(ObjectKind::Struct, id), 0, ty.size().into()).map_err(Error::trap_code)?;
        for (index, (value, field)) in (0..).zip(fields.iter().zip(ty.fields())) {
            write(data, made, ty.offset(index).into(), field.storage, *value)?;
        }
        Ok(Self::from_root(Root::new(data, made)))
    }

    /// A field.
    ///
    /// # Errors
    /// If there is no such field, or the reference is of another store or out of scope.
    pub fn field(&self, store: impl AsContext, index: u32) -> Result<Val> {
        field(&store.as_context().0.data, self.root, index)
    }

    /// All fields.
    ///
    /// # Errors
    /// If the reference is of another store or out of scope.
    pub fn fields(&self, store: impl AsContext) -> Result<Vec<Val>> {
        let data = &store.as_context().0.data;
        let count = struct_type(data, self.root.get(data)?).fields().len() as u32;
        (0..count).map(|index| field(data, self.root, index)).collect()
    }

    /// Sets a field.
    ///
    /// # Errors
    /// If there is no such field, it is immutable, the value is of another type, or a reference is of another store or out of
    /// scope.
    pub fn set_field(&self, mut store: impl AsContextMut, index: u32, value: Val) -> Result<()> {
        let data = &store.as_context_mut().0.data;
        let reference = self.root.get(data)?;
        let ty = struct_type(data, reference);
        let field = *ty.fields().get(index as usize).ok_or_else(|| no_field(index))?;
        check_mutable(field)?;
        check_value(data, index as usize, value, field)?;
        write(data, reference, ty.offset(index).into(), field.storage, value)
    }
}

fn field(data: &StoreData, root: Root, index: u32) -> Result<Val> {
    let reference = root.get(data)?;
    let ty = struct_type(data, reference);
    let field = ty.fields().get(index as usize).ok_or_else(|| no_field(index))?;
    Ok(read(data, reference, ty.offset(index).into(), field.storage))
}

fn no_field(index: u32) -> Error {
    Error::usage(format!("the object has no field {index}"))
}

impl Rooted<ArrayRef> {
    /// Makes an array of a defined type, of `length` elements that are all `value`.
    ///
    /// # Errors
    /// If the type is none of the store's engine, the value is of another type, a reference is of another store or out of
    /// scope, or the heap is full.
    pub fn new(store: impl AsContextMut, ty: HeapType, value: Val, length: u32) -> Result<Self> {
        Self::make(store, ty, length, |_| value)
    }

    /// Makes an array of a defined type with these elements.
    ///
    /// # Errors
    /// As [`Rooted::<ArrayRef>::new`].
    pub fn new_fixed(store: impl AsContextMut, ty: HeapType, values: &[Val]) -> Result<Self> {
        let length = u32::try_from(values.len()).map_err(|_| Error::usage("an array has fewer than 2^32 elements"))?;
        Self::make(store, ty, length, |index| values[index as usize])
    }

    /// Makes an array of a defined type whose elements are zero or null.
    ///
    /// # Errors
    /// If the type is none of the store's engine, its elements cannot be null, or the heap is full.
    pub fn new_zeroed(mut store: impl AsContextMut, ty: HeapType, length: u32) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        let id = type_id(data, ty, CompositeKind::Array)?;
        let ty = *data.engine.types().record(id).ty.composite.as_array().expect("an array type");
        if !ty.element.storage.unpacked().is_defaultable() {
            return Err(Error::usage(format!("elements of the type {} have no default", ty.element.storage)));
        }
        let made = gc::allocate(data, tag(ObjectKind::Array, id), length, ty.size(length)).map_err(Error::trap_code)?;
        Ok(Self::from_root(Root::new(data, made)))
    }

    fn make(mut store: impl AsContextMut, ty: HeapType, length: u32, value: impl Fn(u32) -> Val) -> Result<Self> {
        let data = &mut store.as_context_mut().0.data;
        let id = type_id(data, ty, CompositeKind::Array)?;
        let ty = *data.engine.types().record(id).ty.composite.as_array().expect("an array type");
        for index in 0..length {
            check_value(data, index as usize, value(index), ty.element)?;
        }
        let made = gc::allocate(data, tag(ObjectKind::Array, id), length, ty.size(length)).map_err(Error::trap_code)?;
        for index in 0..length {
            write(data, made, element_at(ty, index), ty.element.storage, value(index))?;
        }
        Ok(Self::from_root(Root::new(data, made)))
    }

    /// Number of elements.
    ///
    /// # Errors
    /// If the reference is of another store or out of scope.
    pub fn len(&self, store: impl AsContext) -> Result<u32> {
        let data = &store.as_context().0.data;
        Ok(data.heap.header(self.root.get(data)?).length)
    }

    /// An element.
    ///
    /// # Errors
    /// If there is no such element, or the reference is of another store or out of scope.
    pub fn get(&self, store: impl AsContext, index: u32) -> Result<Val> {
        let data = &store.as_context().0.data;
        let (reference, ty) = self.element(data, index)?;
        Ok(read(data, reference, element_at(ty, index), ty.element.storage))
    }

    /// Sets an element.
    ///
    /// # Errors
    /// If there is no such element, the elements are immutable, the value is of another type, or a reference is of another
    /// store or out of scope.
    pub fn set(&self, mut store: impl AsContextMut, index: u32, value: Val) -> Result<()> {
        let data = &store.as_context_mut().0.data;
        let (reference, ty) = self.element(data, index)?;
        check_mutable(ty.element)?;
        check_value(data, index as usize, value, ty.element)?;
        write(data, reference, element_at(ty, index), ty.element.storage, value)
    }

    /// The object and its type, if it has this element.
    fn element(&self, data: &StoreData, index: u32) -> Result<(u32, ArrayType)> {
        let reference = self.root.get(data)?;
        let header = data.heap.header(reference);
        if index >= header.length {
            return Err(Error::usage(format!("the array has {} elements, asked for element {index}", header.length)));
        }
        let ty = data.engine.types().record(type_of(header.tag)).ty.composite.as_array();
        Ok((reference, *ty.expect("an array has an array type")))
    }
}

fn element_at(ty: ArrayType, index: u32) -> u64 {
    u64::from(OBJECT_HEADER) + u64::from(index) * u64::from(ty.element.storage.size())
}

/// The least type of what a reference that is not null refers to.
pub(crate) fn heap_type(store: &StoreData, reference: u32) -> HeapType {
    if is_i31(reference) {
        return HeapType::I31;
    }
    if !is_object(reference) {
        return HeapType::Any;
    }
    let tag = store.heap.header(reference).tag;
    match kind_of(tag) {
        Some(ObjectKind::Exception) => HeapType::Exn,
        _ => store.engine.types().reference(type_of(tag)).heap,
    }
}

/// A reference that is not null, of one store, until it is dropped.
pub struct OwnedRooted<T> {
    store: crate::store::StoreId,
    index: usize,
    /// Held by this and by the store.
    alive: Arc<()>,
    kind: PhantomData<fn() -> T>,
}

impl<T: Kind> fmt::Debug for OwnedRooted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedRooted(ref {})", T::HEAP)
    }
}

impl<T> OwnedRooted<T> {
    /// The same until the innermost scope ends.
    ///
    /// # Errors
    /// If it is of another store.
    pub fn to_rooted(&self, mut store: impl AsContextMut) -> Result<Rooted<T>> {
        let data = &mut store.as_context_mut().0.data;
        data.check(self.store, "the reference")?;
        let reference = data.roots.get_mut().kept(self.index, &self.alive);
        Ok(Rooted::from_root(Root::new(data, reference)))
    }
}

/// A scope of references: those made in it end with it, and their objects can be collected.
pub struct RootScope<C: AsContextMut> {
    store: C,
    start: ScopeStart,
}

impl<C: AsContextMut> fmt::Debug for RootScope<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootScope").field("start", &self.start).finish_non_exhaustive()
    }
}

impl<C: AsContextMut> RootScope<C> {
    /// Begins a scope.
    pub fn new(mut store: C) -> Self {
        let start = store.as_context_mut().0.data.roots.get_mut().begin();
        Self { store, start }
    }
}

impl<C: AsContextMut> Drop for RootScope<C> {
    fn drop(&mut self) {
        self.store.as_context_mut().0.data.roots.get_mut().end(self.start);
    }
}

impl<C: AsContextMut> AsContext for RootScope<C> {
    type Data = C::Data;
    fn as_context(&self) -> StoreContext<'_, C::Data> {
        self.store.as_context()
    }
}

impl<C: AsContextMut> AsContextMut for RootScope<C> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        self.store.as_context_mut()
    }
}
