//! The entries of a map: a structure whose type is that of its keys, and another one once they are of another.

use kohakuvault_core::ordered::{Place, Search, Sorted};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use super::keys::{AnyKey, Bytes, Key, Keyed, Native, Object, Text};
use super::map::OrderedMap;

pub(super) type Pair = (Py<PyAny>, Py<PyAny>);

/// A kind of structure.
pub(super) trait Family: Clone + Send + Sync + 'static {
    /// What its Python class is called.
    const NAME: &'static str;

    type Of<K: Key>: Sorted<K, Object> + Send + Sync;

    /// An empty structure.
    fn empty<K: Key>(&self) -> Self::Of<K>;

    /// The same structure, its places included, with its keys as objects.
    fn promote<K: Key>(entries: Self::Of<K>, py: Python<'_>) -> Self::Of<Object>;

    /// Its entries as they are now, of structures that know how to keep them.
    fn snapshot<K: Key>(entries: &Self::Of<K>) -> Option<Box<dyn Kept>>;

    /// What it was made with, beside functions.
    fn options(&self) -> Vec<(&'static str, usize)>;

    /// The Python object of a map of this kind.
    fn face(py: Python<'_>, map: OrderedMap) -> PyResult<Py<PyAny>>;
}

/// Entries that are kept as they were at one moment, and given from either end.
pub(super) trait Kept: Send + Sync {
    fn next(&mut self, py: Python<'_>, is_reversed: bool) -> Option<Pair>;

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;
}

/// Entries, whose keys are all of one type that is compared here, or of any types.
pub(super) enum Entries<F: Family> {
    Int(F::Of<i64>),
    Float(F::Of<f64>),
    Text(F::Of<Text>),
    Bytes(F::Of<Bytes>),
    Object(F::Of<Object>),
    Keyed(F::Of<Keyed>),
}

pub(super) type Rows = Vec<(AnyKey, Object)>;

/// What came of many that were added.
pub(super) struct Added {
    /// How many are new.
    pub(super) count: usize,
    /// The values that had to go, to be dropped while nobody holds the map.
    pub(super) displaced: Vec<Object>,
}

/// What was removed, to be dropped while nobody holds the map.
pub(super) struct Removed {
    pub(super) key: AnyKey,
    pub(super) value: Object,
    _discarded: Vec<AnyKey>,
}

/// The same for entries of each type.
macro_rules! of_any {
    ($all:expr, $entries:ident => $act:expr) => {
        match $all {
            Entries::Int($entries) => $act,
            Entries::Float($entries) => $act,
            Entries::Text($entries) => $act,
            Entries::Bytes($entries) => $act,
            Entries::Object($entries) => $act,
            Entries::Keyed($entries) => $act,
        }
    };
}

impl<F: Family> Entries<F> {
    /// Empty ones for keys of the type of one.
    fn empty(family: &F, key: &AnyKey) -> Self {
        match key {
            AnyKey::Int(_) => Self::Int(family.empty()),
            AnyKey::Float(_) => Self::Float(family.empty()),
            AnyKey::Text(_) => Self::Text(family.empty()),
            AnyKey::Bytes(_) => Self::Bytes(family.empty()),
            AnyKey::Object(_) => Self::Object(family.empty()),
            AnyKey::Keyed(_) => Self::Keyed(family.empty()),
        }
    }

    /// Some of no type yet.
    pub(super) fn new(family: &F) -> Self {
        Self::Object(family.empty())
    }

    // -- searching -----------------------------------------------------------------------------

    /// Where a key is or belongs, and whether it is there; None if Python has to compare it.
    #[inline]
    pub(super) fn locate(&self, key: &AnyKey, py: Python<'_>) -> Option<(Place, bool)> {
        match (self, key) {
            (Self::Int(entries), AnyKey::Int(key)) => Some(locate(entries, key, py)),
            (Self::Float(entries), AnyKey::Float(key)) => Some(locate(entries, key, py)),
            (Self::Text(entries), AnyKey::Text(key)) => Some(locate(entries, key, py)),
            (Self::Bytes(entries), AnyKey::Bytes(key)) => Some(locate(entries, key, py)),
            _ if self.is_empty() => Some((self.end(), false)),
            _ => None,
        }
    }

    pub(super) fn begin(&self) -> Search {
        of_any!(self, entries => entries.begin())
    }

    /// What to compare with next.
    pub(super) fn probe(&self, search: &Search, py: Python<'_>) -> Option<Py<PyAny>> {
        of_any!(self, entries => entries.probe(search).map(|key| key.compared(py)))
    }

    pub(super) fn turn(&self, search: &mut Search, is_below: bool) {
        of_any!(self, entries => entries.turn(search, is_below));
    }

    // -- reading -------------------------------------------------------------------------------

    pub(super) fn len(&self) -> usize {
        of_any!(self, entries => entries.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn start(&self) -> Place {
        of_any!(self, entries => entries.start())
    }

    pub(super) fn end(&self) -> Place {
        of_any!(self, entries => entries.end())
    }

    pub(super) fn after(&self, place: Place) -> Place {
        of_any!(self, entries => entries.after(place))
    }

    pub(super) fn before(&self, place: Place) -> Option<Place> {
        of_any!(self, entries => entries.before(place))
    }

    #[inline]
    pub(super) fn value(&self, place: Place, py: Python<'_>) -> Option<Py<PyAny>> {
        of_any!(self, entries => entries.entry(place).map(|(_, value)| value.share(py)))
    }

    pub(super) fn pair(&self, place: Place, py: Python<'_>) -> Option<Pair> {
        of_any!(self, entries => entries.entry(place).map(|(key, value)| (key.object(py), value.share(py))))
    }

    /// What the key at a place is compared by.
    pub(super) fn compared(&self, place: Place, py: Python<'_>) -> Option<Py<PyAny>> {
        of_any!(self, entries => entries.entry(place).map(|(key, _)| key.compared(py)))
    }

    pub(super) fn pairs(&self, from: Place, to: Place, py: Python<'_>) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(of_any!(self, entries => entries.count(from, to)));
        of_any!(self, entries => entries.each(from, to, |key, value| pairs.push((key.object(py), value.share(py)))));
        pairs
    }

    pub(super) fn keys(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let mut keys = Vec::with_capacity(self.len());
        of_any!(self, entries => entries.each(entries.start(), entries.end(), |key, _| keys.push(key.object(py))));
        keys
    }

    pub(super) fn values(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let mut values = Vec::with_capacity(self.len());
        of_any!(self, entries => entries.each(entries.start(), entries.end(), |_, value| values.push(value.share(py))));
        values
    }

    pub(super) fn snapshot(&self) -> Option<Box<dyn Kept>> {
        match self {
            Self::Int(entries) => F::snapshot(entries),
            Self::Float(entries) => F::snapshot(entries),
            Self::Text(entries) => F::snapshot(entries),
            Self::Bytes(entries) => F::snapshot(entries),
            Self::Object(entries) => F::snapshot(entries),
            Self::Keyed(entries) => F::snapshot(entries),
        }
    }

    // -- changing ------------------------------------------------------------------------------

    /// Insert an entry where it belongs.
    pub(super) fn insert(&mut self, family: &F, at: Place, key: AnyKey, value: Object, py: Python<'_>) {
        let mut at = at;
        if self.is_empty() && !self.takes(&key) {
            *self = Self::empty(family, &key);
            at = self.end();
        } else if !self.takes(&key) {
            self.promote(family, py);
        }
        match (self, key) {
            (Self::Int(entries), AnyKey::Int(key)) => entries.insert(at, key, value),
            (Self::Float(entries), AnyKey::Float(key)) => entries.insert(at, key, value),
            (Self::Text(entries), AnyKey::Text(key)) => entries.insert(at, key, value),
            (Self::Bytes(entries), AnyKey::Bytes(key)) => entries.insert(at, key, value),
            (Self::Keyed(entries), AnyKey::Keyed(key)) => entries.insert(at, key, value),
            (Self::Object(entries), key) => entries.insert(at, key.into_object(py), value),
            _ => {}
        }
    }

    /// Whether a key is of the type that all are of.
    fn takes(&self, key: &AnyKey) -> bool {
        matches!(
            (self, key),
            (Self::Int(_), AnyKey::Int(_))
                | (Self::Float(_), AnyKey::Float(_))
                | (Self::Text(_), AnyKey::Text(_))
                | (Self::Bytes(_), AnyKey::Bytes(_))
                | (Self::Object(_), AnyKey::Object(_))
                | (Self::Keyed(_), AnyKey::Keyed(_))
        )
    }

    /// Make all keys objects; places stay what they are.
    fn promote(&mut self, family: &F, py: Python<'_>) {
        *self = match std::mem::replace(self, Self::new(family)) {
            Self::Int(entries) => Self::Object(F::promote(entries, py)),
            Self::Float(entries) => Self::Object(F::promote(entries, py)),
            Self::Text(entries) => Self::Object(F::promote(entries, py)),
            Self::Bytes(entries) => Self::Object(F::promote(entries, py)),
            objects => objects,
        };
    }

    pub(super) fn replace(&mut self, at: Place, value: Object) -> Option<Object> {
        of_any!(self, entries => entries.replace(at, value))
    }

    /// Remove an entry.
    pub(super) fn remove(&mut self, at: Place) -> Option<Removed> {
        of_any!(self, entries => {
            let (key, value) = entries.remove(at)?;
            let discarded = entries.discarded().into_iter().map(Into::into).collect();
            Some(Removed { key: key.into(), value, _discarded: discarded })
        })
    }

    /// Add many whose keys are of one type that is compared here; fastest if they are in order.
    ///
    /// Nothing is done, and the rows come back, if they are not, or those that are there are others.
    pub(super) fn extend(&mut self, family: &F, rows: Rows, py: Python<'_>) -> Result<Added, Rows> {
        let Some((first, _)) = rows.first() else { return Ok(Added { count: 0, displaced: Vec::new() }) };
        if self.is_empty() && !self.takes(first) {
            *self = Self::empty(family, first);
        }
        if !rows.iter().all(|(key, _)| self.takes(key)) {
            return Err(rows);
        }
        macro_rules! extend {
            ($entries:expr, $type:path) => {
                Ok(extend(
                    $entries,
                    rows.into_iter().filter_map(|(key, value)| match key {
                        $type(key) => Some((key, value)),
                        _ => None,
                    }),
                    py,
                ))
            };
        }
        match self {
            Self::Int(entries) => extend!(entries, AnyKey::Int),
            Self::Float(entries) => extend!(entries, AnyKey::Float),
            Self::Text(entries) => extend!(entries, AnyKey::Text),
            Self::Bytes(entries) => extend!(entries, AnyKey::Bytes),
            _ => Err(rows),
        }
    }

    // -- as a whole ----------------------------------------------------------------------------

    /// Other entries of the same keys and values.
    pub(super) fn copy(&self, family: &F) -> Self {
        macro_rules! copy {
            ($type:path, $entries:expr) => {{
                let mut copied = family.empty();
                $entries.each($entries.start(), $entries.end(), |key, value| {
                    copied.insert(copied.end(), key.clone(), value.clone());
                });
                $type(copied)
            }};
        }
        match self {
            Self::Int(entries) => copy!(Self::Int, entries),
            Self::Float(entries) => copy!(Self::Float, entries),
            Self::Text(entries) => copy!(Self::Text, entries),
            Self::Bytes(entries) => copy!(Self::Bytes, entries),
            Self::Object(entries) => copy!(Self::Object, entries),
            Self::Keyed(entries) => copy!(Self::Keyed, entries),
        }
    }

    /// What is wrong with the structure.
    pub(super) fn check(&self) -> Vec<String> {
        of_any!(self, entries => entries.check())
    }

    /// The keys, as what they are compared by.
    pub(super) fn all_compared(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let mut keys = Vec::with_capacity(self.len());
        of_any!(self, entries => entries.each(entries.start(), entries.end(), |key, _| keys.push(key.compared(py))));
        keys
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        of_any!(self, entries => entries.visit(|key| key.traverse(visit), |value| visit.call(&value.0)))
    }
}

#[inline]
fn locate<K: Native>(entries: &impl Sorted<K, Object>, key: &K, py: Python<'_>) -> (Place, bool) {
    let place = entries.lower_bound(|keys| K::count_below(keys, key, py));
    (place, entries.entry(place).is_some_and(|(there, _)| there.order(key, py).is_eq()))
}

fn extend<K: Native>(
    entries: &mut impl Sorted<K, Object>,
    rows: impl Iterator<Item = (K, Object)>,
    py: Python<'_>,
) -> Added {
    let mut added = Added { count: 0, displaced: Vec::new() };
    for (key, value) in rows {
        let is_last = entries.last().is_none_or(|(last, _)| last.is_below(&key, py));
        let (place, found) = if is_last { (entries.end(), false) } else { locate(entries, &key, py) };
        if found {
            added.displaced.extend(entries.replace(place, value));
        } else {
            entries.insert(place, key, value);
            added.count += 1;
        }
    }
    added
}
