//! Table-valued functions: eponymous, read-only virtual tables. Slots, panics and errors are dealt with here, once.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use super::api::{
    Api, CONSTRAINT, Context, Database, ERROR, IndexInfo, Module, OK, RawContext, RawCursor, RawTable,
    RawValue, Value,
};
use super::callback::panic_message;
use super::connection::Connection;
use super::slots;

/// The rows that a call yields, one after the other.
pub(super) trait TableFunction: Sized {
    const NAME: &'static str;
    /// `CREATE TABLE`, with the arguments as hidden columns.
    const DECLARATION: &'static CStr;
    /// The hidden columns, one behind the other: the first, how many there are, and how many of them must be given.
    const ARGUMENTS: (c_int, usize, usize);
    /// The column by which rows are in ascending order, as they are by rowid.
    const ORDERED_BY: Option<c_int>;
    /// What calls on one connection remember. `SQLite` drops it when it likes.
    type Memory: Default;

    /// The first row. `None`: no rows. There are as many arguments as hidden columns.
    fn call(
        memory: &Self::Memory,
        connection: Connection,
        arguments: &[Option<Value<'_>>],
    ) -> Result<Option<Self>, String>;
    fn advance(&mut self) -> Result<(), String>;
    fn is_done(&self) -> bool;
    fn rowid(&self) -> i64;
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
            disconnect: Some(disconnect::<F, SLOT>),
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

/// `sqlite3_vtab` and what follows it.
#[repr(C)]
struct Table<M> {
    base: RawTable,
    database: *mut Database,
    memory: M,
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
        let base = RawTable { module: ptr::null(), references: 0, message: ptr::null_mut() };
        let new = Table { base, database, memory: F::Memory::default() };
        // SAFETY: where SQLite wants the table, which `disconnect` frees.
        unsafe { table.write(Box::into_raw(Box::new(new)).cast()) };
    }
    status
}

unsafe extern "C" fn disconnect<F: TableFunction, const SLOT: usize>(table: *mut RawTable) -> c_int {
    // SAFETY: made by `connect`; SQLite does not use it again.
    let table = unsafe { Box::from_raw(table.cast::<Table<F::Memory>>()) };
    // SAFETY: a message is null or was allocated by this library.
    unsafe { slots::api::<SLOT>().free(table.base.message) };
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
    let (first, count, required) = F::ARGUMENTS;
    let (mut given, mut found) = (0, 0);
    for (place, argument) in (0..count).zip(first..) {
        let mut equal = constraints
            .iter()
            .enumerate()
            .filter(|(_, each)| each.column == argument && each.operator == EQUAL)
            .peekable();
        if equal.peek().is_none() {
            continue;
        }
        let Some((index, _)) = equal.find(|(_, each)| each.usable != 0) else {
            // It depends on a table that this order of loops has further inside.
            return CONSTRAINT;
        };
        given |= 1 << place;
        found += 1;
        // SAFETY: there are as many usages as constraints.
        let usage = unsafe { &mut *info.usages.add(index) };
        usage.argument = found;
        usage.omit = 1;
    }
    info.number = given;
    if given & ((1 << required) - 1) != (1 << required) - 1 {
        // `filter` says what is missing. Not here: SQLite also asks about parts of a WHERE clause with OR, which
        // have no argument, and must only be kept from using them.
        info.cost = 1e99;
        return OK;
    }
    info.cost = 100.0;
    info.rows = 1000;
    info.is_ordered = c_int::from(matches!(
        (orders, F::ORDERED_BY),
        ([order], Some(column)) if order.descending == 0 && [column, -1].contains(&order.column)
    ));
    OK
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
    given: c_int,
    _: *const c_char,
    count: c_int,
    values: *mut *mut RawValue,
) -> c_int {
    // SAFETY: SQLite passes a cursor that `open` made, of a table that `connect` made, and as many values as it says.
    unsafe {
        let mut values = array(values.cast_const(), count).iter();
        let table = (*cursor).table.cast::<Table<F::Memory>>();
        step::<F, SLOT>(cursor, |rows, api| {
            *rows = None;
            let (_, count, required) = F::ARGUMENTS;
            let arguments: Vec<_> = (0..count)
                .map(|place| if given >> place & 1 == 1 { values.next() } else { None })
                .map(|value| value.map(|&raw| Value::new(api, raw)))
                .collect();
            if arguments.iter().take(required).any(Option::is_none) {
                return Err(format!("{}: an argument is missing; expected {required} or more", F::NAME));
            }
            *rows = F::call(&(*table).memory, Connection::new(api, (*table).database), &arguments)?;
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
    unsafe { rowid.write((*cursor.cast::<Cursor<F>>()).rows.as_ref().map_or(0, F::rowid)) };
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
