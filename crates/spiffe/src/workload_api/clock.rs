use std::pin::Pin;
use std::time::{Duration, SystemTime};

use crate::{Clock, Timer};

/// The clock of this machine, for programs that have none of their own to pass. Its timer is tokio's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "whoever takes this clock has asked for the system's")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl Timer for SystemClock {
    fn sleep(&self, length: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(length))
    }
}
