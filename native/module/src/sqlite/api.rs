//! The few functions of `SQLite` that we call, found in the table that it hands to every extension.
//!
//! `sqlite3_api_routines` (`sqlite3ext.h`) is append-only, so an entry keeps its index for ever. The indices
//! below are the positions of the members in that struct, counted by this script:
//!
//! ```python
//! import re
//! text = open("/usr/include/sqlite3ext.h").read()
//! body = text[text.index("struct sqlite3_api_routines {"):].split("{", 1)[1].split("\n};")[0]
//! body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
//! members = [re.search(r"\(\*\s*(\w+)\)", part)[1] for part in body.split(";") if part.strip()]
//! print(members.index("create_function_v2"))  # 162
//! ```

use std::ffi::{c_char, c_int, c_uchar, c_void};
use std::mem::transmute_copy;
use std::ptr;
use std::slice;

use super::connection::Connection;

/// The oldest `SQLite` with `SQLITE_INNOCUOUS`. Its table is longer than every index below.
pub(super) const MIN_VERSION: c_int = 3_031_000;

pub(super) const OK: c_int = 0;
pub(super) const ERROR: c_int = 1;
pub(super) const CONSTRAINT: c_int = 19;
pub(super) const ROW: c_int = 100;
pub(super) const DONE: c_int = 101;

pub(super) const INTEGER: c_int = 1;
pub(super) const FLOAT: c_int = 2;
pub(super) const TEXT: c_int = 3;
pub(super) const BLOB: c_int = 4;
pub(super) const NULL: c_int = 5;

/// `SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS`
pub(super) const PURE: c_int = 0x01 | 0x800 | 0x20_0000;
/// `SQLITE_UTF8 | SQLITE_DIRECTONLY`: not from triggers and views, which come with the file.
pub(super) const DIRECT: c_int = 0x01 | 0x8_0000;

const UTF8: c_uchar = 1;

/// Tells `SQLite` to copy a result before it returns.
pub(super) const TRANSIENT: isize = -1;

const CREATE_MODULE: usize = 119;
const VTAB_CONFIG: usize = 177;

/// Opaque `sqlite3`.
#[repr(C)]
pub(super) struct Database([u8; 0]);
/// Opaque `sqlite3_context`.
#[repr(C)]
pub(super) struct RawContext([u8; 0]);
/// Opaque `sqlite3_value`.
#[repr(C)]
pub(super) struct RawValue([u8; 0]);
/// Opaque `sqlite3_stmt`.
#[repr(C)]
pub(super) struct RawStatement([u8; 0]);
/// Opaque `sqlite3_api_routines`.
#[repr(C)]
pub(super) struct Routines([u8; 0]);

pub(super) type Callback = unsafe extern "C" fn(*mut RawContext, c_int, *mut *mut RawValue);
pub(super) type FinalCallback = unsafe extern "C" fn(*mut RawContext);
pub(super) type Destructor = unsafe extern "C" fn(*mut c_void);

/// `sqlite3_module` of version 1.
#[repr(C)]
pub(super) struct Module {
    pub(super) version: c_int,
    pub(super) create: Option<Connect>,
    pub(super) connect: Option<Connect>,
    pub(super) best_index: Option<unsafe extern "C" fn(*mut RawTable, *mut IndexInfo) -> c_int>,
    pub(super) disconnect: Option<unsafe extern "C" fn(*mut RawTable) -> c_int>,
    pub(super) destroy: Option<unsafe extern "C" fn(*mut RawTable) -> c_int>,
    pub(super) open: Option<unsafe extern "C" fn(*mut RawTable, *mut *mut RawCursor) -> c_int>,
    pub(super) close: Option<unsafe extern "C" fn(*mut RawCursor) -> c_int>,
    pub(super) filter: Option<
        unsafe extern "C" fn(*mut RawCursor, c_int, *const c_char, c_int, *mut *mut RawValue) -> c_int,
    >,
    pub(super) next: Option<unsafe extern "C" fn(*mut RawCursor) -> c_int>,
    pub(super) eof: Option<unsafe extern "C" fn(*mut RawCursor) -> c_int>,
    pub(super) column: Option<unsafe extern "C" fn(*mut RawCursor, *mut RawContext, c_int) -> c_int>,
    pub(super) rowid: Option<unsafe extern "C" fn(*mut RawCursor, *mut i64) -> c_int>,
    /// `xUpdate` to `xRename`, none of which a read-only table has.
    pub(super) others: [Option<unsafe extern "C" fn()>; 7],
}

