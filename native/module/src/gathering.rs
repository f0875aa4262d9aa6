//! Gatherings: memory of Python's into which `SQLite` copies the elements of blocks (`kv_gather`), without an object
//! for each block in between.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::tokens::{Tokens, lock};

/// Elements of one size that are being gathered.
pub(crate) struct Gathering {
    pub(crate) token: i64,
    item_size: usize,
    /// The indices of the elements that the memory has room for.
    wanted: Range<i64>,
    /// None when the memory is not ours any more.
    memory: Mutex<Option<Memory>>,
}

/// Memory that somebody keeps for us.
struct Memory {
    start: *mut u8,
    size: usize,
    /// The indices of the elements that were copied, of each block.
    copied: Vec<Range<i64>>,
}

// SAFETY: memory may be written to from any thread; the mutex around it makes that one at a time.
unsafe impl Send for Memory {}

static GATHERINGS: Tokens<Gathering> = Tokens::new();

impl Gathering {
    /// `None`: the last index is none.
    ///
    /// # Safety
    /// `size` bytes at `memory` may be written to until [`Gathering::close`] has returned.
    pub(crate) unsafe fn new(
        memory: *mut u8,
        size: usize,
        item_size: usize,
        start: i64,
    ) -> Option<Arc<Self>> {
        let room = i64::try_from(size.checked_div(item_size)?).ok()?;
        let wanted = start..start.checked_add(room)?;
        let memory = Mutex::new(Some(Memory { start: memory, size, copied: Vec::new() }));
        Some(GATHERINGS.register(|token| Self { token, item_size, wanted, memory }))
    }

    /// The gathering of a token, as long as there is one.
    pub(crate) fn find(token: i64) -> Option<Arc<Self>> {
        GATHERINGS.find(token)
    }

    /// Copies those elements of a block that are wanted, and returns how many. `start` is the index of its first.
    pub(crate) fn add(&self, start: i64, count: i64, block: &[u8]) -> Result<i64, String> {
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(self.item_size));
        if size != Some(block.len()) {
            return Err(format!(
                "corrupt block: {} bytes; expected {count} elements of {} bytes",
                block.len(),
                self.item_size
            ));
        }
        let Some(end) = start.checked_add(count).filter(|_| start >= 0) else {
            return Err(format!("corrupt block: it has {count} elements from number {start} on"));
        };
        let (first, last) = (start.max(self.wanted.start), end.min(self.wanted.end));
        if first >= last {
            return Ok(0);
        }
        let within =
            |from: i64| Some(bytes(first - from, self.item_size)?..bytes(last - from, self.item_size)?);
        let (Some(part), Some(place)) =
            (within(start).and_then(|at| block.get(at)), within(self.wanted.start))
        else {
            return Err("the elements lie outside of the block".to_owned());
        };
        let mut memory = lock(&self.memory);
        let Some(memory) = memory.as_mut() else {
            return Err("there is no such gathering any more".to_owned());
        };
        if place.end > memory.size || place.len() != part.len() {
            return Err("the elements lie outside of the buffer".to_owned());
        }
        // SAFETY: the place lies in the memory, which may be written to while the mutex says that it is ours; it is
        // as long as the part, and no memory of SQLite's.
        unsafe { part.as_ptr().copy_to_nonoverlapping(memory.start.add(place.start), part.len()) }
        memory.copied.push(first..last);
        Ok(last - first)
    }

    /// Whether the elements `wanted` were copied, each once, and no others.
    pub(crate) fn has_once(&self, wanted: &Range<i64>) -> bool {
        let mut memory = lock(&self.memory);
        let Some(memory) = memory.as_mut() else {
            return false;
        };
        memory.copied.sort_unstable_by_key(|part| part.start);
        let mut place = wanted.start;
        for part in &memory.copied {
            if part.start != place {
                return false;
            }
            place = part.end;
        }
        place == wanted.end
    }

    /// Gives the memory up; waits for a copy that is being made.
    pub(crate) fn close(&self) {
        *lock(&self.memory) = None;
    }
}

fn bytes(elements: i64, item_size: usize) -> Option<usize> {
    usize::try_from(elements).ok()?.checked_mul(item_size)
}

impl Drop for Gathering {
    fn drop(&mut self) {
        GATHERINGS.forget(self.token);
    }
}
