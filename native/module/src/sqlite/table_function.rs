//! Table-valued functions: eponymous, read-only virtual tables of one argument. Slots, panics and errors are
//! dealt with here, once.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use super::api::{
    Api, CONSTRAINT, Context, Database, ERROR, IndexInfo, Module, OK, RawContext, RawCursor, RawTable,
    RawValue, Value,
};
use super::callback::panic_message;
use super::slots;

/// The rows that a call yields, one after the other.
pub(super) trait TableFunction: Sized {
    const NAME: &'static str;
    /// `CREATE TABLE`, with the argument as a hidden column.
    const DECLARATION: &'static CStr;
    /// The column by which rows are in ascending order; it is the rowid too.
    const POSITION: c_int;
    /// The hidden column.
    const ARGUMENT: c_int;

    /// The first row. `None`: no rows.
    fn call(argument: Value<'_>) -> Result<Option<Self>, String>;
    fn advance(&mut self) -> Result<(), String>;
    fn is_done(&self) -> bool;
    fn position(&self) -> i64;
    fn column(&self, column: c_int, context: Context);
}

/// The module of a function, for the `SQLite` library of a slot.
pub(super) fn module<F: TableFunction, const SLOT: usize>() -> &'static Module {
    const {
        &Module {
            version: 1,
            // Without it the table exists under the module's name only and cannot be created under others.
            create: None,
            connect: Some(connect::<F, SLOT>),
            best_index: Some(best_index::<F>),
            disconnect: Some(disconnect::<SLOT>),
            destroy: None,
            open: Some(open::<F>),
            close: Some(close::<F>),
            filter: Some(filter::<F, SLOT>),
            next: Some(next::<F, SLOT>),
            eof: Some(eof::<F>),
            column: Some(column::<F, SLOT>),
            rowid: Some(rowid::<F>),
            others: [None; 7],
        }
    }
}

/// `sqlite3_vtab_cursor` and what follows it.
#[repr(C)]
struct Cursor<F> {
    base: RawCursor,
    rows: Option<F>,
}

unsafe extern "C" fn connect<F: TableFunction, const SLOT: usize>(
    database: *mut Database,
    _: *mut c_void,
    _: c_int,
    _: *const *const c_char,
    table: *mut *mut RawTable,
    _: *mut *mut c_char,
) -> c_int {
    // SAFETY: modules of a slot exist only after it was filled.
    let api = unsafe { slots::api::<SLOT>() };
    // SAFETY: SQLite calls `xConnect` with its database.
    let status = unsafe { api.declare_table(database, F::DECLARATION) };
    if status == OK {
        let new = RawTable { module: ptr::null(), references: 0, message: ptr::null_mut() };
        // SAFETY: where SQLite wants the table, which `disconnect` frees.
        unsafe { table.write(Box::into_raw(Box::new(new))) };
    }
    status
}

unsafe extern "C" fn disconnect<const SLOT: usize>(table: *mut RawTable) -> c_int {
    // SAFETY: made by `connect`; SQLite does not use it again.
    let table = unsafe { Box::from_raw(table) };
    // SAFETY: a message is null or was allocated by this library.
    unsafe { slots::api::<SLOT>().free(table.message) };
    OK
}

unsafe extern "C" fn best_index<F: TableFunction>(_: *mut RawTable, info: *mut IndexInfo) -> c_int {
    /// `SQLITE_INDEX_CONSTRAINT_EQ`
    const EQUAL: u8 = 2;
    // SAFETY: SQLite passes what it wants filled in, and nobody else uses it meanwhile.
    let info = unsafe { &mut *info };
    // SAFETY: SQLite passes as many constraints and orders as it says.
    let (constraints, orders) =
        unsafe { (array(info.constraints, info.constraint_count), array(info.orders, info.order_count)) };
    let is_argument = |column, operator| column == F::ARGUMENT && operator == EQUAL;
    let mut given =
        constraints.iter().enumerate().filter(|(_, each)| is_argument(each.column, each.operator));
    let mut is_given = false;
    let usable = given.find(|(_, each)| {
        is_given = true;
        each.usable != 0
    });
    match usable {
        Some((index, _)) => {
            // SAFETY: there are as many usages as constraints.
            let usage = unsafe { &mut *info.usages.add(index) };
            usage.argument = 1;
            usage.omit = 1;
            info.cost = 100.0;
            info.rows = 1000;
            let position = [F::POSITION, -1];
            info.is_ordered = c_int::from(
                matches!(orders, [order] if order.descending == 0 && position.contains(&order.column)),
            );
            OK
        }
        // There is an argument, but it depends on a table that this order of loops has further inside.
        None if is_given => CONSTRAINT,
        // `filter` says that it is missing. Not here: SQLite also asks about parts of a WHERE clause with OR, which
        // have no argument, and must only be kept from using them.
        None => {
            info.cost = 1e99;
            OK
        }
    }
}

