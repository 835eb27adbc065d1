//! Entries that were read without selectors, which no entry is without. MySQL opens each table when it is read first, even in a
//! snapshot: where tables are exchanged meanwhile, an entry is put together of two states of the database.

use std::collections::HashSet;
use std::sync::Arc;

use super::Slice;
use crate::Entry;

/// Those that were read so when they were read last.
#[derive(Debug, Default)]
pub(super) struct Torn(HashSet<String>);

impl Torn {
    /// Takes out of what was read the entries that were whole the last time; returns their names, to be read again. What
    /// is without selectors once more is so in the database, whoever has done that.
    pub(super) fn take_out(
        &mut self,
        rows: &mut Vec<(String, Option<Arc<Entry>>)>,
        slice: Option<&mut Slice>,
    ) -> Vec<String> {
        let mut again = Vec::new();
        let mut is_kept = |name: &str, entry: Option<&Entry>| {
            // Rows and slice are of one reading.
            let is_new = |torn: &mut HashSet<String>| torn.insert(name.to_owned()) || again.iter().any(|it| it == name);
            if entry.is_some_and(|entry| entry.selectors.is_empty()) && is_new(&mut self.0) {
                again.push(name.to_owned());
                return false;
            }
            if !self.0.is_empty() && entry.is_none_or(|entry| !entry.selectors.is_empty()) {
                self.0.remove(name);
            }
            true
        };
        rows.retain(|(name, entry)| is_kept(name, entry.as_deref()));
        if let Some(slice) = slice {
            slice.entries.retain(|entry| is_kept(&entry.entry_id, Some(entry)));
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selector;

    fn read(name: &str, has_selectors: bool) -> (String, Option<Arc<Entry>>) {
        let selectors = has_selectors.then(|| Selector::new("unix", "uid:1")).into_iter().collect();
        (name.to_owned(), Some(Arc::new(Entry { entry_id: name.to_owned(), selectors, ..Entry::default() })))
    }

    #[test]
    fn an_entry_without_selectors_is_believed_the_second_time() {
        let mut torn = Torn::default();
        let mut rows = vec![read("whole", true), read("torn", false), ("gone".to_owned(), None)];
        assert_eq!(torn.take_out(&mut rows, None), ["torn"]);
        assert_eq!(rows.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["whole", "gone"]);
        let entries = vec![read("torn", false), read("another", false)].into_iter().filter_map(|(_, entry)| entry);
        let mut slice = Slice { nodes: Vec::new(), entries: entries.collect(), is_first: true, is_last: true };
        assert_eq!(torn.take_out(&mut Vec::new(), Some(&mut slice)), ["another"]);
        assert_eq!(slice.entries[0].entry_id, "torn");

        let (mut rows, twice) = (vec![read("twice", false)], read("twice", false).1.unwrap());
        let mut slice = Slice { nodes: Vec::new(), entries: vec![twice], is_first: true, is_last: true };
        assert_eq!(torn.take_out(&mut rows, Some(&mut slice)), ["twice", "twice"]);
        assert!(rows.is_empty() && slice.entries.is_empty(), "both are of one reading");

        // Whole or gone in between, it is the first time again.
        let mut rows = vec![read("torn", true), ("another".to_owned(), None)];
        assert!(torn.take_out(&mut rows, None).is_empty());
        assert_eq!(rows.len(), 2);
        let mut rows = vec![read("torn", false), read("another", false)];
        assert_eq!(torn.take_out(&mut rows, None), ["torn", "another"]);
        assert!(rows.is_empty());
    }
}