pub(super) type Connect = unsafe extern "C" fn(
    *mut Database,
    *mut c_void,
    c_int,
    *const *const c_char,
    *mut *mut RawTable,
    *mut *mut c_char,
) -> c_int;

/// `sqlite3_vtab`.
#[repr(C)]
pub(super) struct RawTable {
    pub(super) module: *const Module,
    pub(super) references: c_int,
    /// Why the last call failed, allocated by `SQLite`.
    pub(super) message: *mut c_char,
}

/// `sqlite3_vtab_cursor`.
#[repr(C)]
pub(super) struct RawCursor {
    pub(super) table: *mut RawTable,
}

/// `sqlite3_index_info`.
#[repr(C)]
pub(super) struct IndexInfo {
    pub(super) constraint_count: c_int,
    pub(super) constraints: *const Constraint,
    pub(super) order_count: c_int,
    pub(super) orders: *const Order,
    pub(super) usages: *mut Usage,
    pub(super) number: c_int,
    pub(super) text: *mut c_char,
    pub(super) free_text: c_int,
    pub(super) is_ordered: c_int,
    pub(super) cost: f64,
    pub(super) rows: i64,
    pub(super) flags: c_int,
    pub(super) used_columns: u64,
}

/// `sqlite3_index_constraint`.
#[repr(C)]
pub(super) struct Constraint {
    pub(super) column: c_int,
    pub(super) operator: c_uchar,
    pub(super) usable: c_uchar,
    pub(super) term_offset: c_int,
}

/// `sqlite3_index_orderby`.
#[repr(C)]
pub(super) struct Order {
    pub(super) column: c_int,
    pub(super) descending: c_uchar,
}

/// `sqlite3_index_constraint_usage`.
#[repr(C)]
pub(super) struct Usage {
    pub(super) argument: c_int,
    pub(super) omit: c_uchar,
}

/// The table of one `SQLite` library. Copying it copies a pointer.
#[derive(Clone, Copy)]
pub(super) struct Api(*const *const c_void);

