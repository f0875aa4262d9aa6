//! `kv_rows(rows)`: the table of the rows in a buffer (`kohakuvault_core::rows`), so that one statement writes or
//! looks up any number of them.
//!
//! Columns: `position` INTEGER from 0, `key`, `value`, and the hidden `rows`, the buffer. `value` is NULL where
//! the buffer has keys only.

use std::ffi::{CStr, c_int};

use kohakuvault_core::rows::{KeyAt, Malformed, Row, Rows};

use super::api::{BLOB, Context, NULL, Value};
use super::connection::Connection;
use super::table_function::TableFunction;

pub(super) struct KvRows {
    // A copy: the argument is SQLite's only until `xFilter` returns.
    rows: Rows<Vec<u8>>,
    row: Option<Row>,
    position: i64,
}

impl TableFunction for KvRows {
    const DECLARATION: &'static CStr =
        c"CREATE TABLE kv_rows (position INTEGER, \"key\", value, \"rows\" HIDDEN)";
    const NAME: &'static str = "kv_rows";
    const ARGUMENTS: (c_int, usize, usize) = (3, 1, 1);
    const ORDERED_BY: Option<c_int> = Some(0);
    type Memory = ();

    fn call((): &(), _: Connection, arguments: &[Option<Value<'_>>]) -> Result<Option<Self>, String> {
        let [Some(argument)] = arguments else { return Ok(None) };
        let buffer = match argument.kind() {
            BLOB => argument.blob(),
            NULL => return Ok(None),
            _ => {
                return Err(format!(
                    "kv_rows: {} given; expected a BLOB that pack_rows or pack_keys made",
                    argument.kind_name()
                ));
            }
        };
        let mut copy = Vec::new();
        copy.try_reserve_exact(buffer.len()).map_err(|_| "kv_rows: out of memory")?;
        copy.extend_from_slice(buffer);
        let mut rows = Rows::new(copy).map_err(|error| explain(&error))?;
        let row = rows.read().map_err(|error| explain(&error))?;
        Ok(Some(Self { rows, row, position: 0 }))
    }

    fn advance(&mut self) -> Result<(), String> {
        self.position += 1;
        self.row = self.rows.read().map_err(|error| explain(&error))?;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.row.is_none()
    }

    fn rowid(&self) -> i64 {
        self.position
    }

    // Results are copied: aggregates and registers may keep them beyond the next row, and even beyond the cursor.
    fn column(&self, column: c_int, context: Context) {
        let Some(row) = &self.row else { return context.result_null() };
        match column {
            0 => context.result_int(self.position),
            1 => match &row.key {
                KeyAt::Int(number) => context.result_int(*number),
                KeyAt::Text(place) => context.result_utf8(self.rows.bytes(place)),
                KeyAt::Blob(place) => context.result_blob(self.rows.bytes(place)),
            },
            2 => match &row.value {
                Some(place) => context.result_blob(self.rows.bytes(place)),
                None => context.result_null(),
            },
            _ => context.result_blob(self.rows.buffer()),
        }
    }
}

#[cold]
fn explain(error: &Malformed) -> String {
    format!("kv_rows: {error}")
}
