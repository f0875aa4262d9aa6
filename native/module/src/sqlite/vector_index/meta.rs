//! What `<index>_meta` says: how the index's entries are made, and of which column.

use std::collections::HashMap;
use std::str::FromStr;

use kohakuvault_core::distance::floats_from_bytes;
use kohakuvault_core::element::Element;
use kohakuvault_core::index::{Code, Form, MOST_DIMENSIONS};
use kohakuvault_core::metric::Metric;

use super::super::api::{BLOB, INTEGER, TEXT};
use super::super::connection::{Connection, Row};
use super::lists::Lists;
use super::quoted;

/// The version of the layout that this release reads.
const VERSION: i64 = 1;

pub(super) struct Meta {
    pub(super) stamp: i64,
    pub(super) table: String,
    pub(super) key: String,
    pub(super) vector: String,
    pub(super) metric: Metric,
    pub(super) element: Element,
    pub(super) dimensions: usize,
    pub(super) store: Store,
}

/// What an index keeps of its rows.
pub(super) enum Store {
    Blocks(Box<Entries>),
    /// A table of sqlite-vec.
    Vec,
    /// A table of sqlite-vss, by its number, with the checksum of what is in it; none until it was built.
    Vss(Option<(i64, i64)>),
}

/// How the entries of blocks are made, and found.
pub(super) struct Entries {
    pub(super) form: Form,
    /// Of an index with inverted lists.
    pub(super) lists: Option<Lists>,
}

enum Cell {
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Meta {
    pub(super) fn read(connection: Connection, name: &str) -> Result<Self, String> {
        let mut cells = HashMap::new();
        let mut statement = connection
            .prepare(&format!("SELECT key, value FROM {}", quoted(&format!("{name}_meta"))))
            .map_err(|error| {
                format!(
                    "there is no such index, or it is damaged ({error}): create it, or call rebuild_index"
                )
            })?;
        let mut rows = statement.rows();
        while let Some(row) = rows.next()? {
            let key = String::from_utf8_lossy(row.text(0)).into_owned();
            if let Some(cell) = cell(&row) {
                cells.insert(key, cell);
            }
        }
        drop(rows);
        let mut cells = Cells(cells);
        let version = cells.int("version")?;
        if version != VERSION {
            return Err(format!(
                "it has format version {version} and this release reads {VERSION}: install a newer kohakuvault, or call \
                 rebuild_index"
            ));
        }
        let metric: Metric = cells.parsed("metric")?;
        let dimensions = cells.int("dimensions")?;
        let dimensions = usize::try_from(dimensions)
            .ok()
            .filter(|dimensions| (1..=MOST_DIMENSIONS).contains(dimensions))
            .ok_or_else(|| damaged("dimensions"))?;
        let element: Element = cells.parsed("element")?;
        // Of bits, as many as the bytes have room for.
        let dimensions = element.dimensions(element.row_bytes(dimensions)).unwrap_or(dimensions);
        let store = match cells.text("kind")?.as_str() {
            "vec" => Store::Vec,
            "vss" => Store::Vss(cells.optional_int("snapshot")?.zip(cells.optional_int("checksum")?)),
            _ => Store::Blocks(Box::new(Entries::read(&mut cells, metric, dimensions)?)),
        };
        Ok(Self {
            stamp: cells.int("stamp")?,
            table: base_table(connection, name)?,
            key: cells.text("key")?,
            vector: cells.text("vector")?,
            metric,
            element,
            dimensions,
            store,
        })
    }
}

impl Entries {
    fn read(cells: &mut Cells, metric: Metric, dimensions: usize) -> Result<Self, String> {
        let code: Code = cells.parsed("code")?;
        let mean = match cells.optional_blob("mean")? {
            Some(mean) => floats_from_bytes(&mean).map_err(|_| damaged("mean"))?,
            None => vec![0.0; dimensions],
        };
        let seed = cells.int("seed")?.cast_unsigned();
        let form = Form::new(code, metric, dimensions, seed, &mean)
            .map_err(|error| format!("its meta table is damaged: {error}; call rebuild_index"))?;
        let lists = match cells.optional_blob("centroids")? {
            Some(centroids) => {
                let probes = cells.int("probes")?;
                Some(Lists::new(&centroids, dimensions, metric, probes).ok_or_else(|| damaged("centroids"))?)
            }
            None => None,
        };
        Ok(Self { form, lists })
    }
}

/// The table that the index's triggers are on: by that they follow it when it is renamed.
fn base_table(connection: Connection, name: &str) -> Result<String, String> {
    let mut statement = connection.prepare(
        "SELECT count(*), max(tbl_name), min(tbl_name) FROM sqlite_master WHERE type = 'trigger' AND name IN (?1, ?2, ?3)",
    )?;
    for (place, event) in (1..).zip(["insert", "update", "delete"]) {
        statement.bind_text(place, &format!("{name}_{event}"))?;
    }
    let mut rows = statement.rows();
    let row = rows.next()?.ok_or("SQLite gave no row")?;
    let [table, other] = [1, 2].map(|column| String::from_utf8_lossy(row.text(column)).into_owned());
    if row.int(0) == 3 && table == other {
        return Ok(table);
    }
    Err("its triggers are missing, so that it may have missed changes: call rebuild_index".to_owned())
}

fn cell(row: &Row<'_>) -> Option<Cell> {
    match row.kind(1) {
        INTEGER => Some(Cell::Int(row.int(1))),
        TEXT => Some(Cell::Text(String::from_utf8_lossy(row.text(1)).into_owned())),
        BLOB => Some(Cell::Blob(row.blob(1).to_vec())),
        _ => None,
    }
}

struct Cells(HashMap<String, Cell>);

impl Cells {
    fn int(&self, key: &str) -> Result<i64, String> {
        match self.0.get(key) {
            Some(Cell::Int(value)) => Ok(*value),
            _ => Err(damaged(key)),
        }
    }

    fn optional_int(&self, key: &str) -> Result<Option<i64>, String> {
        if self.0.contains_key(key) { self.int(key).map(Some) } else { Ok(None) }
    }

    fn text(&self, key: &str) -> Result<String, String> {
        match self.0.get(key) {
            Some(Cell::Text(value)) => Ok(value.clone()),
            _ => Err(damaged(key)),
        }
    }

    fn parsed<T: FromStr>(&self, key: &str) -> Result<T, String> {
        self.text(key)?.parse().map_err(|_| damaged(key))
    }

    fn optional_blob(&mut self, key: &str) -> Result<Option<Vec<u8>>, String> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Cell::Blob(value)) => Ok(Some(value)),
            Some(_) => Err(damaged(key)),
        }
    }
}

fn damaged(key: &str) -> String {
    format!("its meta row {key:?} is missing or damaged: call rebuild_index")
}
