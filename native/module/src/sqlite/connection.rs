//! What a SQL function asks of the connection that it runs on.

use std::ffi::{CStr, c_int, c_void};
use std::{ptr, slice};

use super::api::{Api, DONE, Database, OK, ROW, RawStatement, TRANSIENT};

/// `SQLITE_FCNTL_FILE_POINTER`
const FILE_POINTER: c_int = 7;

/// The connection of a running SQL function.
#[derive(Clone, Copy)]
pub(super) struct Connection {
    api: Api,
    raw: *mut Database,
}

impl Connection {
    /// # Safety
    /// `raw` is an open connection of the library of `api`, for as long as the new value is used.
    pub(super) unsafe fn new(api: Api, raw: *mut Database) -> Self {
        Self { api, raw }
    }

    /// Of the `SQLite` library: 3.40.1 is 3040001.
    pub(super) fn version(self) -> c_int {
        self.api.libversion_number()
    }

    /// Compiles one statement.
    pub(super) fn prepare(self, sql: &str) -> Result<Statement, String> {
        let mut raw = ptr::null_mut();
        let bytes = c_int::try_from(sql.len()).map_err(|_| "the statement is too long".to_owned())?;
        // SAFETY: the connection is open, the text has so many bytes, the results may be written or not wanted.
        let status = unsafe {
            self.api.raw_prepare(self.raw, sql.as_ptr().cast(), bytes, &raw mut raw, ptr::null_mut())
        };
        let statement = Statement { connection: self, raw };
        if status == OK && !raw.is_null() { Ok(statement) } else { Err(self.message()) }
    }

    /// What `SQLite` says about the last call, which failed.
    fn message(self) -> String {
        // SAFETY: the connection is open.
        let message = unsafe { self.api.raw_errmsg(self.raw) };
        if message.is_null() {
            return "unknown error".to_owned();
        }
        // SAFETY: ends with NUL and stays until the next call.
        unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
    }

    /// The first column of the first row as text.
    pub(super) fn text(self, sql: &str) -> Result<String, String> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.rows();
        Ok(rows.next()?.map(|row| String::from_utf8_lossy(row.text(0)).into_owned()).unwrap_or_default())
    }

    /// The file of the main database; null where there is none.
    pub(super) fn file(self) -> *mut File {
        let mut file: *mut File = ptr::null_mut();
        // SAFETY: the connection is open; this operation writes one pointer.
        let status = unsafe {
            self.api.raw_file_control(
                self.raw,
                c"main".as_ptr(),
                FILE_POINTER,
                (&raw mut file).cast::<c_void>(),
            )
        };
        if status == OK { file } else { ptr::null_mut() }
    }
}

/// A prepared statement. As long as it lives its connection does: `sqlite3_close_v2`, by which Python's drivers
/// close, only takes effect when the last statement is finalized.
pub(super) struct Statement {
    connection: Connection,
    raw: *mut RawStatement,
}

impl Statement {
    /// Binds a number to parameter `place`, from 1.
    pub(super) fn bind_int(&mut self, place: c_int, value: i64) -> Result<(), String> {
        // SAFETY: the statement is live; SQLite checks the place.
        self.check(unsafe { self.connection.api.raw_bind_int64(self.raw, place, value) })
    }

    pub(super) fn bind_text(&mut self, place: c_int, value: &str) -> Result<(), String> {
        let bytes = c_int::try_from(value.len()).map_err(|_| "the text is too long".to_owned())?;
        // SAFETY: as in `bind_int`; the text is copied.
        self.check(unsafe {
            self.connection.api.raw_bind_text(self.raw, place, value.as_ptr(), bytes, TRANSIENT)
        })
    }

    pub(super) fn bind_blob(&mut self, place: c_int, value: &[u8]) -> Result<(), String> {
        let bytes = c_int::try_from(value.len()).map_err(|_| "the blob is too long".to_owned())?;
        // SAFETY: as in `bind_int`; the blob is copied.
        self.check(unsafe {
            self.connection.api.raw_bind_blob(self.raw, place, value.as_ptr(), bytes, TRANSIENT)
        })
    }

    /// Runs it, with what is bound. When the rows are dropped it may run again.
    pub(super) fn rows(&mut self) -> Rows<'_> {
        Rows { statement: self }
    }

    fn check(&self, status: c_int) -> Result<(), String> {
        if status == OK { Ok(()) } else { Err(self.connection.message()) }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: made by `prepare` and finalized here only; null is harmless.
        unsafe { self.connection.api.raw_finalize(self.raw) };
    }
}

