//! The heap by itself: graphs of objects against a model of them.
//!
//! # Safety
//! Trusts: each test owns its store, runs on one thread, and names every object it still uses as a root before it allocates.

use std::collections::HashMap;

use aura_host_abi::gc::{ObjectKind, host_value, i31, is_object, tag};
use aura_host_abi::{
    ArrayType, CompositeType, FieldType, FuncType, StorageType, StructType, SubType, TrapCode, ValType,
};
use proptest::prelude::*;

use super::{Collections, Root, allocate, collect};
use crate::store::StoreData;
use crate::{Config, Engine, Store, StoreLimits};

const REFERENCE: StorageType = StorageType::Val(ValType::ANYREF);
const NUMBER: StorageType = StorageType::Val(ValType::I64);

fn engine(stress: bool) -> Engine {
    Engine::new(Config::new().strategy(crate::Strategy::Interpreter).gc_stress(stress)).expect("an interpreter")
}

fn store(limit: u64, stress: bool) -> Store<()> {
    let mut store = Store::new(&engine(stress), ());
    store.set_limits(StoreLimits { gc_heap_bytes: limit, ..StoreLimits::default() });
    store
}

fn field(storage: StorageType) -> FieldType {
    FieldType { storage, mutable: true }
}

/// The types of these tests.
#[derive(Clone, Copy)]
struct Types {
    /// A number, two references around it.
    node: u32,
    /// References.
    array: u32,
    bytes: u32,
    exception: u32,
}

impl Types {
    fn of(store: &Store<()>) -> Self {
        let define = |ty| store.engine().types().define(&SubType::simple(ty)).expect("a type of no engine");
        let array = |storage| CompositeType::Array(ArrayType { element: field(storage) });
        Self {
            node: define(CompositeType::Struct(StructType::new([REFERENCE, NUMBER, REFERENCE].map(field)))),
            array: define(array(REFERENCE)),
            bytes: define(array(StorageType::I8)),
            exception: define(CompositeType::Func(FuncType::new([ValType::EXTERNREF, ValType::I32], []))),
        }
    }
}

/// Offsets in a node.
const LEFT: u64 = 8;
const VALUE: u64 = 16;
const RIGHT: u64 = 24;
const NODE: u64 = 32;

fn data(store: &mut Store<()>) -> &mut StoreData {
    store.data_for_tests()
}

fn get<T: Copy>(data: &StoreData, object: u32, at: u64) -> T {
    // SAFETY: tests read what the object's type has there.
    unsafe { data.heap.address(object, at, size_of::<T>() as u64).cast::<T>().read_unaligned() }
}

fn set<T: Copy>(data: &StoreData, object: u32, at: u64, value: T) {
    // SAFETY: as in `get`.
    unsafe { data.heap.address(object, at, size_of::<T>() as u64).cast::<T>().write_unaligned(value) };
    data.heap.note_stores(object, at, size_of::<T>() as u64);
}

fn node(data: &mut StoreData, types: Types, value: u64) -> Result<u32, TrapCode> {
    let object = allocate(data, tag(ObjectKind::Struct, types.node), 0, NODE)?;
    assert_eq!((get::<u64>(data, object, LEFT), get::<u64>(data, object, RIGHT)), (0, 0), "new objects are zero");
    set(data, object, VALUE, value);
    Ok(object)
}

fn array(data: &mut StoreData, types: Types, length: u32) -> Result<u32, TrapCode> {
    let object = allocate(data, tag(ObjectKind::Array, types.array), length, size(8 + 4 * u64::from(length)))?;
    for index in 0..u64::from(length) {
        assert_eq!(get::<u32>(data, object, 8 + 4 * index), 0, "new objects are zero");
    }
    Ok(object)
}

fn size(bytes: u64) -> u64 {
    bytes.next_multiple_of(8)
}

#[test]
fn a_list_survives_and_garbage_does_not() {
    for stress in [false, true] {
        let mut store = store(1 << 20, stress);
        let types = Types::of(&store);
        let data = data(&mut store);
        let count = if stress { 300 } else { 5000 };
        let first = node(data, types, 0).expect("room");
        let (first, last) = (Root::new(data, first), Root::new(data, first));
        let mut last = last;
        for value in 1..count {
            for _ in 0..20 {
                node(data, types, u64::MAX).expect("garbage makes room");
            }
            let new = node(data, types, value).expect("room");
            set(data, last.get(data).expect("root"), LEFT, new);
            last = Root::new(data, new);
        }
        let mut at = first.get(data).expect("root");
        for value in 0..count {
            assert_eq!(get::<u64>(data, at, VALUE), value);
            at = get(data, at, LEFT);
        }
        assert_eq!(at, 0);
        let Collections { minor, full } = data.heap.collections;
        assert!(minor > 0, "{minor} minor, {full} full");
    }
}

