//! Whether files are being written, as the kernel tells it: whoever waits for that does not have to ask.

#![allow(unsafe_code, reason = "waiting on a foreign descriptor has no safe wrapper")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// Watches a directory for the files whose names have a common beginning, such as a database and its log.
///
/// What other machines write to a file system that they share is not told.
#[derive(Debug)]
pub struct Touches {
    inotify: AsyncFd<OwnedFd>,
    /// The beginning of the names.
    name: Vec<u8>,
}

impl Touches {
    /// Of the file at `path`, and of those beside it whose names begin with its name.
    ///
    /// # Errors
    /// The directory is not there, or the kernel gives no further watch: they are counted for each user.
    pub fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        inotify::add_watch(&inotify, directory, events | WatchFlags::ONLYDIR)?;
        // SAFETY: an OwnedFd names one descriptor and keeps it open; the AsyncFd owns it and gives it to nobody.
        let inotify = unsafe { AsyncFd::register(inotify) }.map_err(io::Error::from)?;
        Ok(Self { inotify, name })
    }

    /// Returns when one of the files has been written, made, replaced or removed since the last call. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// When the kernel's list of events cannot be read.
    pub async fn touched(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let touched = self.drain()?;
            ready.clear_ready();
            if touched {
                return Ok(());
            }
        }
    }

    /// Takes all events that there are; whether one is of the files.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut touched = false;
        loop {
            match reader.next() {
                // An event without a name is about the watch itself: too many events, or the directory is gone.
                Ok(event) => {
                    touched |= event.file_name().is_none_or(|name| name.to_bytes().starts_with(&self.name));
                }
                Err(Errno::WOULDBLOCK) => return Ok(touched),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn tells_of_the_file_and_its_neighbours_by_name_and_of_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(directory.path().join(name), name).unwrap();
        write("db");
        let watch = Touches::of(&directory.path().join("db")).unwrap();
        for name in ["db", "db-wal"] {
            write(name);
            watch.touched().await.unwrap();
        }
        write("keys.json");
        assert!(watch.touched().now_or_never().is_none());
        std::fs::rename(directory.path().join("keys.json"), directory.path().join("db")).unwrap();
        watch.touched().await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_an_error() {
        assert!(Touches::of(Path::new("/nowhere/db")).is_err());
    }
}
