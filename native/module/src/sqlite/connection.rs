//! What a SQL function asks of the connection that it runs on.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use super::api::{Api, DONE, Database, OK, ROW, RawStatement};

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

    pub(super) fn prepare(self, sql: &'static CStr) -> Result<Statement, String> {
        let mut raw = ptr::null_mut();
        // SAFETY: the connection is open, the text ends with NUL, the results may be written or not wanted.
        let status =
            unsafe { self.api.raw_prepare(self.raw, sql.as_ptr(), -1, &raw mut raw, ptr::null_mut()) };
        let statement = Statement { api: self.api, raw };
        if status == OK && !raw.is_null() {
            return Ok(statement);
        }
        Err(format!("SQLite error {status} in {}", sql.to_string_lossy()))
    }

    /// The first column of the first row as text.
    pub(super) fn text(self, sql: &'static CStr) -> Result<String, String> {
        let statement = self.prepare(sql)?;
        // SAFETY: the statement is live, and its connection open.
        match unsafe { self.api.raw_step(statement.raw) } {
            ROW => {
                // SAFETY: there is a current row with at least one column.
                let start = unsafe { self.api.raw_column_text(statement.raw, 0) };
                if start.is_null() {
                    return Ok(String::new());
                }
                // SAFETY: SQLite ends the text with NUL and keeps it until the next step.
                Ok(unsafe { CStr::from_ptr(start.cast::<c_char>()) }.to_string_lossy().into_owned())
            }
            DONE => Ok(String::new()),
            status => Err(format!("SQLite error {status} in {}", sql.to_string_lossy())),
        }
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
    api: Api,
    raw: *mut RawStatement,
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: made by `prepare` and finalized here only; null is harmless.
        unsafe { self.api.raw_finalize(self.raw) };
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