#[test]
fn cycles_are_collected() {
    let mut store = store(256 << 10, false);
    let types = Types::of(&store);
    let data = data(&mut store);
    for round in 0..50_000 {
        let a = node(data, types, round).expect("cycles make room");
        let scope = data.roots.get_mut().begin();
        let a = Root::new(data, a);
        let b = node(data, types, round).expect("cycles make room");
        let a = a.get(data).expect("in scope");
        set(data, a, LEFT, b);
        set(data, b, RIGHT, a);
        set(data, b, LEFT, b);
        data.roots.get_mut().end(scope);
    }
    assert!(data.heap.used() <= 256 << 10);
}

#[test]
fn old_cycles_are_collected() {
    let mut store = store(1 << 20, false);
    let types = Types::of(&store);
    let data = data(&mut store);
    let mut kept: Vec<Root> = Vec::new();
    for round in 0..200 {
        let scope = data.roots.get_mut().begin();
        for _ in 0..2000 {
            let new = node(data, types, round).expect("room");
            if let Some(before) = kept.last() {
                let before = before.get(data).expect("in scope");
                set(data, new, LEFT, before);
                set(data, before, RIGHT, new);
            }
            kept.push(Root::new(data, new));
        }
        kept.clear();
        data.roots.get_mut().end(scope);
    }
    assert!(data.heap.collections.full > 2, "{:?}", data.heap.collections);
}

#[test]
fn the_limit_is_a_trap_and_what_is_in_use_stays() {
    let mut store = store(1 << 20, false);
    let types = Types::of(&store);
    let data = data(&mut store);
    let root = node(data, types, 7).expect("room");
    let root = Root::new(data, root);
    let mut made = 1;
    let failed = loop {
        match node(data, types, made) {
            Ok(new) => {
                let first = root.get(data).expect("root");
                set(data, new, LEFT, get::<u32>(data, first, LEFT));
                set(data, first, LEFT, new);
                made += 1;
            }
            Err(code) => break code,
        }
    };
    assert_eq!(failed, TrapCode::HeapExhausted);
    assert!((20_000..=(1 << 20) / NODE).contains(&made), "{made} objects of {NODE} bytes");
    let (mut at, mut found) = (root.get(data).expect("root"), 0);
    while at != 0 {
        found += 1;
        at = get(data, at, LEFT);
    }
    assert_eq!(found, made);
    assert_eq!(array(data, types, 1 << 20), Err(TrapCode::HeapExhausted));
    set(data, root.get(data).expect("root"), LEFT, 0_u32);
    assert!(node(data, types, 0).is_ok() && array(data, types, 1 << 16).is_ok(), "garbage is room again");
}

#[test]
fn ten_million_objects_in_a_list_need_no_native_stack() {
    let mut store = store(1 << 30, false);
    let types = Types::of(&store);
    let data = data(&mut store);
    let first = node(data, types, 0).expect("room");
    let root = Root::new(data, first);
    let count = 10_000_000;
    for value in 1..count {
        let new = node(data, types, value).expect("room");
        let first = root.get(data).expect("root");
        set(data, new, RIGHT, get::<u32>(data, first, LEFT));
        set(data, first, LEFT, new);
    }
    std::thread::scope(|scope| {
        let data = std::ptr::from_mut(data) as usize;
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, move || {
            // SAFETY: the other thread waits.
            let data = unsafe { &mut *(data as *mut StoreData) };
            collect::full(data).expect("memory");
        });
        thread.expect("a thread").join().expect("no overflow");
    });
    let mut at: u32 = get(data, root.get(data).expect("root"), LEFT);
    for value in (1..count).rev() {
        assert_eq!(get::<u64>(data, at, VALUE), value);
        at = get(data, at, RIGHT);
    }
    assert_eq!(at, 0);
}

