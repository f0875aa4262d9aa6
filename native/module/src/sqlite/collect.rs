//! `kv_collect(token, key)`, `kv_collect(token, key, value)`: gives a row to a scan of this process (`crate::scan`).
//!
//! 1 if the page is full, 0 otherwise. As a condition of a query it lets only the rows through with which a page is
//! full, so that whoever steps the query gets one row for a whole page.

use std::sync::Arc;

use kohakuvault_core::page::Cell;

use super::api::{BLOB, Context, FLOAT, INTEGER, TEXT, Value};
use super::callback::{Arguments, Scalar, SqlResult};
use crate::scan::Scan;

pub(super) struct CollectKey;
pub(super) struct CollectPair;

impl Scalar for CollectKey {
    #[inline]
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [token, key] = arguments.get()?;
        collect(context, token, cell(key), Cell::Null)
    }
}

impl Scalar for CollectPair {
    #[inline]
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [token, key, value] = arguments.get()?;
        collect(context, token, cell(key), cell(value))
    }
}

#[inline]
fn collect(context: Context, token: Value<'_>, key: Cell<'_>, value: Cell<'_>) -> SqlResult {
    let number = token.integer();
    // SAFETY: both functions remember this type only.
    let known = unsafe { context.remembered::<Arc<Scan>>(0) };
    let full = match known {
        Some(scan) if scan.token == number => scan.add(key, value),
        _ => {
            let scan = find(token)?;
            let full = scan.add(key, value);
            context.remember(0, scan);
            full
        }
    };
    context.result_int(full.map_err(|problem| format!("kv_collect: {problem}"))?.into());
    Ok(())
}

#[cold]
fn find(token: Value<'_>) -> Result<Arc<Scan>, String> {
    if token.kind() != INTEGER {
        return Err(format!("kv_collect: token: expected an INTEGER; {} given", token.kind_name()));
    }
    Scan::find(token.integer())
        .ok_or_else(|| "kv_collect: token: there is no such scan in this process".to_owned())
}

#[inline]
fn cell(value: Value<'_>) -> Cell<'_> {
    match value.kind() {
        BLOB => Cell::Blob(value.blob()),
        TEXT => Cell::Text(value.utf8()),
        INTEGER => Cell::Int(value.integer()),
        FLOAT => Cell::Float(value.float()),
        _ => Cell::Null,
    }
}
