//! Tokens: how SQL names what Python holds, as it has no pointers that could be trusted.
//!
//! Both sides are in one process, and in one copy of this library.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

/// What is named by tokens, as long as it lives.
pub(crate) struct Tokens<T>(LazyLock<Mutex<HashMap<i64, Weak<T>>>>);

impl<T> Tokens<T> {
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// What `make` makes of a token of its own, which it is to [forget](Self::forget) when it is dropped.
    pub(crate) fn register(&self, make: impl FnOnce(i64) -> T) -> Arc<T> {
        let mut known = lock(&self.0);
        loop {
            // Keys of the hasher are random: nobody guesses the token of another.
            let token = RandomState::new().build_hasher().finish().cast_signed();
            if let Entry::Vacant(place) = known.entry(token) {
                let named = Arc::new(make(token));
                place.insert(Arc::downgrade(&named));
                return named;
            }
        }
    }

    pub(crate) fn find(&self, token: i64) -> Option<Arc<T>> {
        lock(&self.0).get(&token).and_then(Weak::upgrade)
    }

    pub(crate) fn forget(&self, token: i64) {
        lock(&self.0).remove(&token);
    }
}

/// For mutexes that guard what is complete after every change, also after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