/// Declares one method per routine: name, index in the table, C signature.
macro_rules! routines {
    ($($name:ident = $index:literal : fn($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        impl Api {$(
            #[inline]
            #[allow(clippy::too_many_arguments, reason = "SQLite's, not ours")]
            pub(super) unsafe fn $name(self, $($argument: $kind),*) $(-> $result)? {
                type Routine = unsafe extern "C" fn($($kind),*) $(-> $result)?;
                // SAFETY: the table is longer than `$index` in every version we accept, and the entry has this
                // signature by `sqlite3ext.h`; a data and a function pointer have the same size.
                let routine = unsafe { transmute_copy::<*const c_void, Routine>(&*self.0.add($index)) };
                // SAFETY: the caller passes arguments that the routine accepts.
                unsafe { routine($($argument),*) }
            }
        )*}
    };
}

routines! {
    raw_aggregate_context = 0: fn(context: *mut RawContext, bytes: c_int) -> *mut c_void;
    raw_bind_blob = 2: fn(
        statement: *mut RawStatement, place: c_int, blob: *const u8, bytes: c_int, free: isize
    ) -> c_int;
    raw_bind_int64 = 5: fn(statement: *mut RawStatement, place: c_int, value: i64) -> c_int;
    raw_bind_text = 10: fn(
        statement: *mut RawStatement, place: c_int, text: *const u8, bytes: c_int, free: isize
    ) -> c_int;
    raw_column_blob = 19: fn(statement: *mut RawStatement, column: c_int) -> *const u8;
    raw_column_bytes = 20: fn(statement: *mut RawStatement, column: c_int) -> c_int;
    raw_column_int64 = 29: fn(statement: *mut RawStatement, column: c_int) -> i64;
    raw_column_type = 38: fn(statement: *mut RawStatement, column: c_int) -> c_int;
    raw_errmsg = 53: fn(database: *mut Database) -> *const c_char;
    raw_reset = 77: fn(statement: *mut RawStatement) -> c_int;
    raw_declare_vtab = 50: fn(database: *mut Database, sql: *const c_char) -> c_int;
    raw_free = 58: fn(memory: *mut c_void);
    raw_column_text = 36: fn(statement: *mut RawStatement, column: c_int) -> *const u8;
    raw_finalize = 57: fn(statement: *mut RawStatement) -> c_int;
    raw_get_auxdata = 61: fn(context: *mut RawContext, argument: c_int) -> *mut c_void;
    raw_libversion_number = 67: fn() -> c_int;
    raw_malloc = 68: fn(bytes: c_int) -> *mut c_void;
    raw_result_double = 79: fn(context: *mut RawContext, value: f64);
    raw_result_error = 80: fn(context: *mut RawContext, message: *const c_char, bytes: c_int);
    raw_result_int64 = 83: fn(context: *mut RawContext, value: i64);
    raw_result_null = 84: fn(context: *mut RawContext);
    raw_set_auxdata = 92: fn(context: *mut RawContext, argument: c_int, data: *mut c_void, free: Destructor);
    raw_step = 94: fn(statement: *mut RawStatement) -> c_int;
    raw_value_blob = 102: fn(value: *mut RawValue) -> *const u8;
    raw_value_bytes = 103: fn(value: *mut RawValue) -> c_int;
    raw_value_double = 105: fn(value: *mut RawValue) -> f64;
    raw_value_int64 = 107: fn(value: *mut RawValue) -> i64;
    raw_value_text = 109: fn(value: *mut RawValue) -> *const u8;
    raw_value_type = 113: fn(value: *mut RawValue) -> c_int;
    raw_create_module = 119: fn(
        database: *mut Database, name: *const c_char, module: *const Module, data: *mut c_void,
        destroy: Option<Destructor>
    ) -> c_int;
    raw_prepare = 116: fn(
        database: *mut Database, sql: *const c_char, bytes: c_int, statement: *mut *mut RawStatement,
        rest: *mut *const c_char
    ) -> c_int;
    raw_file_control = 127: fn(
        database: *mut Database, schema: *const c_char, operation: c_int, argument: *mut c_void
    ) -> c_int;
    raw_context_database = 149: fn(context: *mut RawContext) -> *mut Database;
    raw_create_function = 162: fn(
        database: *mut Database, name: *const c_char, arguments: c_int, flags: c_int, data: *mut c_void,
        function: Option<Callback>, step: Option<Callback>, finish: Option<FinalCallback>,
        destroy: Option<Destructor>
    ) -> c_int;
    raw_result_blob64 = 201: fn(context: *mut RawContext, blob: *const u8, bytes: u64, free: isize);
    raw_result_text64 = 202: fn(
        context: *mut RawContext, text: *const u8, bytes: u64, free: isize, encoding: c_uchar
    );
}

impl Api {
    /// # Safety
    /// `routines` is the table that a `SQLite` library of any version gave to the entry point.
    pub(super) unsafe fn new(routines: *const Routines) -> Self {
        Self(routines.cast())
    }

    pub(super) fn libversion_number(self) -> c_int {
        // SAFETY: takes no arguments; its index lies in the part of the table that every SQLite 3 has.
        unsafe { self.raw_libversion_number() }
    }

    /// A NUL-terminated copy of `text` in memory that `SQLite` frees; null when there is none.
    pub(super) fn duplicate(self, text: &str) -> *mut c_char {
        let Ok(bytes) = c_int::try_from(text.len().saturating_add(1)) else { return ptr::null_mut() };
        // SAFETY: any size may be asked for; failure yields null.
        let copy = unsafe { self.raw_malloc(bytes) }.cast::<u8>();
        if !copy.is_null() {
            // SAFETY: `copy` has room for the text and one more byte, and is fresh, so it overlaps nothing.
            unsafe {
                ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
                copy.add(text.len()).write(0);
            }
        }
        copy.cast()
    }

    /// # Safety
    /// `memory` is null or was allocated by this library, and nobody uses it any more.
    pub(super) unsafe fn free(self, memory: *mut c_char) {
        // SAFETY: by the contract above.
        unsafe { self.raw_free(memory.cast()) }
    }

    /// Whether this library was built with virtual tables.
    pub(super) fn has_modules(self) -> bool {
        // SAFETY: the table is longer than the index; what is not built in is null.
        !unsafe { *self.0.add(CREATE_MODULE) }.is_null()
    }

    /// # Safety
    /// `database` is an open connection of this library, which [has modules](Self::has_modules).
    pub(super) unsafe fn create_module(
        self,
        database: *mut Database,
        name: &'static std::ffi::CStr,
        module: &'static Module,
    ) -> c_int {
        // SAFETY: by the contract above; the module is static and needs no data.
        unsafe { self.raw_create_module(database, name.as_ptr(), module, ptr::null_mut(), None) }
    }

    /// Declares the columns of the virtual table that is being connected, and that it does no harm: views and
    /// triggers may use it even where the schema is not trusted.
    ///
    /// # Safety
    /// Called from `xConnect`, with its database.
    pub(super) unsafe fn declare_table(self, database: *mut Database, sql: &'static std::ffi::CStr) -> c_int {
        /// `SQLITE_VTAB_INNOCUOUS`
        const INNOCUOUS: c_int = 2;
        type Config = unsafe extern "C" fn(*mut Database, c_int, ...) -> c_int;
        // SAFETY: by the contract above.
        let status = unsafe { self.raw_declare_vtab(database, sql.as_ptr()) };
        if status != OK {
            return status;
        }
        // SAFETY: as in `routines!`; the routine is variadic.
        let config = unsafe { transmute_copy::<*const c_void, Config>(&*self.0.add(VTAB_CONFIG)) };
        // SAFETY: by the contract above; this setting has no further arguments.
        unsafe { config(database, INNOCUOUS) }
    }

    /// # Safety
    /// `database` is an open connection of this library; `name` is NUL-terminated.
    pub(super) unsafe fn create_function(
        self,
        database: *mut Database,
        name: &'static std::ffi::CStr,
        arguments: c_int,
        flags: c_int,
        callbacks: (Option<Callback>, Option<Callback>, Option<FinalCallback>),
    ) -> c_int {
        let (function, step, finish) = callbacks;
        // SAFETY: by the contract above; the callbacks are static functions and need no data.
        unsafe {
            self.raw_create_function(
                database,
                name.as_ptr(),
                arguments,
                flags,
                ptr::null_mut(),
                function,
                step,
                finish,
                None,
            )
        }
    }
}

/// An argument of the running SQL function.
#[derive(Clone, Copy)]
pub(super) struct Value<'call> {
    api: Api,
    raw: *mut RawValue,
    call: std::marker::PhantomData<&'call ()>,
}

impl<'call> Value<'call> {
    /// # Safety
    /// `raw` is an argument of a call made by the library of `api`, and the call lasts as long as `'call`.
    pub(super) unsafe fn new(api: Api, raw: *mut RawValue) -> Self {
        Self { api, raw, call: std::marker::PhantomData }
    }

    /// One of [`INTEGER`], [`FLOAT`], [`TEXT`], [`BLOB`], [`NULL`].
    #[inline]
    pub(super) fn kind(self) -> c_int {
        // SAFETY: `raw` is a live value of this library.
        unsafe { self.api.raw_value_type(self.raw) }
    }

    pub(super) fn kind_name(self) -> &'static str {
        match self.kind() {
            INTEGER => "INTEGER",
            FLOAT => "REAL",
            TEXT => "TEXT",
            BLOB => "BLOB",
            _ => "NULL",
        }
    }

    pub(super) fn integer(self) -> i64 {
        // SAFETY: `raw` is a live value of this library.
        unsafe { self.api.raw_value_int64(self.raw) }
    }

    /// The bytes of a BLOB. Valid until the value is converted, which [`Value`] never does to a BLOB, nor to a TEXT again.
    #[inline]
    pub(super) fn blob(self) -> &'call [u8] {
        // SAFETY: `raw` is a live value; the size is asked for after the pointer, as SQLite demands.
        unsafe {
            let start = self.api.raw_value_blob(self.raw);
            self.bytes(start)
        }
    }

    pub(super) fn float(self) -> f64 {
        // SAFETY: `raw` is a live value of this library.
        unsafe { self.api.raw_value_double(self.raw) }
    }

    /// The bytes of a TEXT, as UTF-8; `SQLite` does not check that they are. Valid as those of [`Value::blob`].
    #[inline]
    pub(super) fn utf8(self) -> &'call [u8] {
        // SAFETY: as in `blob`.
        unsafe {
            let start = self.api.raw_value_text(self.raw);
            self.bytes(start)
        }
    }

    /// A TEXT; what is not UTF-8 becomes U+FFFD.
    pub(super) fn text(self) -> String {
        String::from_utf8_lossy(self.utf8()).into_owned()
    }

    #[inline]
    unsafe fn bytes(self, start: *const u8) -> &'call [u8] {
        // SAFETY: `raw` is a live value of this library.
        let length = unsafe { self.api.raw_value_bytes(self.raw) };
        match usize::try_from(length) {
            // SAFETY: SQLite keeps this many bytes at `start` until the call ends or the value is converted.
            Ok(length) if !start.is_null() => unsafe { slice::from_raw_parts(start, length) },
            _ => &[],
        }
    }
}

