//! `Watch`: marks of the state of an `SQLite` database, which every commit by any process makes void.
//!
//! `crate::sqlite::wal_index` says why comparing a header is enough. Caches have [`Marks`] of their own, so that the
//! look at the header and what is kept under it need one mutex only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::sqlite::wal_index::{self, Header, WalIndex};

/// Numbers the states of a database, as they are seen.
#[derive(Default)]
pub(crate) struct Marks {
    index: Option<Arc<WalIndex>>,
    /// As it was at the last look.
    header: Header,
    /// How many headers have been seen.
    mark: u64,
}

impl Marks {
    /// Looks at the database: whether it has changed since the last look; None if there is no connection.
    #[inline]
    pub(crate) fn look(&mut self) -> Option<bool> {
        let header = self.index.as_ref().and_then(|index| index.header())?;
        let changed = header != self.header;
        if changed {
            self.header = header;
            self.mark += 1;
        }
        Some(changed)
    }

    /// The mark of the state at the last look.
    #[inline]
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    /// Takes the connection, which is let go when all that have it are dropped.
    pub(crate) fn take(&mut self) -> Option<Arc<WalIndex>> {
        self.index.take()
    }
}

/// Says whether anything has been committed to a database since a mark.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct Watch {
    token: u64,
    forks: u32,
    marks: Mutex<Marks>,
}

#[pymethods]
impl Watch {
    #[new]
    fn new() -> Self {
        Self { token: wal_index::wait(), forks: wal_index::forks(), marks: Mutex::default() }
    }

    /// What to call the SQL function `kv_wal_index` with.
    #[getter]
    fn token(&self) -> u64 {
        self.token
    }

    /// Takes what `kv_wal_index` has found; whether it has found anything. From then on there are marks.
    fn attach(&self, py: Python<'_>) -> bool {
        let found = wal_index::take(self.token);
        self.lock(py).is_some_and(|mut marks| {
            if found.is_some() {
                marks.index = found.map(Arc::new);
            }
            marks.index.is_some()
        })
    }

    /// A mark to be made before the database is read; 0 if there is no connection.
    fn mark(&self, py: Python<'_>) -> u64 {
        self.lock(py).map_or(0, |mut marks| if marks.look().is_some() { marks.mark() } else { 0 })
    }

    /// Lets the connection go. There are no marks any more. Closing twice is harmless.
    fn close(&self, py: Python<'_>) {
        let waiting = wal_index::take(self.token);
        let index = self.lock(py).and_then(|mut marks| marks.take());
        // The last connection of a database writes the WAL into it when it closes.
        py.detach(move || drop((waiting, index)));
    }
}

impl Watch {
    /// Marks of the same database, for one cache.
    pub(crate) fn marks(&self, py: Python<'_>) -> Marks {
        let index = self.lock(py).and_then(|marks| marks.index.clone());
        Marks { index, ..Marks::default() }
    }

    /// None in a forked child, where another thread may have held the lock.
    fn lock(&self, py: Python<'_>) -> Option<MutexGuard<'_, Marks>> {
        let mine = self.forks == wal_index::forks();
        mine.then(|| self.marks.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(wal_index::take(self.token));
    }
}

/// Has every forked child leave alone what belongs to its parent, before anything else runs there.
pub(crate) fn watch_forks(py: Python<'_>) -> PyResult<()> {
    let os = py.import("os")?;
    if let Some(register) = os.getattr_opt("register_at_fork")? {
        let arguments = pyo3::types::PyDict::new(py);
        arguments.set_item("after_in_child", pyo3::wrap_pyfunction!(forked, py)?)?;
        register.call((), Some(&arguments))?;
    }
    Ok(())
}

#[pyfunction]
fn forked() {
    wal_index::forked();
}
