//! Key managers: `memory` forgets its keys, `disk` writes them to a file. Both keep them here.

pub mod disk;
mod file;
mod keys;
pub mod memory;

#[cfg(test)]
mod tests;
