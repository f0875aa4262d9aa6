//! `kv_wal_index(token)`: keeps its connection, and with it the mapping of `SQLite`'s WAL index, for a read cache.
//!
//! The first 48 bytes of the WAL index (the `-shm` file, <https://sqlite.org/walformat.html>) say which commit is
//! the newest. They change with every commit by any process, so that what was read while they stood as they stand
//! now is what would be read now.
//!
//! # Whose mapping
//! The file must not be opened here: closing it again would drop the locks that `SQLite` holds on it in this process
//! (POSIX), and other processes would write into the middle of a transaction. So the connection is asked for the
//! mapping that it has already. That is valid for as long as the connection is open and in WAL mode. Both are
//! ensured by a statement that is prepared on it and never run: Python closes the connection right after the
//! call, so nobody can run anything on it any more, but `SQLite` keeps it until the statement is finalized, which
//! happens when the [`WalIndex`] is dropped. Being open, it holds a shared lock on the database by which no
//! other connection can leave WAL mode, and by which the `-shm` file is neither deleted nor made anew.
//!
//! # Why equal headers mean equal contents
//! A commit writes its frames into the WAL, then the header's second copy, a barrier, and the first copy, which is
//! the one that is compared here (`walIndexWriteHdr`); only then does COMMIT return.
//! - *A commit that returned* before the look at the header has changed it: counter (`iChange`), number of frames,
//!   and the cumulative checksum of all frames. The same 48 bytes never come back for other contents: the checksum
//!   goes over the frames and the WAL's salts, which a reset makes anew.
//! - *A commit that is being written* while the header is looked at may or may not be seen: it has not returned,
//!   and no reader of `SQLite` sees it before both copies are there. A mixture of old and new equals neither, so it
//!   counts as changed, and what was read under it is dropped at the next look.
//! - *Checkpoints* move frames into the database and change neither contents nor header. A reset of the WAL after
//!   one changes the header (salt, no frames): what is cached is dropped without need.
//! - *A rollback* writes no header: a transaction's frames become visible only by its commit.
//! - *A process that dies* in a commit leaves both copies as they were, in which case its frames are ignored and
//!   overwritten, or two different copies: then the next connection recovers the WAL index from the WAL before it
//!   reads, which changes the header.
//!
//! What must hold for this is checked: WAL mode, no exclusive locking (the index would be private memory), shared
//! memory of a format that is known, and no shared cache, in which reads may join an older transaction.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::api::{Context, INTEGER};
use super::callback::{Arguments, Scalar, SqlResult};
use super::connection::{Connection, File, Statement};

/// The words of a header's copy.
pub(crate) type Header = [u32; 12];

/// The only format that there is (`WALINDEX_MAX_VERSION`), since `SQLite` 3.7.
const VERSION: u32 = 3_007_000;

/// The WAL index of an open database.
pub(crate) struct WalIndex {
    header: NonNull<[AtomicU32; 12]>,
    /// Keeps the connection open, and so the header mapped.
    connection: ManuallyDrop<Statement>,
    /// To be compared only.
    file: *const File,
    process: u32,
}

// SAFETY: the header is shared memory that is made for several threads; the statement is of a connection that
// nobody else uses, and whose library takes care of its own state.
unsafe impl Send for WalIndex {}

// SAFETY: what is shared is only looked at by `header`, which reads atomics.
unsafe impl Sync for WalIndex {}

