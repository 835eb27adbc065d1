//! Node attestors, both halves of one in the same folder.

pub mod join_token;