#[test]
fn large_objects_are_zero_whatever_was_there_before() {
    let mut store = store(4 << 20, false);
    let types = Types::of(&store);
    let data = data(&mut store);
    for round in 0..40 {
        let length = 200_000 + 1000 * round;
        let object =
            allocate(data, tag(ObjectKind::Array, types.bytes), length, size(8 + u64::from(length))).expect("room");
        for at in (8..8 + u64::from(length)).step_by(97) {
            assert_eq!(get::<u8>(data, object, at), 0);
        }
        // SAFETY: the elements of the object.
        unsafe { data.heap.address(object, 8, length.into()).write_bytes(0xaa, length as usize) };
        array(data, types, 3000).expect("room");
    }
    assert!(data.heap.collections.full > 0);
}

#[test]
fn exceptions_are_traced() {
    let mut store = store(1 << 20, false);
    let types = Types::of(&store);
    let data = data(&mut store);
    let held = node(data, types, 99).expect("room");
    let (index, alive) = data.roots.get_mut().keep(held);
    let thrown = allocate(data, tag(ObjectKind::Exception, types.exception), 0, 24).expect("room");
    let held = data.roots.get_mut().kept(index, &alive);
    set(data, thrown, 16, held);
    // SAFETY: nothing else uses the word.
    unsafe { *data.shared.vm_exception() = thrown };
    drop(alive);
    for _ in 0..2 {
        collect::full(data).expect("memory");
    }
    // SAFETY: as above.
    let thrown = unsafe { *data.shared.vm_exception() };
    assert_eq!(get::<u64>(data, get(data, thrown, 16), VALUE), 99);
}

#[test]
fn values_of_the_host_live_while_something_names_them() {
    let mut store = store(1 << 20, false);
    let types = Types::of(&store);
    let data = data(&mut store);
    let scope = data.roots.get_mut().begin();
    let add = |data: &mut StoreData| host_value(data.externs.add(Box::new("value"), 10).expect("room"));
    let (held, dropped) = (add(data), add(data));
    let object = node(data, types, 0).expect("room");
    set(data, object, LEFT, held);
    let object = Root::new(data, object);
    collect::full(data).expect("memory");
    assert_eq!(data.externs.len(), 1);
    assert!(data.externs.get(held >> 2).is_some() && data.externs.get(dropped >> 2).is_none());
    set(data, object.get(data).expect("in scope"), LEFT, i31(5));
    data.roots.get_mut().end(scope);
    assert!(object.get(data).is_err());
    collect::full(data).expect("memory");
    assert_eq!((data.externs.len(), data.heap.used()), (0, 0));
}

/// What a test does to a graph.
#[derive(Clone, Debug)]
enum Step {
    /// A new node, or an array of so many, held by a variable.
    Make {
        variable: usize,
        length: Option<u32>,
    },
    /// `variable[index] = other`.
    Store {
        variable: usize,
        index: usize,
        other: usize,
    },
    /// `variable = other[index]`.
    Load {
        variable: usize,
        other: usize,
        index: usize,
    },
    Number {
        variable: usize,
        index: usize,
    },
    Drop {
        variable: usize,
    },
    Minor,
    Full,
}

const VARIABLES: usize = 8;

fn step() -> impl Strategy<Value = Step> {
    let variable = 0..VARIABLES;
    let length = prop_oneof![
        3 => Just(None),
        2 => (0_u32..40).prop_map(Some),
        1 => (100_u32..3000).prop_map(Some),
        1 => (5000_u32..9000).prop_map(Some)
    ];
    prop_oneof![
        6 => (variable.clone(), length).prop_map(|(variable, length)| Step::Make { variable, length }),
        8 => (variable.clone(), any::<usize>(), variable.clone())
            .prop_map(|(variable, index, other)| Step::Store { variable, index, other }),
        4 => (variable.clone(), variable.clone(), any::<usize>())
            .prop_map(|(variable, other, index)| Step::Load { variable, other, index }),
        2 => (variable.clone(), any::<usize>()).prop_map(|(variable, index)| Step::Number { variable, index }),
        1 => variable.prop_map(|variable| Step::Drop { variable }),
        1 => Just(Step::Minor),
        1 => Just(Step::Full),
    ]
}

/// A graph as a test knows it: objects by number, what lies in them.
#[derive(Default)]
struct Model {
    objects: Vec<Vec<Word>>,
    variables: [Option<usize>; VARIABLES],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Null,
    Number(u32),
    Object(usize),
}

struct Both<'a> {
    data: &'a mut StoreData,
    types: Types,
    roots: [Root; VARIABLES],
    model: Model,
}

