//! Searching an index whose candidates are found by another extension: asked for a few more than are wanted, and
//! compared by their vectors.

use kohakuvault_core::distance::Query;
use kohakuvault_core::id_set::IdSet;
use kohakuvault_core::metric::Metric;

use super::super::api::NULL;
use super::super::connection::{Connection, Statement};
use super::meta::{Meta, Store};
use super::search::{Nearest, compare_all, compare_each};
use super::vec::VecTable;
use super::vss::Snapshot;
use super::{Index, Wanted};

/// Where candidates come from.
pub(super) enum Source {
    Vec(VecTable),
    Vss(Snapshot),
}

/// What a source is asked for.
pub(super) struct Asked<'search> {
    pub(super) query: &'search Query,
    /// The query as the rows are packed.
    pub(super) packed: &'search [u8],
    pub(super) k: usize,
    pub(super) ids: Option<&'search IdSet<'search>>,
    /// Ascending; what the source knows of these is not true any more.
    pub(super) pending: &'search [i64],
    /// About how many rows there are.
    pub(super) rows: usize,
}

impl Asked<'_> {
    /// Whether a row may be a candidate.
    pub(super) fn accepts(&self, id: i64) -> bool {
        self.ids.is_none_or(|ids| ids.contains(id)) && self.pending.binary_search(&id).is_err()
    }
}

impl Source {
    /// `None` for an index that has blocks, or nothing yet.
    pub(super) fn open(connection: Connection, name: &str, meta: &Meta) -> Result<Option<Self>, String> {
        match meta.store {
            Store::Blocks(_) | Store::Vss(None) => Ok(None),
            Store::Vec => VecTable::open(connection, name, meta.element).map(|table| Some(Self::Vec(table))),
            Store::Vss(Some((number, checksum))) => {
                Snapshot::open(connection, name, number, checksum).map(|snapshot| Some(Self::Vss(snapshot)))
            }
        }
    }

    /// Ids of rows among which are the nearest, as far as the source knows; `None` where it cannot tell.
    fn candidates(&mut self, asked: &Asked<'_>) -> Result<Option<Vec<i64>>, String> {
        match self {
            Self::Vec(table) => table.candidates(asked),
            Self::Vss(snapshot) => snapshot.candidates(asked),
        }
    }
}

impl Index {
    /// [`Index::search`] of an index with a source.
    pub(super) fn search_source(
        &mut self,
        query: &Query,
        wanted: &Wanted<'_>,
        rows: usize,
    ) -> Result<Vec<(f64, i64)>, String> {
        let ids = wanted.ids.as_ref();
        let mut found = Nearest::new(wanted.k);
        // Comparing all of them is what it would come to.
        let is_small = wanted.k >= ids.map_or(rows, IdSet::len);
        let has_direction =
            query.metric() != Metric::Cosine || query.values().iter().any(|&value| value != 0.0);
        if !is_small && has_direction {
            let pending = self.compare_pending(query, wanted, &mut found)?;
            let asked = Asked { query, packed: wanted.query, k: wanted.k, ids, pending: &pending, rows };
            let candidates = match &mut self.source {
                Some(source) => source.candidates(&asked)?,
                None => None,
            };
            if let Some(candidates) = candidates {
                compare_each(&mut self.vector, query, candidates.into_iter(), &mut found)?;
                // Otherwise rows are gone, or in no source, such as those without direction: they come last.
                if found.is_full() {
                    return Ok(found.into_sorted());
                }
            }
            found = Nearest::new(wanted.k);
        }
        match ids {
            Some(ids) if ids.len() < rows / 4 => {
                compare_each(&mut self.vector, query, ids.ids(), &mut found)?;
            }
            _ => compare_all(&mut self.rows, query, ids, &mut found)?,
        }
        Ok(found.into_sorted())
    }
}

/// Compiles a statement that needs another extension, whose module is `module`.
pub(super) fn prepare(
    connection: Connection,
    sql: &str,
    module: &str,
    backend: &str,
) -> Result<Statement, String> {
    connection.prepare(sql).map_err(|error| {
        if error.contains(&format!("no such module: {module}")) {
            return format!(
                "no such module: {module}: this connection was opened without sqlite-{backend}; make the engine with \
                 kohakuvault.create_engine(path, backends=[\"{backend}\"]), or call kohakuvault.install(engine, \
                 backends=[\"{backend}\"])"
            );
        }
        format!("sqlite-{backend}: {error}; call rebuild_index")
    })
}

/// Checks that a table of another extension has its shadow tables, without which it may crash.
pub(super) fn require_shadows(connection: Connection, table: &str, shadows: &[&str]) -> Result<(), String> {
    let mut statement =
        connection.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1")?;
    for shadow in shadows {
        statement.bind_text(1, &format!("{table}{shadow}"))?;
        if statement.rows().next()?.is_none() {
            return Err(format!("table \"{table}{shadow}\" is missing: call rebuild_index"));
        }
    }
    Ok(())
}

/// The ids that a statement yields.
pub(super) fn ids(statement: &mut Statement) -> Result<Vec<i64>, String> {
    let mut ids = Vec::new();
    let mut rows = statement.rows();
    while let Some(row) = rows.next()? {
        if row.kind(0) != NULL {
            ids.push(row.int(0));
        }
    }
    Ok(ids)
}
