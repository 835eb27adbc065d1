//! Whole daemons as processes, with real clients: each case starts its own and needs nothing from another.
//!
//! Each module is a suite and can be run alone, as in `cargo test -p steeple-tests --test whole slice::`.

#[cfg(test)]
mod administrator;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod health;
#[cfg(test)]
mod helm;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod inventory;
#[cfg(test)]
mod key_exchange;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod load;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod openssl;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod slice;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod taint;
#[cfg(test)]
mod taken_over;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod ten_days;
#[cfg(test)]
mod up;
#[cfg(test)]
mod x509pop;
