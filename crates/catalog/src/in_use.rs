//! A plugin that can be replaced while it is used.

use std::sync::{Arc, PoisonError, RwLock};

/// The plugin in use, which another configuration replaces as a whole. Whoever called it before goes on with the old one.
/// Clones are one.
pub(crate) struct InUse<T: ?Sized>(Arc<RwLock<Arc<T>>>);

impl<T: ?Sized> InUse<T> {
    pub(crate) fn new(plugin: Arc<T>) -> Self {
        Self(Arc::new(RwLock::new(plugin)))
    }

    /// The plugin as it is now.
    pub(crate) fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it is this one.
    pub(crate) fn replace(&self, plugin: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = plugin;
    }
}

impl<T: ?Sized> Clone for InUse<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
