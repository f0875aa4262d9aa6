//! The entry point that `SQLite` calls for each connection that loads the extension.
//!
//! `SQLite` derives its name from the letters of the file name before the first dot, without leading
//! `lib` or `_`: `_native.cpython-311-x86_64-linux-gnu.so` gives `sqlite3_native_init`.

use std::ffi::{CStr, c_char, c_int};
use std::panic::catch_unwind;

use super::api::{
    Api, Callback, Context, DIRECT, Database, ERROR, FinalCallback, MIN_VERSION, Module, OK, PURE, Routines,
};
use super::callback::{Arguments, Scalar, SqlResult, finish, scalar, step};
use super::checksum::Crc32c;
use super::collect::{CollectKey, CollectPair};
use super::distance::{Cosine, Distance, Hamming, Ip, L1, L2, Measure};
use super::gather::Gather;
use super::id_set::IdSet;
use super::knn::Knn;
use super::nearest::Nearest;
use super::packed::{Boolean, Contains, Integer, Packed, Real, Text};
use super::rows::KvRows;
use super::slots::{self, SLOTS};
use super::table_function::module;
use super::wal_index::Find;

/// Registers the SQL functions and the virtual table on a connection.
///
/// # Safety
/// To be called by `SQLite` only, with the arguments of `sqlite3_loadext_entry`.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sqlite3_native_init(
    database: *mut Database,
    error_message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    if database.is_null() || routines.is_null() {
        return ERROR;
    }
    // SAFETY: SQLite passes its table.
    let api = unsafe { Api::new(routines) };
    // SAFETY: SQLite passes an open connection of that library.
    let problem = match catch_unwind(|| unsafe { register(api, database, routines) }) {
        Ok(Ok(())) => return OK,
        Ok(Err(problem)) => problem,
        Err(_) => "kohakuvault: internal error while loading".to_owned(),
    };
    if !error_message.is_null() {
        // SAFETY: not null, hence where SQLite wants a message that it will free.
        unsafe { error_message.write(api.duplicate(&problem)) };
    }
    ERROR
}

/// One SQL function: name, number of arguments, flags, callbacks.
type Function = (&'static CStr, c_int, c_int, (Option<Callback>, Option<Callback>, Option<FinalCallback>));

unsafe fn register(api: Api, database: *mut Database, routines: *const Routines) -> Result<(), String> {
    let version = api.libversion_number();
    if version < MIN_VERSION {
        return Err(format!(
            "kohakuvault needs SQLite 3.31 or newer; this is {}.{}.{}",
            version / 1_000_000,
            version / 1000 % 1000,
            version % 1000
        ));
    }
    let (functions, modules) = match slots::intern(routines) {
        Some(0) => (functions::<0>(), modules::<0>()),
        Some(1) => (functions::<1>(), modules::<1>()),
        Some(2) => (functions::<2>(), modules::<2>()),
        Some(3) => (functions::<3>(), modules::<3>()),
        Some(4) => (functions::<4>(), modules::<4>()),
        Some(5) => (functions::<5>(), modules::<5>()),
        Some(6) => (functions::<6>(), modules::<6>()),
        Some(7) => (functions::<7>(), modules::<7>()),
        _ => {
            return Err(format!(
                "kohakuvault: {SLOTS} other SQLite libraries of this process have loaded the extension already"
            ));
        }
    };
    for (name, arguments, flags, callbacks) in functions {
        // SAFETY: the connection is open and belongs to the library of this slot.
        let status = unsafe { api.create_function(database, name, arguments, flags, callbacks) };
        if status != OK {
            return Err(format!(
                "kohakuvault: SQLite error {status} while registering {}",
                name.to_string_lossy()
            ));
        }
    }
    if api.has_modules() {
        for (name, module) in modules {
            // SAFETY: as above.
            let status = unsafe { api.create_module(database, name, module) };
            if status != OK {
                let name = name.to_string_lossy();
                return Err(format!("kohakuvault: SQLite error {status} while registering {name}"));
            }
        }
    }
    Ok(())
}

fn modules<const SLOT: usize>() -> [(&'static CStr, &'static Module); 2] {
    [(c"kv_rows", module::<KvRows, SLOT>()), (c"kv_knn", module::<Knn, SLOT>())]
}

fn functions<const SLOT: usize>() -> [Function; 25] {
    fn plain<F: Scalar, const SLOT: usize>() -> (Option<Callback>, Option<Callback>, Option<FinalCallback>) {
        (Some(scalar::<F, SLOT>()), None, None)
    }
    /// Of float32, and with the name of the element type.
    fn distance<M: Measure, const SLOT: usize>(name: &'static CStr) -> [Function; 2] {
        [2, 3].map(|arguments| (name, arguments, PURE, plain::<Distance<M>, SLOT>()))
    }
    let [cosine, cosine_of] = distance::<Cosine, SLOT>(c"kv_cosine_distance");
    let [l2, l2_of] = distance::<L2, SLOT>(c"kv_l2_distance");
    let [l1, l1_of] = distance::<L1, SLOT>(c"kv_l1_distance");
    let [hamming, hamming_of] = distance::<Hamming, SLOT>(c"kv_hamming_distance");
    let [ip, ip_of] = distance::<Ip, SLOT>(c"kv_ip_distance");
    let nearest = || (None, Some(step::<Nearest, SLOT>()), Some(finish::<Nearest, SLOT>()));
    [
        (c"kv_version", 0, PURE, plain::<Version, SLOT>()),
        cosine,
        cosine_of,
        l2,
        l2_of,
        l1,
        l1_of,
        hamming,
        hamming_of,
        ip,
        ip_of,
        (c"kv_crc32c", 1, PURE, plain::<Crc32c, SLOT>()),
        (c"kv_wal_index", 1, DIRECT, plain::<Find, SLOT>()),
        (c"kv_nearest", 5, PURE, nearest()),
        (c"kv_nearest", 6, PURE, nearest()),
        (c"kv_idset", 1, PURE, (None, Some(step::<IdSet, SLOT>()), Some(finish::<IdSet, SLOT>()))),
        (c"kv_collect", 2, DIRECT, plain::<CollectKey, SLOT>()),
        (c"kv_collect", 3, DIRECT, plain::<CollectPair, SLOT>()),
        (c"kv_gather", 4, DIRECT, plain::<Gather, SLOT>()),
        (c"kv_text", 2, PURE, plain::<Packed<Text>, SLOT>()),
        (c"kv_integer", 2, PURE, plain::<Packed<Integer>, SLOT>()),
        (c"kv_real", 2, PURE, plain::<Packed<Real>, SLOT>()),
        (c"kv_boolean", 2, PURE, plain::<Packed<Boolean>, SLOT>()),
        (c"kv_contains", 2, PURE, plain::<Contains, SLOT>()),
        (c"kv_contains", 3, PURE, plain::<Contains, SLOT>()),
    ]
}

/// `kv_version()`: the version of this library.
struct Version;

impl Scalar for Version {
    fn call(context: Context, _: &Arguments<'_>) -> SqlResult {
        context.result_text(env!("CARGO_PKG_VERSION"));
        Ok(())
    }
}