/// The running SQL function: where its result goes and its memory between rows lies.
#[derive(Clone, Copy)]
pub(super) struct Context {
    api: Api,
    raw: *mut RawContext,
}

impl Context {
    /// # Safety
    /// `raw` is the context of a call made by the library of `api`, and the call outlives the new value.
    pub(super) unsafe fn new(api: Api, raw: *mut RawContext) -> Self {
        Self { api, raw }
    }

    /// The connection that runs the function.
    pub(super) fn connection(self) -> Connection {
        // SAFETY: the context is live, and so is its connection.
        unsafe { Connection::new(self.api, self.api.raw_context_database(self.raw)) }
    }

    pub(super) fn result_double(self, value: f64) {
        // SAFETY: the context is live.
        unsafe { self.api.raw_result_double(self.raw, value) }
    }

    pub(super) fn result_null(self) {
        // SAFETY: the context is live.
        unsafe { self.api.raw_result_null(self.raw) }
    }

    pub(super) fn result_text(self, text: &str) {
        self.result_utf8(text.as_bytes());
    }

    /// A TEXT; `SQLite` does not check that the bytes are UTF-8.
    #[inline]
    pub(super) fn result_utf8(self, text: &[u8]) {
        // SAFETY: the text is readable for its length, and copied.
        unsafe {
            self.api.raw_result_text64(self.raw, text.as_ptr(), text.len() as u64, TRANSIENT, UTF8);
        }
    }