impl Both<'_> {
    fn is_node(&self, object: usize) -> bool {
        self.model.objects[object].len() == 2
    }

    fn place(&self, object: usize, index: usize) -> u64 {
        match (self.is_node(object), index) {
            (true, 0) => LEFT,
            (true, _) => RIGHT,
            (false, _) => 8 + 4 * index as u64,
        }
    }

    fn variable(&self, variable: usize) -> u32 {
        self.roots[variable].get(self.data).expect("in scope")
    }

    fn hold(&mut self, variable: usize, reference: u32) {
        self.roots[variable] = Root::new(self.data, reference);
    }

    fn run(&mut self, number: u32, step: &Step) {
        match *step {
            Step::Make { variable, length } => {
                // A length of two would look like a node.
                let length = length.map(|length| if length == 2 { 3 } else { length });
                let made = match length {
                    None => node(self.data, self.types, number.into()),
                    Some(length) => array(self.data, self.types, length),
                };
                self.hold(variable, made.expect("the graph is small"));
                self.model.objects.push(vec![Word::Null; length.unwrap_or(2) as usize]);
                self.model.variables[variable] = Some(self.model.objects.len() - 1);
            }
            Step::Store { variable, index, other } => {
                let Some(object) = self.model.variables[variable] else { return };
                let Some(index) = index.checked_rem(self.model.objects[object].len()) else { return };
                let value = self.model.variables[other].map_or(Word::Null, Word::Object);
                let reference = if value == Word::Null { 0 } else { self.variable(other) };
                set(self.data, self.variable(variable), self.place(object, index), reference);
                self.model.objects[object][index] = value;
            }
            Step::Number { variable, index } => {
                let Some(object) = self.model.variables[variable] else { return };
                let Some(index) = index.checked_rem(self.model.objects[object].len()) else { return };
                set(self.data, self.variable(variable), self.place(object, index), i31(number));
                self.model.objects[object][index] = Word::Number(number);
            }
            Step::Load { variable, other, index } => {
                let Some(object) = self.model.variables[other] else { return };
                let Some(index) = index.checked_rem(self.model.objects[object].len()) else { return };
                let Word::Object(found) = self.model.objects[object][index] else { return };
                let reference = get(self.data, self.variable(other), self.place(object, index));
                self.hold(variable, reference);
                self.model.variables[variable] = Some(found);
            }
            Step::Drop { variable } => {
                self.hold(variable, 0);
                self.model.variables[variable] = None;
            }
            Step::Minor => {
                collect::minor(self.data).expect("memory");
            }
            Step::Full => {
                collect::full(self.data).expect("memory");
            }
        }
    }

    /// Walks both graphs from the variables: the same contents, and one object here for one there.
    fn check(&self) {
        let mut pairs: HashMap<usize, u32> = HashMap::new();
        let mut work = Vec::new();
        for variable in 0..VARIABLES {
            match self.model.variables[variable] {
                Some(object) => work.push((object, self.variable(variable))),
                None => assert_eq!(self.variable(variable), 0),
            }
        }
        while let Some((object, reference)) = work.pop() {
            assert!(is_object(reference));
            if let Some(known) = pairs.insert(object, reference) {
                assert_eq!(known, reference, "an object is in one place");
                continue;
            }
            let header = self.data.heap.header(reference);
            if !self.is_node(object) {
                assert_eq!(header.length as usize, self.model.objects[object].len());
            }
            for (index, word) in self.model.objects[object].iter().enumerate() {
                let found: u32 = get(self.data, reference, self.place(object, index));
                match *word {
                    Word::Null => assert_eq!(found, 0),
                    Word::Number(number) => assert_eq!(found, i31(number)),
                    Word::Object(other) => work.push((other, found)),
                }
            }
        }
        let mut places: Vec<_> = pairs.values().collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), pairs.len(), "two objects are in two places");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn random_graphs_are_what_their_model_says(steps in proptest::collection::vec(step(), 1..400), stress in any::<bool>()) {
        let mut store = store(64 << 20, stress);
        let types = Types::of(&store);
        let data = data(&mut store);
        data.heap.reserve();
        let roots = [Root::new(data, 0); VARIABLES];
        let mut both = Both { data, types, roots, model: Model::default() };
        for (number, step) in (1..).zip(&steps) {
            both.run(number, step);
            if number % 64 == 0 {
                both.check();
            }
        }
        both.check();
    }
}
