//! Cells that often stand one behind the other, carried out by one handler.
//!
//! Fusing changes the handler of the first cell, and nothing else: the handler does what its own cell says and goes on in
//! itself with the one behind, whose words are where they are when it is alone. So a branch to a later cell, a trap there,
//! and a first one that goes another way (because what it accesses is not plain) find everything as if nothing were fused.
//!
//! A [`Part`] moves behind its cell, an [`End`] leaves it for another place. The translation says of each cell what it is, as
//! a [`Kind`]; the tables below say which kinds are fused, by what ran most often in programs (CPython, Ruby, PHP, esbuild
//! while they start, and the bench `interp`): any two parts, any part and any end, and a few threes. Each line of the first
//! table makes as many handlers as both tables have lines.
//!
//! # Safety
//! As [`super::dispatch`].

use std::marker::PhantomData;

use aura_validator::ops::Op;

use super::address::load_row_types as load;
use super::address::store_row_types as store;
use super::address::{LoadPart, Operand, StorePart};
use super::call::{CallEnd, Own, ReturnNothing, ReturnOne};
use super::dispatch::{At, Handler, handler};
use super::flow::{self, Back, Branch, BranchOn, Copy, GlobalGet, GlobalSet, Plain};
use super::form::Word;
use super::numeric::{
    Class, From, FromAccumulator as Acc, FromCell as Imm, FromSlot as Slot, OneBranch, To, ToAccumulator as ToAcc,
    ToSlot, TwoBranch, TwoPart, row,
};

/// What one cell does.
pub(super) trait Part {
    /// Does it and moves behind the cell; or stays there, to go on in another handler of the cell.
    fn run(at: &mut At) -> Result<(), Handler>;
}

/// What a cell does that leads elsewhere.
pub(super) trait End {
    fn run(at: At) -> u32;
}

/// One part after the other.
struct Both<A, B>(PhantomData<(A, B)>);

impl<A: Part, B: Part> Part for Both<A, B> {
    #[inline(always)]
    fn run(at: &mut At) -> Result<(), Handler> {
        A::run(at)?;
        B::run(at)
    }
}

/// A part, then an end.
struct Ended<A, E>(PhantomData<(A, E)>);

impl<A: Part, E: End> End for Ended<A, E> {
    #[inline(always)]
    fn run(mut at: At) -> u32 {
        match A::run(&mut at) {
            Ok(()) => E::run(at),
            Err(handler) => at.hand_over(handler),
        }
    }
}

handler! {
    /// A part, or several.
    fn alone[P: Part](at) {
        match P::run(&mut at) {
            Ok(()) => at.go(),
            Err(handler) => at.hand_over(handler),
        }
    }
}

handler! {
    /// An end, and what is before it.
    fn last[E: End](at) {
        E::run(at)
    }
}

/// What a cell is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A numeric row, a load or a store.
    Row(Op),
    /// A load or a store whose address is a sum.
    Sum(Op),
    /// A branch on a row, if that is so or if it is not; whether it goes back to a loop.
    RowBranch(Op, bool, bool),
    /// A branch if a value is not zero or if it is.
    BranchOn(bool, bool),
    Branch(bool),
    BranchTable,
    /// A global, whether it is the module's own.
    GlobalGet(Class, bool),
    GlobalSet(Class, bool),
    Copy,
    /// What an accumulator holds goes to a slot.
    Keep(Class),
    Constant,
    Zero,
    /// A choice, and where its values are.
    Select(Class, [From; 2]),
    /// A loop header, whether it is counted.
    Header(bool),
    Fuel,
    /// A return of a scalar.
    Return(Class),
    ReturnNothing,
    /// A call of an own function with so many arguments; whether it is counted.
    Call(usize, bool),
    /// The same of an element of a table.
    CallElement(usize, bool),
}

/// A cell as the tables know it: with where its operands come from, in the order of the cell, and where its result goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(pub(super) What, pub(super) From, pub(super) From, pub(super) To);

