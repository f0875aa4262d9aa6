//! Scans: what `SQLite` collects (`kv_collect`) and Python takes, page by page, without a driver in between.
//!
//! Both sides are in one process, and in one copy of this library. `SQLite` names the scan by a token, because
//! SQL has no pointers that could be trusted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use kohakuvault_core::page::{Cell, Page};

/// A scan that Python reads.
pub(crate) struct Scan {
    pub(crate) token: i64,
    filling: Mutex<Filling>,
}

struct Filling {
    page: Page,
    /// When a page is full: rows, and bytes.
    rows: usize,
    size: usize,
    /// What `rows` grows to.
    most: usize,
}

static SCANS: LazyLock<Mutex<HashMap<i64, Weak<Scan>>>> = LazyLock::new(Mutex::default);

/// Every change of what these mutexes guard is complete, also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scan {
    /// A page is full when it has `rows` rows or `size` bytes. `rows` is of the first page, and grows to `most`.
    pub(crate) fn new(rows: usize, most: usize, size: usize) -> Arc<Self> {
        let filling = Mutex::new(Filling { page: Page::default(), rows, size, most });
        let mut scans = lock(&SCANS);
        loop {
            // Keys of the hasher are random: nobody guesses the token of another.
            let token = RandomState::new().build_hasher().finish().cast_signed();
            if let Entry::Vacant(place) = scans.entry(token) {
                let scan = Arc::new(Self { token, filling });
                place.insert(Arc::downgrade(&scan));
                return scan;
            }
        }
    }

    /// The scan of a token, as long as there is one.
    pub(crate) fn find(token: i64) -> Option<Arc<Self>> {
        lock(&SCANS).get(&token).and_then(Weak::upgrade)
    }

    /// Adds a row. Returns whether the page is full: it has to be taken before the next row.
    #[inline]
    pub(crate) fn add(&self, key: Cell<'_>, value: Cell<'_>) -> Result<bool, &'static str> {
        let mut filling = lock(&self.filling);
        if filling.is_full() {
            return Err("the page before was not taken");
        }
        filling.page.push(key, value).map_err(|_| "out of memory")?;
        Ok(filling.is_full())
    }

    /// Exchanges what was collected so far for `page`, an empty one; the next page may be larger.
    pub(crate) fn take(&self, page: &mut Page) {
        let mut filling = lock(&self.filling);
        std::mem::swap(&mut filling.page, page);
        if !page.is_empty() {
            filling.rows = filling.rows.saturating_mul(4).min(filling.most);
        }
    }
}

impl Filling {
    #[inline]
    fn is_full(&self) -> bool {
        self.page.len() >= self.rows || self.page.size() >= self.size
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        lock(&SCANS).remove(&self.token);
    }
}
