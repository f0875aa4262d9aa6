//! `kv_crc32c(blob)`: the checksum by which snapshots of other extensions are known.

use kohakuvault_core::frame::checksum;

use super::api::{BLOB, Context, NULL};
use super::callback::{Arguments, Scalar, SqlResult};

pub(super) struct Crc32c;

impl Scalar for Crc32c {
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [bytes] = arguments.get()?;
        match bytes.kind() {
            BLOB => context.result_int(i64::from(checksum(bytes.blob()))),
            NULL => context.result_null(),
            _ => return Err(format!("kv_crc32c: {} given; expected a BLOB", bytes.kind_name())),
        }
        Ok(())
    }
}