impl Kind {
    /// Of a cell without operands that are looked for.
    pub(super) fn of(what: What) -> Self {
        Self(what, From::Slot, From::Slot, To::Slot)
    }
}

use From::{Accumulator as A, Constant as C, Slot as S};
use To::{Accumulator as ToA, Slot as ToS};
use What::{Row, RowBranch};

type Load<R, P, O> = LoadPart<R, Operand<P>, O>;
type Store<R, P, V> = StorePart<R, Operand<P>, V>;

macro_rules! parts {
    ($($name:ident: $pattern:pat => $part:ty;)*) => {
        /// A kind of cell that is a part.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Piece {
            $($name),*
        }

        fn piece(kind: Kind) -> Option<Piece> {
            match kind {
                $($pattern => Some(Piece::$name),)*
                _ => None,
            }
        }

        /// The handler of two parts.
        fn two(first: Piece, second: Piece) -> Handler {
            fn after<P: Part>(second: Piece) -> Handler {
                match second {
                    $(Piece::$name => alone::<Both<P, $part>>,)*
                }
            }
            match first {
                $(Piece::$name => after::<$part>(second),)*
            }
        }

        /// The handler of a part and an end.
        fn ended(first: Piece, end: Kind) -> Option<Handler> {
            match first {
                $(Piece::$name => end_after::<$part>(end),)*
            }
        }
    };
}

parts! {
    LoadSS: Kind(Row(Op::I32Load), S, _, ToS) => Load<load::I32Load, Slot, ToSlot>;
    LoadSA: Kind(Row(Op::I32Load), S, _, ToA) => Load<load::I32Load, Slot, ToAcc>;
    LoadAS: Kind(Row(Op::I32Load), A, _, ToS) => Load<load::I32Load, Acc, ToSlot>;
    LoadAA: Kind(Row(Op::I32Load), A, _, ToA) => Load<load::I32Load, Acc, ToAcc>;
    StoreSA: Kind(Row(Op::I32Store), S, A, _) => Store<store::I32Store, Slot, Acc>;
    StoreAS: Kind(Row(Op::I32Store), A, S, _) => Store<store::I32Store, Acc, Slot>;
    StoreSS: Kind(Row(Op::I32Store), S, S, _) => Store<store::I32Store, Slot, Slot>;
    AddSCS: Kind(Row(Op::I32Add), S, C, ToS) => TwoPart<row::I32Add, Slot, Imm, ToSlot>;
    AddSCA: Kind(Row(Op::I32Add), S, C, ToA) => TwoPart<row::I32Add, Slot, Imm, ToAcc>;
    AddACS: Kind(Row(Op::I32Add), A, C, ToS) => TwoPart<row::I32Add, Acc, Imm, ToSlot>;
    AddACA: Kind(Row(Op::I32Add), A, C, ToA) => TwoPart<row::I32Add, Acc, Imm, ToAcc>;
    AddSSS: Kind(Row(Op::I32Add), S, S, ToS) => TwoPart<row::I32Add, Slot, Slot, ToSlot>;
    SubACS: Kind(Row(Op::I32Sub), A, C, ToS) => TwoPart<row::I32Sub, Acc, Imm, ToSlot>;
    GetA: Kind(What::GlobalGet(Class::Int, true), _, _, ToA) => GlobalGet<u64, flow::Own, ToAcc>;
    SetA: Kind(What::GlobalSet(Class::Int, true), A, _, _) => GlobalSet<u64, flow::Own, Acc>;
    Copies: Kind(What::Copy, ..) => Copy;
}

macro_rules! ends {
    ($($pattern:pat => $end:ty;)*) => {
        /// The handler of an end after a part.
        fn end_after<P: Part>(end: Kind) -> Option<Handler> {
            match end {
                $($pattern => Some(last::<Ended<P, $end>>),)*
                _ => None,
            }
        }
    };
}

