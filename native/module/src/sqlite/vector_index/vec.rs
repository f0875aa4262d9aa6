//! Candidates from a table of sqlite-vec, which compares every row, and only those of a condition.

use kohakuvault_core::distance::floats_to_bytes;
use kohakuvault_core::element::Element;

use super::super::connection::{Connection, Statement};
use super::quoted;
use super::source::{Asked, ids, prepare, require_shadows};

/// What sqlite-vec finds at most (`SQLITE_VEC_VEC0_K_MAX`).
const MOST: usize = 4096;

/// Rows that are asked for beyond the k nearest: sqlite-vec compares in float32, in which near distances are equal.
const MARGIN: usize = 16;

/// The first version of `SQLite` with `sqlite3_vtab_in`, without which a table cannot be searched by ids.
const WITH_IN: i32 = 3_038_000;

pub(super) struct VecTable {
    all: Statement,
    /// `None`: this `SQLite` is too old for it.
    some: Option<Statement>,
    element: Element,
}

impl VecTable {
    pub(super) fn open(connection: Connection, name: &str, element: Element) -> Result<Self, String> {
        let name = format!("{name}_vec");
        require_shadows(connection, &name, &["", "_info", "_chunks", "_rowids", "_vector_chunks00"])?;
        let table = quoted(&name);
        let query = match element {
            Element::I8 => "vec_int8(?1)",
            Element::Bit => "vec_bit(?1)",
            _ => "?1",
        };
        let nearest = format!("SELECT rowid FROM {table} WHERE embedding MATCH {query} AND k = ?2");
        let prepare = |sql: &str| prepare(connection, sql, "vec0", "vec");
        let some = if connection.version() >= WITH_IN {
            Some(prepare(&format!("{nearest} AND rowid IN (SELECT value FROM json_each(?3))"))?)
        } else {
            None
        };
        Ok(Self { all: prepare(&nearest)?, some, element })
    }

    pub(super) fn candidates(&mut self, asked: &Asked<'_>) -> Result<Option<Vec<i64>>, String> {
        let (statement, wanted) = match (asked.ids, &mut self.some) {
            (Some(_), None) => return Ok(None),
            (Some(ids), Some(statement)) => {
                statement.bind_text(3, &json(ids.ids().filter(|&id| asked.accepts(id))))?;
                (statement, asked.k.saturating_add(MARGIN))
            }
            (None, _) => (&mut self.all, asked.k.saturating_add(MARGIN + asked.pending.len())),
        };
        if asked.k > MOST {
            return Ok(None);
        }
        let limit = wanted.min(MOST);
        match self.element {
            Element::I8 | Element::Bit => statement.bind_blob(1, asked.packed)?,
            _ => statement.bind_blob(1, &floats_to_bytes(asked.query.values()))?,
        }
        statement.bind_int(2, i64::try_from(limit).unwrap_or(i64::MAX))?;
        let found = ids(statement).map_err(|error| format!("sqlite-vec: {error}"))?;
        let was_cut = limit < wanted && found.len() == limit;
        let accepted: Vec<i64> = found.into_iter().filter(|&id| asked.accepts(id)).collect();
        // Too many of them have changed since.
        Ok((!was_cut || accepted.len() >= asked.k).then_some(accepted))
    }
}

/// Ids as a JSON array.
fn json(ids: impl Iterator<Item = i64>) -> String {
    let mut text = String::from("[");
    for id in ids {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&id.to_string());
    }
    text.push(']');
    text
}
