//! Scans: what `SQLite` collects (`kv_collect`) and Python takes, page by page, without a driver in between.

use std::sync::{Arc, Mutex};

use kohakuvault_core::page::{Cell, Page};

use crate::tokens::{Tokens, lock};

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

static SCANS: Tokens<Scan> = Tokens::new();

impl Scan {
    /// A page is full when it has `rows` rows or `size` bytes. `rows` is of the first page, and grows to `most`.
    pub(crate) fn new(rows: usize, most: usize, size: usize) -> Arc<Self> {
        let filling = Mutex::new(Filling { page: Page::default(), rows, size, most });
        SCANS.register(|token| Self { token, filling })
    }

    /// The scan of a token, as long as there is one.
    pub(crate) fn find(token: i64) -> Option<Arc<Self>> {
        SCANS.find(token)
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
        SCANS.forget(self.token);
    }
}