ends! {
    Kind(RowBranch(Op::I32Eqz, true, false), A, ..) => OneBranch<row::I32Eqz, Acc, Plain, true>;
    Kind(RowBranch(Op::I32Eqz, false, false), A, ..) => OneBranch<row::I32Eqz, Acc, Plain, false>;
    Kind(RowBranch(Op::I32Eq, true, false), A, C, _) => TwoBranch<row::I32Eq, Acc, Imm, Plain, true>;
    Kind(RowBranch(Op::I32Eq, false, false), A, C, _) => TwoBranch<row::I32Eq, Acc, Imm, Plain, false>;
    Kind(RowBranch(Op::I32Ne, true, false), A, C, _) => TwoBranch<row::I32Ne, Acc, Imm, Plain, true>;
    Kind(RowBranch(Op::I32Ne, true, true), A, S, _) => TwoBranch<row::I32Ne, Acc, Slot, Back, true>;
    Kind(RowBranch(Op::I32LtU, true, false), A, S, _) => TwoBranch<row::I32LtU, Acc, Slot, Plain, true>;
    Kind(RowBranch(Op::I32LtU, true, true), A, S, _) => TwoBranch<row::I32LtU, Acc, Slot, Back, true>;
    Kind(What::BranchOn(true, false), A, ..) => BranchOn<Acc, Plain, true>;
    Kind(What::BranchOn(false, false), A, ..) => BranchOn<Acc, Plain, false>;
    Kind(What::BranchOn(true, true), A, ..) => BranchOn<Acc, Back, true>;
    Kind(What::Branch(false), ..) => Branch<Plain>;
    Kind(What::Branch(true), ..) => Branch<Back>;
    Kind(What::Return(Class::Int), A, ..) => ReturnOne<u64, Acc>;
    Kind(What::Return(Class::Int), S, ..) => ReturnOne<u64, Slot>;
    Kind(What::ReturnNothing, ..) => ReturnNothing;
    Kind(What::Call(1, true), ..) => CallEnd<Own, true, 1>;
    Kind(What::Call(1, false), ..) => CallEnd<Own, false, 1>;
    Kind(What::Call(2, true), ..) => CallEnd<Own, true, 2>;
    Kind(What::Call(2, false), ..) => CallEnd<Own, false, 2>;
}

