//! Which `SQLite` library is calling.
//!
//! One process may hold several `SQLite` libraries (the stdlib's and `pysqlite3`'s, say), all of which load
//! this one file. An extension that keeps *the* API table in a static calls one library with the objects of
//! another and crashes. Here each library's table gets a slot, and callbacks are compiled once per slot, so
//! that a callback knows its library without being told.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::api::{Api, Routines};

/// More libraries than anyone has in one process.
pub(super) const SLOTS: usize = 8;

static TABLES: [AtomicPtr<Routines>; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];

/// The slot of a library, the same every time. `None`: all are taken by others.
pub(super) fn intern(routines: *const Routines) -> Option<usize> {
    let routines = routines.cast_mut();
    TABLES.iter().position(|slot| {
        match slot.compare_exchange(ptr::null_mut(), routines, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(taken) => taken == routines,
        }
    })
}

/// The table in a slot.
///
/// # Safety
/// [`intern`] has returned this slot for a valid table.
#[inline]
#[allow(clippy::indexing_slicing, reason = "checked at compile time, as SLOT is constant")]
pub(super) unsafe fn api<const SLOT: usize>() -> Api {
    const { assert!(SLOT < SLOTS) }
    // SAFETY: by the contract above; tables are statics of their library and never unloaded while in use.
    unsafe { Api::new(TABLES[SLOT].load(Ordering::Acquire)) }
}
