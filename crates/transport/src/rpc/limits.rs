//! How much a caller may ask for. No limit is configured yet: every caller is admitted at once.

use tonic::Status;

use super::Method;
use crate::connection::Connection;

/// The limits of a listener's methods.
#[derive(Debug, Default)]
pub struct Limits(());

impl Limits {
    /// No limits.
    pub fn none() -> Self {
        Self(())
    }

    pub(super) fn limiter(&self, _: &'static Method, _: &Connection) -> Limiter {
        Limiter(())
    }
}

/// One caller's limit on one method.
#[derive(Debug)]
pub struct Limiter(());

impl Limiter {
    /// Waits until `count` may be spent.
    #[allow(clippy::unused_async, reason = "limiters wait for their tokens")]
    pub(super) async fn admit(&self, _count: u32) -> Result<(), Status> {
        Ok(())
    }
}
