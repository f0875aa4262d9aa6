//! `kv_text(value, path)`, `kv_integer`, `kv_real`, `kv_boolean`: what a packed value has at a path, if it is of that
//! type; and `kv_contains(value, part[, path])`. NULL for anything else that a row may hold.

use std::marker::PhantomData;

use kohakuvault_core::packing::path::{Node, Part, Path};

use super::api::{BLOB, Context, NULL, TEXT, Value};
use super::callback::{Arguments, Scalar, SqlResult};

/// One of the types, as a type, because a callback carries nothing else.
pub(super) trait Kind {
    const NAME: &'static str;
    /// Gives the result; `None` if the node is of another type.
    fn give(context: Context, node: &Node<'_>) -> Option<()>;
}

pub(super) struct Text;
pub(super) struct Integer;
pub(super) struct Real;
pub(super) struct Boolean;

impl Kind for Text {
    const NAME: &'static str = "kv_text";
    #[inline]
    fn give(context: Context, node: &Node<'_>) -> Option<()> {
        // PostgreSQL has no text with NUL, and SQLite's own functions stop there.
        node.text().filter(|text| !text.contains('\0')).map(|text| context.result_text(text))
    }
}

impl Kind for Integer {
    const NAME: &'static str = "kv_integer";
    #[inline]
    fn give(context: Context, node: &Node<'_>) -> Option<()> {
        node.integer().map(|number| context.result_int(number))
    }
}

impl Kind for Real {
    const NAME: &'static str = "kv_real";
    #[inline]
    fn give(context: Context, node: &Node<'_>) -> Option<()> {
        node.real().map(|number| context.result_double(number))
    }
}

impl Kind for Boolean {
    const NAME: &'static str = "kv_boolean";
    #[inline]
    fn give(context: Context, node: &Node<'_>) -> Option<()> {
        node.boolean().map(|value| context.result_int(value.into()))
    }
}

pub(super) struct Packed<K>(PhantomData<K>);

impl<K: Kind> Scalar for Packed<K> {
    #[inline]
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [value, path] = arguments.get()?;
        if value.kind() != BLOB || path.kind() == NULL {
            context.result_null();
            return Ok(());
        }
        // SAFETY: this function remembers nothing but `Path`.
        let known = unsafe { context.remembered::<Path>(1) };
        let read;
        let path = if let Some(path) = known {
            path
        } else {
            read = read_path(path, 1, context, K::NAME)?;
            &read
        };
        let found = path.find(value.blob()).and_then(|node| K::give(context, &node));
        if found.is_none() {
            context.result_null();
        }
        Ok(())
    }
}

/// The path of an argument, which the following rows find remembered.
#[cold]
fn read_path(value: Value<'_>, argument: i32, context: Context, function: &str) -> Result<Path, String> {
    if value.kind() != TEXT {
        return Err(format!("{function}: path: expected a TEXT; {} given", value.kind_name()));
    }
    let path = Path::parse(value.utf8()).map_err(|problem| format!("{function}: {problem}"))?;
    context.remember(argument, path.clone());
    Ok(path)
}

pub(super) struct Contains;

impl Scalar for Contains {
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let ([value, part], path) = if arguments.count() == 2 {
            (arguments.get()?, None)
        } else {
            let [value, part, path] = arguments.get()?;
            ([value, part], Some(path))
        };
        let is_null = |value: Value<'_>| value.kind() == NULL;
        if value.kind() != BLOB || part.kind() != BLOB || path.is_some_and(is_null) {
            context.result_null();
            return Ok(());
        }
        // SAFETY: of its second argument this function remembers nothing but `Part`, of its third nothing but `Path`.
        let (known_part, known_path) =
            unsafe { (context.remembered::<Part>(1), context.remembered::<Path>(2)) };
        let read;
        let path = match (path, known_path) {
            (None, _) => &Path::ROOT,
            (Some(_), Some(path)) => path,
            (Some(path), None) => {
                read = read_path(path, 2, context, "kv_contains")?;
                &read
            }
        };
        let contains = if let Some(part) = known_part {
            part.is_in(value.blob(), path)
        } else {
            // A column may be what is looked for, so it may hold anything.
            Part::read(part.blob()).and_then(|part| {
                let contains = part.is_in(value.blob(), path);
                context.remember(1, part);
                contains
            })
        };
        match contains {
            Some(contains) => context.result_int(contains.into()),
            None => context.result_null(),
        }
        Ok(())
    }
}