/// The handler of a third cell after two that are fused.
fn three(first: Piece, second: Piece, third: Kind) -> Option<Handler> {
    use Piece::{
        AddACA, AddSCA, AddSCS, GetA, LoadAA, LoadAS, LoadSA, LoadSS, SetA, StoreAS, StoreSA, StoreSS, SubACS,
    };
    type I32Load<P, O> = Load<load::I32Load, P, O>;
    type I32Store<P, V> = Store<store::I32Store, P, V>;
    type Adjusted = Both<GlobalGet<u64, flow::Own, ToAcc>, TwoPart<row::I32Sub, Acc, Imm, ToSlot>>;
    type Restored = Both<TwoPart<row::I32Add, Slot, Imm, ToAcc>, GlobalSet<u64, flow::Own, Acc>>;
    type Added = TwoPart<row::I32Add, Acc, Imm, ToAcc>;
    type Counted = TwoPart<row::I32Add, Slot, Imm, ToSlot>;
    if let Some(third) = piece(third) {
        return Some(match (first, second, third) {
            (GetA, SubACS, SetA) => alone::<Both<Adjusted, GlobalSet<u64, flow::Own, Acc>>>,
            (GetA, SubACS, StoreAS) => alone::<Both<Adjusted, I32Store<Acc, Slot>>>,
            (LoadSS, AddACA, StoreSA) => alone::<Both<I32Load<Slot, ToSlot>, Both<Added, I32Store<Slot, Acc>>>>,
            (LoadAA, StoreSA, LoadSS) => {
                alone::<Both<I32Load<Acc, ToAcc>, Both<I32Store<Slot, Acc>, I32Load<Slot, ToSlot>>>>
            }
            (LoadSA, StoreSA, LoadSS) => {
                alone::<Both<I32Load<Slot, ToAcc>, Both<I32Store<Slot, Acc>, I32Load<Slot, ToSlot>>>>
            }
            (LoadSA, LoadAA, StoreSA) => {
                alone::<Both<I32Load<Slot, ToAcc>, Both<I32Load<Acc, ToAcc>, I32Store<Slot, Acc>>>>
            }
            (StoreSA, LoadSS, LoadSA) => {
                alone::<Both<I32Store<Slot, Acc>, Both<I32Load<Slot, ToSlot>, I32Load<Slot, ToAcc>>>>
            }
            (StoreSA, LoadSS, LoadSS) => {
                alone::<Both<I32Store<Slot, Acc>, Both<I32Load<Slot, ToSlot>, I32Load<Slot, ToSlot>>>>
            }
            (StoreAS, StoreAS, StoreAS) => {
                alone::<Both<I32Store<Acc, Slot>, Both<I32Store<Acc, Slot>, I32Store<Acc, Slot>>>>
            }
            (StoreAS, StoreAS, LoadAA) => {
                alone::<Both<I32Store<Acc, Slot>, Both<I32Store<Acc, Slot>, I32Load<Acc, ToAcc>>>>
            }
            (StoreAS, StoreAS, LoadAS) => {
                alone::<Both<I32Store<Acc, Slot>, Both<I32Store<Acc, Slot>, I32Load<Acc, ToSlot>>>>
            }
            (StoreAS, LoadAA, LoadAS) => {
                alone::<Both<I32Store<Acc, Slot>, Both<I32Load<Acc, ToAcc>, I32Load<Acc, ToSlot>>>>
            }
            _ => return None,
        });
    }
    type Compared<D> = TwoBranch<row::I32LtU, Acc, Slot, D, true>;
    type Filled<D> = Ended<Both<I32Store<Slot, Slot>, Counted>, Compared<D>>;
    type Fetched = Both<I32Store<Slot, Acc>, I32Load<Slot, ToSlot>>;
    let Kind(what, from, ..) = third;
    Some(match (first, second, what) {
        (AddSCA, SetA, What::ReturnNothing) => last::<Ended<Restored, ReturnNothing>>,
        (AddSCA, SetA, What::Return(Class::Int)) if from == S => last::<Ended<Restored, ReturnOne<u64, Slot>>>,
        (StoreSS, AddSCS, RowBranch(Op::I32LtU, true, false)) if is_held(third) => last::<Filled<Plain>>,
        (StoreSS, AddSCS, RowBranch(Op::I32LtU, true, true)) if is_held(third) => last::<Filled<Back>>,
        (StoreSA, LoadSS, What::Call(1, true)) => last::<Ended<Fetched, CallEnd<Own, true, 1>>>,
        (StoreSA, LoadSS, What::Call(1, false)) => last::<Ended<Fetched, CallEnd<Own, false, 1>>>,
        _ => return None,
    })
}

/// Whether the first operand is in its accumulator, and the second in its slot.
fn is_held(Kind(_, a, b, _): Kind) -> bool {
    (a, b) == (A, S)
}

/// The cells before the one that comes, as far as it may be fused with them.
#[derive(Debug, Default)]
pub(super) struct Chain {
    first: Option<Piece>,
    /// Fused with the first.
    second: Option<Piece>,
    /// Where the first begins, and where the last ends.
    start: usize,
    end: usize,
}

impl Chain {
    /// A cell was written that begins at a place and ends where `cells` do: fuses it with those before it, if that can be.
    pub(super) fn add(&mut self, cells: &mut [Word], start: usize, kind: Kind) {
        let before = std::mem::take(self);
        let (first, second) = if before.end == start { (before.first, before.second) } else { (None, None) };
        let (piece, end) = (piece(kind), cells.len());
        let handler = match (first, second, piece) {
            (Some(first), Some(second), _) => three(first, second, kind),
            (Some(first), None, Some(piece)) => {
                *self = Self { first: Some(first), second: Some(piece), start: before.start, end };
                Some(two(first, piece))
            }
            (Some(first), None, None) => ended(first, kind),
            (None, ..) => None,
        };
        match handler {
            Some(handler) => cells[before.start] = Word { handler },
            None => *self = Self { first: piece, second: None, start, end },
        }
    }
}
