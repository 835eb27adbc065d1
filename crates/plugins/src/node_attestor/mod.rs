//! Node attestors, both halves of one in the same folder, and what they share: the templates of agents' paths.

pub mod join_token;
mod template;
pub mod x509pop;

#[cfg(test)]
mod tests;
