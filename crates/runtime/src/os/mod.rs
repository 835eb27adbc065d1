//! What only the operating system knows. The one room with unsafe code, each block with its reason.

pub mod files;
pub mod peer;

/// Makes the process's umask at least `least` strict. Returns the old and the new one when it changed.
pub fn restrict_umask(least: u32) -> Option<(u32, u32)> {
    use nix::sys::stat::{Mode, umask};
    // The umask can only be read by setting it; no thread that creates files runs yet.
    let old = umask(Mode::from_bits_truncate(least)).bits();
    let new = old | least;
    umask(Mode::from_bits_truncate(new));
    (new != old).then_some((old, new))
}
