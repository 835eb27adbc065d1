//! Files of one directory, `<chain>-<place of the first record>.jsonl`, one record a line. A new one begins each day and when
//! one is full; old ones are deleted by age.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::chain::{Head, Link};
use super::super::{InventoryError, MOST_BYTES};

/// Where records go, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `directory`
    pub directory: PathBuf,
    /// `max_file_size`, bytes: a file that has so many is followed by another one.
    pub max_file_size: u64,
}

/// The files of one chain, of which the last is written to.
#[derive(Debug)]
pub(crate) struct FileSink {
    files: Files,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    file: File,
    /// Of whole records.
    len: u64,
    /// Of its newest record, since 1970.
    day: i64,
}

const DAY: i64 = 24 * 60 * 60;

impl FileSink {
    /// Opens the last file of the chain in which there is a record, and cuts off what a crash has left of another one. Returns
    /// the head behind that record. A file behind it is one that was begun before a power cut and never written.
    pub(crate) fn open(files: Files, chain: &str) -> Result<(Self, Option<Head>), InventoryError> {
        let directory = &files.directory;
        DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(|error| named(directory, error))?;
        for path in of_chain(directory, chain)?.into_iter().rev() {
            let opened = (|| {
                let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
                let (link, len) = last_record(&mut file)?;
                file.set_len(len)?;
                file.seek(SeekFrom::End(0))?;
                Ok((file, link, len))
            })();
            let (file, link, len) = opened.map_err(|error| named(&path, error))?;
            if let Some(Link { record, text }) = link {
                let last = Last { file, len, day: record.at.div_euclid(DAY) };
                return Ok((Self { files, last: Some(last) }, Some(Head::behind(&record, &text))));
            }
        }
        Ok((Self { files, last: None }, None))
    }

    /// Writes records, all or none of them.
    pub(crate) fn write(&mut self, links: &[Link], synced: bool) -> Result<(), InventoryError> {
        let Some(first) = links.first() else { return Ok(()) };
        let day = first.record.at.div_euclid(DAY);
        self.leave_what_is_deleted();
        let last = match self.last.take_if(|last| last.day != day || last.len >= self.files.max_file_size) {
            // Nobody syncs it later.
            Some(full) => {
                full.file.sync_data().map_err(|error| named(&self.files.directory, error))?;
                None
            }
            None => self.last.as_mut(),
        };
        let last = match last {
            Some(last) => last,
            None => {
                let name = format!("{}-{:020}.jsonl", first.record.chain, first.record.seq);
                let path = self.files.directory.join(name);
                // One that is there holds nothing that was written whole.
                let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o640).open(&path);
                // Its name has to outlive a power cut, too.
                let file = file.and_then(|file| File::open(&self.files.directory)?.sync_all().map(|()| file));
                let file = file.map_err(|error| named(&path, error))?;
                self.last.insert(Last { file, len: 0, day })
            }
        };
        let text: String = links.iter().flat_map(|link| [&*link.text, "\n"]).collect();
        let written = last.file.write_all(text.as_bytes());
        let written = written.and_then(|()| if synced { last.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // What is left of it must not stand before the next try.
            let undone = last.file.set_len(last.len).and_then(|()| last.file.seek(SeekFrom::Start(last.len)));
            return Err(named(&self.files.directory, undone.err().unwrap_or(error)));
        }
        last.len += text.len() as u64;
        Ok(())
    }

    /// Has what was written outlive a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), InventoryError> {
        let synced = self.last.as_ref().map_or(Ok(()), |last| last.file.sync_data());
        synced.map_err(|error| named(&self.files.directory, error))
    }

    /// Deletes the files, whichever chain they are of, that nobody has written to since. The one in use may be among them:
    /// what is written after that begins another one.
    pub(crate) fn prune(&mut self, before: SystemTime) -> Result<(), InventoryError> {
        for path in all(&self.files.directory)? {
            if fs::metadata(&path).and_then(|of| of.modified()).is_ok_and(|at| at < before) {
                fs::remove_file(&path).map_err(|error| named(&path, error))?;
            }
        }
        self.leave_what_is_deleted();
        Ok(())
    }

    /// A file without a name is written to in vain.
    fn leave_what_is_deleted(&mut self) {
        self.last = self.last.take().filter(|last| last.file.metadata().is_ok_and(|of| of.nlink() > 0));
    }
}

/// The files of all chains, in the order of their records.
pub(crate) fn all(directory: &Path) -> Result<Vec<PathBuf>, InventoryError> {
    let listed = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>());
    let mut paths = listed.map_err(|error| named(directory, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    Ok(paths)
}

fn of_chain(directory: &Path, chain: &str) -> Result<Vec<PathBuf>, InventoryError> {
    let mut paths = all(directory)?;
    let is_of_chain = |name: &str| name.strip_prefix(chain).is_some_and(|rest| rest.starts_with('-'));
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_of_chain));
    Ok(paths)
}

