//! `kv_knn(index, query, k, ids)`: the table of the `k` rows nearest to a query, found by a vector index.
//!
//! Columns: `id` INTEGER and `distance` REAL, nearest first. `ids`, which may be left out or NULL, is a set that
//! `kv_idset` made: only those rows are searched. A distance that is not a number is NULL, and last.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_int};

use kohakuvault_core::id_set::IdSet;

use super::api::{BLOB, Context, INTEGER, NULL, TEXT, Value};
use super::connection::Connection;
use super::table_function::TableFunction;
use super::vector_index::{Index, Wanted};

pub(super) struct Knn {
    /// Nearest first.
    found: Vec<(f64, i64)>,
    position: usize,
}

impl TableFunction for Knn {
    const ARGUMENTS: (c_int, usize, usize) = (2, 4, 3);
    const DECLARATION: &'static CStr = c"CREATE TABLE kv_knn (id INTEGER, distance REAL, \"index\" HIDDEN, \
        query HIDDEN, k HIDDEN, ids HIDDEN)";
    const NAME: &'static str = "kv_knn";
    // NULL comes first where SQLite sorts, and last here.
    const ORDERED_BY: Option<c_int> = None;
    /// The indexes that were searched, by name.
    type Memory = RefCell<HashMap<String, Index>>;

    fn call(
        memory: &Self::Memory,
        connection: Connection,
        arguments: &[Option<Value<'_>>],
    ) -> Result<Option<Self>, String> {
        let [Some(name), Some(query), Some(k), ids] = arguments else { return Ok(None) };
        if name.kind() != TEXT {
            return Err(unsuitable("index", "the TEXT of its name", *name));
        }
        if query.kind() != BLOB {
            return Err(unsuitable("query", "a BLOB, a packed vector", *query));
        }
        if k.kind() != INTEGER {
            return Err(unsuitable("k", "an INTEGER", *k));
        }
        if k.integer() < 0 {
            return Err(format!("kv_knn: k is {}; expected zero or more", k.integer()));
        }
        let ids = match ids {
            Some(ids) if ids.kind() == BLOB => {
                Some(IdSet::new(ids.blob()).map_err(|error| format!("kv_knn: ids: {error}"))?)
            }
            Some(ids) if ids.kind() != NULL => {
                return Err(unsuitable("ids", "a BLOB that kv_idset made", *ids));
            }
            _ => None,
        };
        // More rows than memory has addresses cannot be kept anyway.
        let wanted =
            Wanted { query: query.blob(), k: usize::try_from(k.integer()).unwrap_or(usize::MAX), ids };
        let name = name.text();
        let mut indexes = memory.try_borrow_mut().map_err(|_| "kv_knn: called by itself".to_owned())?;
        let searched =
            Index::current(&mut indexes, connection, &name).and_then(|index| index.search(&wanted));
        match searched {
            Ok(found) => Ok(Some(Self { found, position: 0 })),
            Err(error) => {
                // Whatever was remembered may be what is wrong.
                indexes.remove(&name);
                Err(format!("kv_knn: index {name:?}: {error}"))
            }
        }
    }

    fn advance(&mut self) -> Result<(), String> {
        self.position += 1;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.position >= self.found.len()
    }

    fn rowid(&self) -> i64 {
        i64::try_from(self.position).unwrap_or(i64::MAX)
    }

    fn column(&self, column: c_int, context: Context) {
        match (self.found.get(self.position), column) {
            (Some((_, id)), 0) => context.result_int(*id),
            (Some((distance, _)), 1) if !distance.is_nan() => context.result_double(*distance),
            _ => context.result_null(),
        }
    }
}

#[cold]
fn unsuitable(name: &str, expected: &str, given: Value<'_>) -> String {
    format!("kv_knn: {name}: expected {expected}; {} given", given.kind_name())
}
