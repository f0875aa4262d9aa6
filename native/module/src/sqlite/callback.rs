//! From C callbacks to Rust functions: slots, panics and errors are dealt with here, once.

use std::any::Any;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use super::api::{Callback, Context, FinalCallback, RawContext, RawValue, Value};
use super::slots;

/// A message for the SQL error.
pub(super) type SqlResult = Result<(), String>;

/// A scalar SQL function.
pub(super) trait Scalar {
    /// `arguments` has as many values as the function was registered with.
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult;
}

/// An aggregate SQL function.
pub(super) trait Aggregate {
    fn step(context: Context, arguments: &Arguments<'_>) -> SqlResult;
    fn finish(context: Context) -> SqlResult;
}

/// The arguments of one call.
pub(super) struct Arguments<'call> {
    api: super::api::Api,
    raw: &'call [*mut RawValue],
}

impl<'call> Arguments<'call> {
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.raw.len()
    }

    #[inline]
    pub(super) fn get<const N: usize>(&self) -> Result<[Value<'call>; N], String> {
        let raw: &[*mut RawValue; N] =
            self.raw.try_into().map_err(|_| format!("{N} arguments expected; {} given", self.raw.len()))?;
        // SAFETY: the pointers are the arguments of the running call.
        Ok(raw.map(|value| unsafe { Value::new(self.api, value) }))
    }
}

pub(super) fn scalar<F: Scalar, const SLOT: usize>() -> Callback {
    unsafe extern "C" fn callback<F: Scalar, const SLOT: usize>(
        context: *mut RawContext,
        count: c_int,
        values: *mut *mut RawValue,
    ) {
        // SAFETY: SQLite calls with its own context and `count` values; the slot is that of the library that the
        // function was registered with.
        unsafe { run::<SLOT>(context, count, values, F::call) }
    }
    callback::<F, SLOT>
}

pub(super) fn step<F: Aggregate, const SLOT: usize>() -> Callback {
    unsafe extern "C" fn callback<F: Aggregate, const SLOT: usize>(
        context: *mut RawContext,
        count: c_int,
        values: *mut *mut RawValue,
    ) {
        // SAFETY: as in `scalar`.
        unsafe { run::<SLOT>(context, count, values, F::step) }
    }
    callback::<F, SLOT>
}

pub(super) fn finish<F: Aggregate, const SLOT: usize>() -> FinalCallback {
    unsafe extern "C" fn callback<F: Aggregate, const SLOT: usize>(context: *mut RawContext) {
        // SAFETY: as in `scalar`, without values.
        unsafe { run::<SLOT>(context, 0, std::ptr::null_mut(), |context, _| F::finish(context)) }
    }
    callback::<F, SLOT>
}

#[inline]
unsafe fn run<const SLOT: usize>(
    context: *mut RawContext,
    count: c_int,
    values: *mut *mut RawValue,
    function: impl FnOnce(Context, &Arguments<'_>) -> SqlResult,
) {
    // SAFETY: callbacks of a slot exist only after it was filled.
    let api = unsafe { slots::api::<SLOT>() };
    // SAFETY: the caller passes what SQLite gave it, valid until this function returns.
    let context = unsafe { Context::new(api, context) };
    let raw = match usize::try_from(count) {
        // SAFETY: SQLite passes an array of `count` values.
        Ok(count) if !values.is_null() => unsafe { slice::from_raw_parts(values, count) },
        _ => &[],
    };
    // Unwinding into C would abort the process. Broken invariants do not outlive the statement, which fails.
    let outcome = catch_unwind(AssertUnwindSafe(|| function(context, &Arguments { api, raw })));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(message)) => context.result_error(&message),
        Err(panic) => context.result_error(&panic_message(&*panic)),
    }
}

#[cold]
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    format!("kohakuvault: internal error: {text}")
}