/// The rows of a statement that is running.
pub(super) struct Rows<'statement> {
    statement: &'statement mut Statement,
}

impl Rows<'_> {
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, String> {
        // SAFETY: the statement is live, and its connection open.
        match unsafe { self.statement.connection.api.raw_step(self.statement.raw) } {
            ROW => Ok(Some(Row { statement: self.statement })),
            DONE => Ok(None),
            _ => Err(self.statement.connection.message()),
        }
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement is live. A reset statement holds no lock, nor keeps a transaction open.
        unsafe { self.statement.connection.api.raw_reset(self.statement.raw) };
    }
}

/// The current row. What is read of it is valid until the next.
pub(super) struct Row<'rows> {
    statement: &'rows Statement,
}

impl<'rows> Row<'rows> {
    /// One of the storage classes of `api`.
    pub(super) fn kind(&self, column: c_int) -> c_int {
        // SAFETY: there is a current row; SQLite checks the column.
        unsafe { self.statement.connection.api.raw_column_type(self.statement.raw, column) }
    }

    pub(super) fn int(&self, column: c_int) -> i64 {
        // SAFETY: as in `kind`.
        unsafe { self.statement.connection.api.raw_column_int64(self.statement.raw, column) }
    }

    /// The bytes of a BLOB; of another class those that `SQLite` makes of it.
    #[inline]
    pub(super) fn blob(&self, column: c_int) -> &'rows [u8] {
        // SAFETY: as in `kind`.
        let start = unsafe { self.statement.connection.api.raw_column_blob(self.statement.raw, column) };
        self.bytes(column, start)
    }

    /// The bytes of a TEXT, as UTF-8; `SQLite` does not check that they are.
    pub(super) fn text(&self, column: c_int) -> &'rows [u8] {
        // SAFETY: as in `kind`.
        let start = unsafe { self.statement.connection.api.raw_column_text(self.statement.raw, column) };
        self.bytes(column, start)
    }

    #[inline]
    fn bytes(&self, column: c_int, start: *const u8) -> &'rows [u8] {
        // SAFETY: as in `kind`; the size is asked for after the pointer, as SQLite demands.
        let length = unsafe { self.statement.connection.api.raw_column_bytes(self.statement.raw, column) };
        match usize::try_from(length) {
            // SAFETY: SQLite keeps this many bytes at `start` until the next step or reset, for which the statement
            // has to be borrowed anew, or until the column is converted, which is not done to one that was read.
            Ok(length) if !start.is_null() => unsafe { slice::from_raw_parts(start, length) },
            _ => &[],
        }
    }
}

/// `sqlite3_file`
#[repr(C)]
pub(super) struct File {
    methods: *const Methods,
}

/// `sqlite3_io_methods`, up to what we call.
#[repr(C)]
struct Methods {
    version: c_int,
    /// `xClose` … `xDeviceCharacteristics`
    first_version: [*const c_void; 12],
    /// From version 2 on.
    shm_map: Option<ShmMap>,
}

type ShmMap = unsafe extern "C" fn(*mut File, c_int, c_int, c_int, *mut *mut c_void) -> c_int;

impl File {
    /// The start of the first 32 KiB of the shared memory (the WAL index) of an open file; null where there is none,
    /// and where it cannot be written, because then it may be a private copy.
    ///
    /// # Safety
    /// `file` is null or the file of a connection that is open and used by this thread only. The connection is in
    /// WAL mode and has read, so that its shared memory is mapped already.
    pub(super) unsafe fn shared_memory(file: *mut Self) -> *mut c_void {
        /// `WALINDEX_PGSZ`
        const REGION: c_int = 32768;
        if file.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: not null, hence a file; its methods are null while it is not open.
        let methods = unsafe { (*file).methods };
        // SAFETY: every version of the methods begins with their version.
        if methods.is_null() || unsafe { (*methods).version } < 2 {
            return ptr::null_mut();
        }
        // SAFETY: version 2 has this member.
        let Some(shm_map) = (unsafe { (*methods).shm_map }) else { return ptr::null_mut() };
        let mut start = ptr::null_mut();
        // SAFETY: the file is open and its connection is ours; 0 asks for nothing to be extended.
        let status = unsafe { shm_map(file, 0, REGION, 0, &raw mut start) };
        if status == OK { start } else { ptr::null_mut() }
    }
}