impl WalIndex {
    /// Keeps the connection; otherwise says why what is read by it cannot be cached.
    fn of(connection: Connection) -> Result<Result<Self, String>, String> {
        // Reading maps the shared memory, and notices if another connection has changed the mode.
        connection.text("PRAGMA main.schema_version")?;
        let mode = connection.text("PRAGMA main.journal_mode")?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Ok(Err(format!("its journal_mode is {mode}, not wal")));
        }
        let locking = connection.text("PRAGMA main.locking_mode")?;
        if !locking.eq_ignore_ascii_case("normal") {
            return Ok(Err(format!("its locking_mode is {locking}, not normal")));
        }
        let file = connection.file();
        // SAFETY: the file is that of the connection that runs this function; its mode was seen above.
        let start = unsafe { File::shared_memory(file) };
        let Some(header) = NonNull::new(start.cast::<[AtomicU32; 12]>()).filter(|header| header.is_aligned())
        else {
            return Ok(Err("its WAL has no shared memory that this process may write".to_owned()));
        };
        let connection = ManuallyDrop::new(connection.prepare("SELECT 1")?);
        let index = Self { header, connection, file, process: std::process::id() };
        match index.header() {
            Some(_) => Ok(Ok(index)),
            None => Ok(Err("its WAL index has a format that is not known".to_owned())),
        }
    }

    /// The header's first copy; None if there is none (yet).
    ///
    /// The words are read one by one while another process may write them: see above why that does no harm.
    #[inline]
    pub(crate) fn header(&self) -> Option<Header> {
        // SAFETY: the statement keeps the connection open, and that keeps 32 KiB mapped here. Other processes
        // write it, hence the atomics, which any bit pattern is valid for.
        let header = unsafe { self.header.as_ref() };
        // Acquire: what is read from the database afterwards is not older than the header.
        let words = header.each_ref().map(|word| word.load(Ordering::Acquire));
        (words.first() == Some(&VERSION)).then_some(words)
    }
}

impl Drop for WalIndex {
    fn drop(&mut self) {
        // The connection of a forked child's parent must not be touched.
        if self.process == std::process::id() {
            // SAFETY: dropped here only.
            unsafe { ManuallyDrop::drop(&mut self.connection) };
        }
    }
}

// -- from the SQL function to Python's class ---------------------------------------------------------------

/// Who waits for a WAL index, by token; None until it has been found.
type Desks = HashMap<u64, Option<WalIndex>>;

/// Made anew in a forked child, where another thread's lock would stay locked for ever.
static DESKS: AtomicPtr<Mutex<Desks>> = AtomicPtr::new(ptr::null_mut());

static TOKENS: AtomicU64 = AtomicU64::new(1);

static FORKS: AtomicU32 = AtomicU32::new(0);

fn desks() -> MutexGuard<'static, Desks> {
    let mut desks = DESKS.load(Ordering::Acquire);
    if desks.is_null() {
        let new = Box::into_raw(Box::<Mutex<Desks>>::default());
        desks = match DESKS.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(earlier) => {
                // SAFETY: made above and seen by nobody else.
                drop(unsafe { Box::from_raw(new) });
                earlier
            }
        };
    }
    // SAFETY: what was stored comes from a Box and is never freed.
    unsafe { &*desks }.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token under which [`take`] will find what `kv_wal_index` is called with it for.
pub(crate) fn wait() -> u64 {
    let token = TOKENS.fetch_add(1, Ordering::Relaxed);
    desks().insert(token, None);
    token
}

/// What has been found; the token cannot be used any more.
pub(crate) fn take(token: u64) -> Option<WalIndex> {
    // Apart: whatever is dropped must not be dropped under the lock.
    let found = desks().remove(&token);
    found.flatten()
}

/// How often this process is the child of a fork.
#[inline]
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// To be called in a forked child, first of all: what belongs to the parent is left alone from now on.
pub(crate) fn forked() {
    DESKS.store(ptr::null_mut(), Ordering::Release);
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// `kv_wal_index(token)`: NULL, or why nothing can be cached that is read from this database.
///
/// The first call with a token keeps its connection, which must be closed next. A second one makes sure that
/// another connection of the same engine is apart from it.
pub(super) struct Find;

impl Scalar for Find {
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [given] = arguments.get()?;
        let token = match given.kind() {
            INTEGER => u64::try_from(given.integer()).unwrap_or(0),
            _ => 0,
        };
        let unknown = || "kv_wal_index: the token is not that of a read cache that waits for it".to_owned();
        let connection = context.connection();
        let kept = match desks().get(&token) {
            None => return Err(unknown()),
            Some(kept) => kept.as_ref().map(|index| index.file),
        };
        if let Some(file) = kept {
            if ptr::eq(file, connection.file()) {
                context.result_text("its connections share one cache");
            } else {
                context.result_null();
            }
            return Ok(());
        }
        match WalIndex::of(connection).map_err(|error| format!("kv_wal_index: {error}"))? {
            Err(reason) => context.result_text(&reason),
            Ok(index) => {
                let surplus = match desks().get_mut(&token) {
                    Some(desk) => desk.replace(index),
                    None => Some(index),
                };
                // Not under the lock: finalizing may close a connection.
                drop(surplus);
                context.result_null();
            }
        }
        Ok(())
    }
}
