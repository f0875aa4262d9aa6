//! One interpreter per process: classes and exceptions are statics of this library, and a second interpreter
//! would share them without sharing a lock.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

const NONE: i64 = -1;

static OWNER: AtomicI64 = AtomicI64::new(NONE);

/// Makes the running interpreter the library's own, or refuses to be imported if another one was first.
pub(crate) fn claim(_: Python<'_>) -> PyResult<()> {
    // SAFETY: the interpreter is held, as the token shows.
    let running = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match OWNER.compare_exchange(NONE, running, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(owner) if owner == running => Ok(()),
        Err(_) => Err(PyImportError::new_err(
            "kohakuvault is in use in another interpreter of this process; sub-interpreters are not supported",
        )),
    }
}
