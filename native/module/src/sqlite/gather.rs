//! `kv_gather(token, start, count, data)`: copies the elements of a block into a buffer of this process
//! (`crate::gathering`). How many they were: 0 where nothing of the block was wanted.

use std::sync::Arc;

use super::api::{BLOB, Context, INTEGER, Value};
use super::callback::{Arguments, Scalar, SqlResult};
use crate::gathering::Gathering;

pub(super) struct Gather;

impl Scalar for Gather {
    #[inline]
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [token, start, count, data] = arguments.get()?;
        if start.kind() != INTEGER || count.kind() != INTEGER || data.kind() != BLOB {
            return Err(wrong(start, count, data));
        }
        let number = token.integer();
        let add = |gathering: &Gathering| gathering.add(start.integer(), count.integer(), data.blob());
        // SAFETY: the function remembers this type only.
        let known = unsafe { context.remembered::<Arc<Gathering>>(0) };
        let copied = match known {
            Some(gathering) if gathering.token == number => add(gathering),
            _ => {
                let gathering = find(token)?;
                let copied = add(&gathering);
                context.remember(0, gathering);
                copied
            }
        };
        context.result_int(copied.map_err(|problem| format!("kv_gather: {problem}"))?);
        Ok(())
    }
}

#[cold]
fn find(token: Value<'_>) -> Result<Arc<Gathering>, String> {
    if token.kind() != INTEGER {
        return Err(format!("kv_gather: token: expected an INTEGER; {} given", token.kind_name()));
    }
    Gathering::find(token.integer())
        .ok_or_else(|| "kv_gather: token: there is no such gathering in this process".to_owned())
}

#[cold]
fn wrong(start: Value<'_>, count: Value<'_>, data: Value<'_>) -> String {
    format!(
        "kv_gather: corrupt block: expected INTEGER, INTEGER and BLOB; {}, {} and {} given",
        start.kind_name(),
        count.kind_name(),
        data.kind_name()
    )
}
