//! When authorities change: a look every ten seconds, and whenever the clock jumps.

use std::time::Duration;

use steeple_runtime::{Clock, Shutdown};
use tracing::error;

use super::CaError;
use super::authorities::Authorities;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A rotation that failed so often in a row makes the server unhealthy.
const TOLERATED_FAILURES: u32 = 10;

/// Keeps the authorities fresh.
pub struct Rotation {
    authorities: Authorities,
    clock: Clock,
    health: steeple_runtime::health::Health,
}

impl Rotation {
    /// Makes sure that there are authorities that can sign.
    ///
    /// # Errors
    /// When the first ones cannot be made.
    pub async fn start(
        mut authorities: Authorities,
        clock: Clock,
        health: steeple_runtime::health::Health,
    ) -> Result<Self, CaError> {
        authorities.rotate().await?;
        Ok(Self { authorities, clock, health })
    }

    /// Looks until it is told to stop.
    ///
    /// # Errors
    /// None: a rotation that fails is tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), CaError> {
        let mut failures = 0;
        while shutdown.unless_stopped(self.clock.sleep_or_jump(LOOK_EVERY)).await.is_some() {
            match self.authorities.rotate().await {
                Ok(()) => {
                    failures = 0;
                    self.health.up("server.ca.rotator");
                }
                Err(error) => {
                    failures += 1;
                    error!(target: "ca_manager", error = %error, "Unable to rotate authorities");
                    if failures > TOLERATED_FAILURES {
                        self.health.down("server.ca.rotator", error);
                    }
                }
            }
        }
        Ok(())
    }
}
