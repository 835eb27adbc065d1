//! When authorities change: a look every ten seconds, and whenever the clock jumps; and when an operator says so.

use std::time::Duration;

use steeple_runtime::health::{Found, Health};
use steeple_runtime::{Clock, Shutdown};
use tokio::sync::mpsc;
use tracing::error;

use super::CaError;
use super::authorities::Authorities;
use super::orders::{self, Order, Orders};
use crate::health::ROTATOR;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// When it has failed more often in a row, the server is not ready.
const TOLERATED_FAILURES: u32 = 10;

/// Keeps the authorities fresh.
pub struct Rotation {
    authorities: Authorities,
    clock: Clock,
    health: Health,
    orders: (Orders, mpsc::Receiver<Order>),
}

impl Rotation {
    /// Makes sure that there are authorities that can sign.
    ///
    /// # Errors
    /// When the first ones cannot be made.
    pub async fn start(mut authorities: Authorities, clock: Clock, health: Health) -> Result<Self, CaError> {
        authorities.rotate().await?;
        health.report(ROTATOR, Found::well());
        Ok(Self { authorities, clock, health, orders: orders::channel() })
    }

    /// Where operators' orders are given.
    pub fn orders(&self) -> Orders {
        self.orders.0.clone()
    }

    /// Looks, and does as it is ordered, until it is told to stop.
    ///
    /// # Errors
    /// None: a rotation that fails is tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), CaError> {
        let mut failures = 0;
        while self.obey_until_next_look(&shutdown).await {
            match self.authorities.rotate().await {
                Ok(()) => {
                    failures = 0;
                    self.health.report(ROTATOR, Found::well());
                }
                Err(error) => {
                    failures += 1;
                    error!(target: "ca_manager", error = %error, "Unable to rotate authorities");
                    if failures > TOLERATED_FAILURES {
                        self.health.report(ROTATOR, Found::unready(error));
                    }
                }
            }
        }
        Ok(())
    }

    /// Orders put off no look, however many there are. False when it is time to stop, which ends no order half-way.
    async fn obey_until_next_look(&mut self, shutdown: &Shutdown) -> bool {
        let look = self.clock.sleep_or_jump(LOOK_EVERY);
        tokio::pin!(look);
        loop {
            let order = tokio::select! {
                biased;
                () = shutdown.stopped() => return false,
                () = &mut look => return true,
                // The sender is ours as well.
                Some(order) = self.orders.1.recv() => order,
            };
            if matches!(order, Order::Look) {
                return true;
            }
            self.authorities.carry_out(order).await;
        }
    }
}
