//! `kv_idset(id)`: an aggregate, the ids of a condition as one blob, for `kv_knn` to search among.

use std::ptr;

use kohakuvault_core::id_set::to_bytes;

use super::api::{Context, INTEGER, NULL};
use super::callback::{Aggregate, Arguments, SqlResult};

pub(super) struct IdSet;

impl Aggregate for IdSet {
    fn step(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [id] = arguments.get()?;
        // SAFETY: null or SQLite's zeroed, aligned memory for one pointer, which only this aggregate uses.
        let group = unsafe { context.group::<Vec<i64>>().as_mut() }.ok_or("kv_idset: out of memory")?;
        if group.is_null() {
            *group = Box::into_raw(Box::default());
        }
        // SAFETY: set above or by an earlier row, freed by `finish` only; one call at a time uses the group.
        let ids = unsafe { &mut **group };
        match id.kind() {
            INTEGER => {
                ids.try_reserve(1).map_err(|_| "kv_idset: out of memory")?;
                ids.push(id.integer());
                Ok(())
            }
            NULL => Ok(()),
            _ => Err(format!("kv_idset: {} given; expected INTEGER ids", id.kind_name())),
        }
    }

    fn finish(context: Context) -> SqlResult {
        // SAFETY: as in `step`. Called once per group, after errors too.
        let group = unsafe { context.finished_group::<Vec<i64>>().as_mut() };
        let ids = match group.map(|group| std::mem::replace(group, ptr::null_mut())) {
            // SAFETY: made by `Box::into_raw` in `step`, and no longer reachable from the group.
            Some(ids) if !ids.is_null() => *unsafe { Box::from_raw(ids) },
            _ => Vec::new(),
        };
        context.result_blob(&to_bytes(ids));
        Ok(())
    }
}
