//! Searching a vector index through the tables that it is kept in (`docs/format.md`).
//!
//! Everything is read by statements on the host's connection, inside its transaction. What is remembered between
//! searches is what follows from the index's `stamp`, a random number that changes with everything else in
//! `<index>_meta`, and from the version of the schema.

mod lists;
mod meta;
mod search;
mod source;
mod vec;
mod vss;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kohakuvault_core::id_set::IdSet;

use super::connection::{Connection, Statement};
use meta::{Entries, Meta, Store};
use source::Source;

/// What is searched for.
pub(super) struct Wanted<'call> {
    pub(super) query: &'call [u8],
    pub(super) k: usize,
    pub(super) ids: Option<IdSet<'call>>,
}

/// The statements on blocks.
struct Blocks {
    all: Statement,
    of_list: Statement,
}

/// An index, and the statements that search it.
pub(super) struct Index {
    meta: Meta,
    schema: i64,
    schema_now: Statement,
    /// Stamp, whether there are blocks, the greatest id in them or, without blocks, of all.
    state: Statement,
    /// Of an index without blocks.
    source: Option<Source>,
    /// Ids of rows that changed since, with their vectors, NULL for those that are gone.
    pending: Statement,
    blocks: Option<Blocks>,
    vector: Statement,
    rows: Statement,
}

impl Index {
    /// The index of that name as it is now.
    pub(super) fn current<'memory>(
        indexes: &'memory mut HashMap<String, Self>,
        connection: Connection,
        name: &str,
    ) -> Result<&'memory mut Self, String> {
        match indexes.entry(name.to_owned()) {
            Entry::Vacant(place) => Ok(place.insert(Self::open(connection, name)?)),
            Entry::Occupied(mut place) => {
                if !place.get_mut().is_current()? {
                    place.insert(Self::open(connection, name)?);
                }
                Ok(place.into_mut())
            }
        }
    }

    fn open(connection: Connection, name: &str) -> Result<Self, String> {
        let mut schema_now = connection.prepare("PRAGMA schema_version")?;
        let schema = first_int(&mut schema_now)?;
        let meta = Meta::read(connection, name)?;
        let [meta_table, blocks, locations, pending] =
            ["meta", "blk", "loc", "pending"].map(|satellite| quoted(&format!("{name}_{satellite}")));
        let source = Source::open(connection, name, &meta)?;
        let (table, key, vector) = (quoted(&meta.table), quoted(&meta.key), quoted(&meta.vector));
        let prepare = |sql: String| {
            connection
                .prepare(&sql)
                .map_err(|error| format!("a table of it is damaged ({error}): call rebuild_index"))
        };
        let size = match meta.store {
            Store::Blocks(_) => {
                format!("EXISTS (SELECT 1 FROM {blocks}), (SELECT max(id) FROM {locations})")
            }
            _ => format!("0, (SELECT max({key}) FROM {table})"),
        };
        Ok(Self {
            schema,
            schema_now,
            state: prepare(format!("SELECT (SELECT value FROM {meta_table} WHERE key = 'stamp'), {size}"))?,
            source,
            pending: prepare(format!(
                "SELECT p.id, b.{vector} FROM {pending} AS p LEFT JOIN {table} AS b ON b.{key} = p.id ORDER BY p.id"
            ))?,
            blocks: match meta.store {
                Store::Blocks(_) => Some(Blocks {
                    all: prepare(format!("SELECT data, id FROM {blocks}"))?,
                    of_list: prepare(format!("SELECT data, id FROM {blocks} WHERE id >= ?1 AND id < ?2"))?,
                }),
                _ => None,
            },
            vector: prepare(format!("SELECT {vector} FROM {table} WHERE {key} = ?1"))?,
            rows: prepare(format!("SELECT {key}, {vector} FROM {table}"))?,
            meta,
        })
    }

    /// How blocks are searched, and the statements for it.
    fn blocks(&mut self) -> Option<(&Entries, &mut Blocks)> {
        match (&self.meta.store, &mut self.blocks) {
            (Store::Blocks(entries), Some(blocks)) => Some((entries, blocks)),
            _ => None,
        }
    }

    /// Whether nothing changed that is remembered here.
    fn is_current(&mut self) -> Result<bool, String> {
        Ok(first_int(&mut self.schema_now)? == self.schema && first_int(&mut self.state)? == self.meta.stamp)
    }
}

fn first_int(statement: &mut Statement) -> Result<i64, String> {
    Ok(statement.rows().next()?.map_or(0, |row| row.int(0)))
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
