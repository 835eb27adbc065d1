//! `entry create`, `entry show`, `entry count` and `entry delete`.

mod create;
mod data;
mod delete;
mod filter;
mod pretty;
mod show;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use show::{count, show};
