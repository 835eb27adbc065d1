//! `entry create`, `entry update`, `entry show`, `entry count` and `entry delete`.

mod create;
mod data;
mod delete;
mod filter;
mod flags;
mod pretty;
mod show;
mod update;
mod written;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use show::{count, show};
pub(crate) use update::update;