    #[inline]
    pub(super) fn result_blob(self, blob: &[u8]) {
        // SAFETY: the blob is readable for its length, and copied.
        unsafe { self.api.raw_result_blob64(self.raw, blob.as_ptr(), blob.len() as u64, TRANSIENT) }
    }

    #[inline]
    pub(super) fn result_int(self, value: i64) {
        // SAFETY: the context is live.
        unsafe { self.api.raw_result_int64(self.raw, value) }
    }

    pub(super) fn result_error(self, message: &str) {
        let bytes = c_int::try_from(message.len()).unwrap_or(c_int::MAX);
        // SAFETY: the message is readable for at least `bytes`; SQLite copies it.
        unsafe { self.api.raw_result_error(self.raw, message.as_ptr().cast(), bytes) }
    }

    /// What an earlier row remembered about this argument, if the argument is constant.
    ///
    /// # Safety
    /// `T` is the only type that any call of this SQL function remembers.
    #[inline]
    pub(super) unsafe fn remembered<T>(&self, argument: c_int) -> Option<&T> {
        // SAFETY: the context is live.
        let data = unsafe { self.api.raw_get_auxdata(self.raw, argument) };
        // SAFETY: not null, hence the Box<T> that `remember` leaked, which SQLite frees after this call.
        unsafe { data.cast::<T>().as_ref() }
    }

    /// Keeps `value` for the following rows. `SQLite` drops it when the argument turns out not to be constant.
    pub(super) fn remember<T>(self, argument: c_int, value: T) {
        unsafe extern "C" fn free<T>(data: *mut c_void) {
            // SAFETY: SQLite passes the pointer given to `set_auxdata`, once.
            drop(unsafe { Box::from_raw(data.cast::<T>()) });
        }
        let data = Box::into_raw(Box::new(value)).cast();
        // SAFETY: the context is live, and the pointer belongs to SQLite from here on.
        unsafe { self.api.raw_set_auxdata(self.raw, argument, data, free::<T>) }
    }

    /// Where one group of an aggregate keeps its pointer between rows; the pointer is null at first. Null
    /// itself: out of memory.
    #[inline]
    pub(super) fn group<T>(self) -> *mut *mut T {
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "4 or 8")]
        let bytes = const { size_of::<*mut T>() as c_int };
        // SAFETY: the context is live. For a scalar function SQLite returns memory that nobody reads.
        unsafe { self.api.raw_aggregate_context(self.raw, bytes).cast() }
    }

    /// As [`Context::group`], at the end of a group; null if it had no rows.
    pub(super) fn finished_group<T>(self) -> *mut *mut T {
        // SAFETY: size 0 asks for the memory only if there is some.
        unsafe { self.api.raw_aggregate_context(self.raw, 0).cast() }
    }
}
