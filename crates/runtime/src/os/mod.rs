//! What only the operating system knows. The one room with unsafe code, each block with its reason.

pub mod allocator;
pub mod files;
pub mod peer;
pub mod sampling;
pub mod touches;

use std::io;
use std::path::Path;

/// Makes the process's umask at least `least` strict. Returns the old and the new one when it changed.
pub fn restrict_umask(least: u32) -> Option<(u32, u32)> {
    use nix::sys::stat::{Mode, umask};
    // The umask can only be read by setting it; no thread that creates files runs yet.
    let old = umask(Mode::from_bits_truncate(least)).bits();
    let new = old | least;
    umask(Mode::from_bits_truncate(new));
    (new != old).then_some((old, new))
}

/// Lets this process have as many open files as the system allows it to, and returns how many those are. systemd and
/// shells start a process with fewer, for the sake of programs that use `select`.
pub fn raise_open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// How many open files this process may have.
pub fn open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// How many bytes this process may map. None: as many as it likes.
pub fn address_space() -> Option<u64> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    getrlimit(Resource::RLIMIT_AS).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY)
}

/// What this host calls itself; empty where that is not to be found.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Bytes that the C library's allocator has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Those that are in use.
    pub allocated: u64,
    /// Those that it has from the kernel.
    pub from_system: u64,
}

/// The allocator's figures, where it has any: glibc's has.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "no safe wrapper knows this call")]
pub fn heap() -> Option<Heap> {
    // SAFETY: it takes nothing, returns a plain struct, and locks what it reads.
    let told = unsafe { libc::mallinfo2() };
    let (allocated, mapped) = (told.uordblks as u64, told.hblkhd as u64);
    Some(Heap { allocated: allocated + mapped, from_system: told.arena as u64 + mapped })
}

/// The allocator's figures, where it has any: this one has none.
#[cfg(not(target_env = "gnu"))]
pub fn heap() -> Option<Heap> {
    None
}

/// An error of the operating system in Go's words: `no such file or directory`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Why a file could not be read, in Go's words: `open /etc/x: no such file or directory`. Go opens a directory, and fails
/// when it reads.
pub fn unread(path: &Path, error: &io::Error) -> String {
    let step = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
    format!("{step} {}: {}", path.display(), reason(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_to_what_the_system_allows() {
        let raised = raise_open_files();
        assert_eq!((open_files(), raise_open_files()), (raised, raised));
    }

    #[test]
    fn an_error_reads_as_in_go() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(reason(&io::Error::other("Own text")), "own text");
        let told = |path| unread(Path::new(path), &std::fs::read(path).unwrap_err());
        assert_eq!(told("/none"), "open /none: no such file or directory");
        assert_eq!(told("/tmp"), "read /tmp: is a directory");
    }
}
