//! Upstream authorities.

pub mod disk;