unsafe extern "C" fn open<F: TableFunction>(_: *mut RawTable, cursor: *mut *mut RawCursor) -> c_int {
    let new = Cursor::<F> { base: RawCursor { table: ptr::null_mut() }, rows: None };
    // SAFETY: where SQLite wants the cursor, which `close` frees.
    unsafe { cursor.write(Box::into_raw(Box::new(new)).cast()) };
    OK
}

unsafe extern "C" fn close<F: TableFunction>(cursor: *mut RawCursor) -> c_int {
    // SAFETY: made by `open`; SQLite does not use it again.
    drop(unsafe { Box::from_raw(cursor.cast::<Cursor<F>>()) });
    OK
}

unsafe extern "C" fn filter<F: TableFunction, const SLOT: usize>(
    cursor: *mut RawCursor,
    _: c_int,
    _: *const c_char,
    count: c_int,
    values: *mut *mut RawValue,
) -> c_int {
    // SAFETY: SQLite passes a cursor that `open` made, and as many values as it says.
    unsafe {
        let values = array(values.cast_const(), count);
        step::<F, SLOT>(cursor, |rows, api| {
            *rows = None;
            let [argument] = values else { return Err(format!("{}: an argument is missing", F::NAME)) };
            *rows = F::call(Value::new(api, *argument))?;
            Ok(())
        })
    }
}

unsafe extern "C" fn next<F: TableFunction, const SLOT: usize>(cursor: *mut RawCursor) -> c_int {
    // SAFETY: SQLite passes a cursor that `open` made.
    unsafe { step::<F, SLOT>(cursor, |rows, _| rows.as_mut().map_or(Ok(()), F::advance)) }
}

unsafe extern "C" fn eof<F: TableFunction>(cursor: *mut RawCursor) -> c_int {
    // SAFETY: as in `next`.
    let rows = unsafe { &(*cursor.cast::<Cursor<F>>()).rows };
    c_int::from(rows.as_ref().is_none_or(F::is_done))
}

unsafe extern "C" fn column<F: TableFunction, const SLOT: usize>(
    cursor: *mut RawCursor,
    context: *mut RawContext,
    column: c_int,
) -> c_int {
    // SAFETY: modules of a slot exist only after it was filled; the context is valid until this returns.
    let context = unsafe { Context::new(slots::api::<SLOT>(), context) };
    // SAFETY: as in `next`.
    let rows = unsafe { &(*cursor.cast::<Cursor<F>>()).rows };
    let outcome = catch_unwind(AssertUnwindSafe(|| match rows {
        Some(rows) => rows.column(column, context),
        None => context.result_null(),
    }));
    if let Err(panic) = outcome {
        context.result_error(&panic_message(&*panic));
    }
    OK
}

unsafe extern "C" fn rowid<F: TableFunction>(cursor: *mut RawCursor, rowid: *mut i64) -> c_int {
    // SAFETY: as in `next`, with where SQLite wants the number.
    unsafe { rowid.write((*cursor.cast::<Cursor<F>>()).rows.as_ref().map_or(0, F::position)) };
    OK
}

/// Runs what may fail or panic. There are no rows after it did.
///
/// # Safety
/// The cursor was made by `open::<F>` in the library of the slot, and nobody else uses it.
unsafe fn step<F: TableFunction, const SLOT: usize>(
    cursor: *mut RawCursor,
    function: impl FnOnce(&mut Option<F>, Api) -> Result<(), String>,
) -> c_int {
    // SAFETY: modules of a slot exist only after it was filled.
    let api = unsafe { slots::api::<SLOT>() };
    // SAFETY: by the contract above.
    let cursor = unsafe { &mut *cursor.cast::<Cursor<F>>() };
    // Unwinding into C would abort the process.
    let message = match catch_unwind(AssertUnwindSafe(|| function(&mut cursor.rows, api))) {
        Ok(Ok(())) => return OK,
        Ok(Err(message)) => message,
        Err(panic) => panic_message(&*panic),
    };
    cursor.rows = None;
    // SAFETY: SQLite has set the cursor's table.
    unsafe { fail::<SLOT>(cursor.base.table, &message) }
}

/// # Safety
/// The table is one of the library of the slot.
#[cold]
unsafe fn fail<const SLOT: usize>(table: *mut RawTable, message: &str) -> c_int {
    // SAFETY: by the contract above; a message is null or was allocated by this library.
    unsafe {
        let api = slots::api::<SLOT>();
        api.free((*table).message);
        (*table).message = api.duplicate(message);
    }
    ERROR
}

/// # Safety
/// `start` is null or has `count` elements, which nobody changes as long as the result is used.
unsafe fn array<'call, T>(start: *const T, count: c_int) -> &'call [T] {
    match usize::try_from(count) {
        // SAFETY: by the contract above.
        Ok(count) if !start.is_null() => unsafe { slice::from_raw_parts(start, count) },
        _ => &[],
    }
}
