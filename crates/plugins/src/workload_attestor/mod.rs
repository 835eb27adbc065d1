//! Workload attestors.

pub mod unix;

#[cfg(test)]
mod tests;