/// The last whole record of a file, and how many bytes there are up to its end.
fn last_record(file: &mut File) -> io::Result<(Option<Link>, u64)> {
    let len = file.metadata()?.len();
    // Two records, of which the second may be torn.
    let start = len.saturating_sub(2 * MOST_BYTES as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        // A file that begins with a torn record; one that is long and has no line is none of ours.
        let torn = if start == 0 { Ok((None, 0)) } else { Err(io::ErrorKind::InvalidData.into()) };
        return torn;
    };
    let begin = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let text = str::from_utf8(&tail[begin..end]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let link = Link::read(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((Some(link), start + end as u64 + 1))
}

fn named(path: &Path, error: io::Error) -> InventoryError {
    InventoryError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::chain::Chain;
    use super::super::super::record::Event;
    use super::*;

    fn files(dir: &Path, max_file_size: u64) -> Files {
        Files { directory: dir.join("inventory"), max_file_size }
    }

    fn names(files: &Files) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        all(&files.directory).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn a_file_is_followed_by_another_one_when_it_is_full_and_each_day() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), 200);
        let (mut sink, head) = FileSink::open(files.clone(), "c").unwrap();
        assert_eq!(head, None);
        let mut chain = Chain::behind(Head::of_new("c".to_owned()));
        for at in [1, 2, 3, DAY, DAY + 1] {
            let link = chain.add(at, Event::Start).unwrap();
            sink.write(std::slice::from_ref(&link), true).unwrap();
        }
        assert_eq!(names(&files), [1, 3, 4].map(|first| format!("c-{first:020}.jsonl")));
        let (_, head) = FileSink::open(files.clone(), "c").unwrap();
        assert_eq!(head.as_ref(), Some(chain.head()));
        assert_eq!(FileSink::open(files, "d").unwrap().1, None);
    }

    #[test]
    fn a_record_that_a_crash_has_torn_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), 1 << 20);
        let (mut sink, _) = FileSink::open(files.clone(), "c").unwrap();
        let mut chain = Chain::behind(Head::of_new("c".to_owned()));
        let links: Vec<_> = (0..3).map(|at| chain.add(at, Event::Start).unwrap()).collect();
        sink.write(&links, false).unwrap();
        let path = all(&files.directory).unwrap().remove(0);
        let whole = fs::read(&path).unwrap();
        let next = chain.add(3, Event::Start).unwrap();
        for torn in [&next.text[..20], &next.text] {
            fs::write(&path, [&whole, torn.as_bytes()].concat()).unwrap();
            let (mut sink, head) = FileSink::open(files.clone(), "c").unwrap();
            assert_eq!(head, Some(Head::behind(&links[2].record, &links[2].text)));
            assert_eq!(fs::read(&path).unwrap(), whole);
            sink.write(std::slice::from_ref(&next), false).unwrap();
            assert_eq!(fs::read(&path).unwrap(), [&whole, next.text.as_bytes(), b"\n"].concat());
        }
        fs::write(&path, "{\"seq\":1").unwrap();
        assert_eq!(FileSink::open(files, "c").unwrap().1, None);
    }

    #[test]
    fn a_file_that_was_begun_and_never_written_hides_no_records_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), 1 << 20);
        let (mut sink, _) = FileSink::open(files.clone(), "c").unwrap();
        let mut chain = Chain::behind(Head::of_new("c".to_owned()));
        let link = chain.add(1, Event::Start).unwrap();
        sink.write(std::slice::from_ref(&link), true).unwrap();
        fs::write(files.directory.join(format!("c-{:020}.jsonl", 2)), "").unwrap();
        let (mut sink, head) = FileSink::open(files.clone(), "c").unwrap();
        assert_eq!(head.as_ref(), Some(chain.head()));
        sink.write(&[chain.add(DAY, Event::Start).unwrap()], true).unwrap();
        assert_eq!(names(&files).len(), 2);
        assert_eq!(FileSink::open(files, "c").unwrap().1.as_ref(), Some(chain.head()));
    }

    #[test]
    fn files_are_deleted_by_age_whatever_their_chain() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), 1 << 20);
        let (mut sink, _) = FileSink::open(files.clone(), "c").unwrap();
        for (name, age) in [("b-1.jsonl", 10), ("c-1.jsonl", 10), ("c-2.jsonl", 0), ("other.txt", 10)] {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - age);
            File::create(files.directory.join(name)).unwrap().set_modified(at).unwrap();
        }
        sink.prune(SystemTime::UNIX_EPOCH + Duration::from_secs(995)).unwrap();
        assert_eq!(names(&files), ["c-2.jsonl"]);
        assert!(files.directory.join("other.txt").exists());
    }
}
