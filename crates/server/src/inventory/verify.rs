//! Whether records are those that were written: each fits the one before, and the heads that somebody has kept fit them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::chain::{Head, Link};
use super::record::{Cause, Event, Gap};

/// Complaints of one chain that are kept; more do not say more.
const MOST_COMPLAINTS: usize = 20;

/// Takes the records of any number of chains, each in order, and tells what is wrong with them.
#[derive(Debug, Default)]
pub struct Verifier {
    /// By chain, then by place.
    heads: HashMap<String, BTreeMap<u64, BTreeSet<String>>>,
    chains: BTreeMap<String, Found>,
    unreadable: Vec<String>,
}

/// What a [`Verifier`] has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Chain by chain.
    pub chains: Vec<Found>,
    /// Heads of chains of which there is no record.
    pub strange: Vec<Head>,
    /// What should be a record and is none, in words; at most a few.
    pub unreadable: Vec<String>,
}

/// What was found of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place of the first record that there is.
    pub first: u64,
    /// Behind the last record that there is.
    pub last: Head,
    /// Records that there are.
    pub records: u64,
    /// Gaps that the chain itself declares, and the places at which it does.
    pub gaps: Vec<(u64, Gap)>,
    /// The place up to which a head vouches for the records; 0 where none does.
    pub vouched: u64,
    /// Heads that fit.
    pub heads: usize,
    /// Heads from before the first record that there is.
    pub earlier_heads: usize,
    /// What is wrong, in words; at most a few.
    pub complaints: Vec<String>,
}

impl Verifier {
    /// Compares with these heads.
    pub fn new(heads: impl IntoIterator<Item = Head>) -> Self {
        let mut verifier = Self::default();
        for Head { chain, seq, digest } in heads {
            verifier.heads.entry(chain).or_default().entry(seq).or_default().insert(digest);
        }
        verifier
    }

    /// The next record of its chain.
    pub fn take(&mut self, Link { record, text }: &Link) {
        let head = Head::behind(record, text);
        let found = self.chains.entry(record.chain.clone()).or_insert_with(|| Found {
            first: record.seq,
            last: Head { chain: record.chain.clone(), seq: record.seq.saturating_sub(1), digest: record.prev.clone() },
            records: 0,
            gaps: Vec::new(),
            vouched: 0,
            heads: 0,
            earlier_heads: 0,
            complaints: Vec::new(),
        });
        let (seq, expected) = (record.seq, found.last.seq.saturating_add(1));
        match &record.event {
            Event::Gap(gap) => {
                let skipped = if gap.cause == Cause::Lost { gap.count.unwrap_or_default() } else { 0 };
                if seq != expected && seq != expected.saturating_add(skipped) {
                    found.complain(format!("record {seq} follows record {}", found.last.seq));
                }
                // What stood in the empty places is what it fits.
                if seq == expected && record.prev != found.last.digest {
                    found.complain(format!("record {seq} does not fit the record before it"));
                }
                found.gaps.push((seq, gap.clone()));
            }
            _ if seq != expected => found.complain(format!("record {seq} follows record {}", found.last.seq)),
            _ if record.prev != found.last.digest => {
                found.complain(format!("record {seq} does not fit the record before it"));
            }
            _ => {}
        }
        let told = self.heads.get_mut(&record.chain).and_then(|heads| heads.remove(&seq));
        // Of one that was restored from a copy there may be two.
        for told in told.into_iter().flatten() {
            if told == head.digest {
                (found.heads, found.vouched) = (found.heads + 1, seq);
            } else {
                found.complain(format!("record {seq} is not the one of the head"));
            }
        }
        found.records += 1;
        found.last = head;
    }

    /// Something that should be a record and is none.
    pub fn unreadable(&mut self, complaint: String) {
        keep_a_few(&mut self.unreadable, complaint);
    }

    /// All that was found.
    pub fn finish(self) -> Verdict {
        let Self { heads, mut chains, unreadable } = self;
        let mut strange = Vec::new();
        for (chain, heads) in heads {
            let Some(found) = chains.get_mut(&chain) else {
                let each =
                    heads.into_iter().flat_map(|(seq, digests)| digests.into_iter().map(move |digest| (seq, digest)));
                strange.extend(each.map(|(seq, digest)| Head { chain: chain.clone(), seq, digest }));
                continue;
            };
            for seq in heads.into_keys() {
                if seq < found.first {
                    found.earlier_heads += 1;
                } else if !found.is_declared_lost(seq) {
                    found.complain(format!("there is a head of record {seq} and no such record"));
                }
            }
        }
        strange.sort_by(|a, b| (&a.chain, a.seq).cmp(&(&b.chain, b.seq)));
        Verdict { chains: chains.into_values().collect(), strange, unreadable }
    }
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        let Self { chains, strange, unreadable } = self;
        strange.is_empty() && unreadable.is_empty() && chains.iter().all(|found| found.complaints.is_empty())
    }
}

fn keep_a_few(complaints: &mut Vec<String>, complaint: String) {
    if complaints.len() < MOST_COMPLAINTS {
        complaints.push(complaint);
    }
}

impl Found {
    fn complain(&mut self, complaint: String) {
        keep_a_few(&mut self.complaints, complaint);
    }

    fn is_declared_lost(&self, seq: u64) -> bool {
        self.gaps.iter().any(|(at, gap)| {
            gap.cause == Cause::Lost && (at.saturating_sub(gap.count.unwrap_or_default())..*at).contains(&seq)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::Chain;
    use super::*;

    /// A chain of so many records, and the head behind each.
    fn chain(records: usize) -> (Vec<Link>, Vec<Head>) {
        let mut chain = Chain::behind(Head::of_new("c".to_owned()));
        (0..records).map(|at| (chain.add(at as i64, Event::Start).unwrap(), chain.head().clone())).unzip()
    }

    fn found(links: &[Link], heads: &[Head]) -> Found {
        let mut verifier = Verifier::new(heads.iter().cloned());
        links.iter().for_each(|link| verifier.take(link));
        let mut verdict = verifier.finish();
        assert!(verdict.strange.is_empty());
        verdict.chains.pop().unwrap()
    }

    #[test]
    fn what_was_written_is_sound_and_vouched_for_up_to_the_last_head() {
        let (links, heads) = chain(10);
        let found = found(&links, &[heads[2].clone(), heads[7].clone()]);
        assert_eq!((found.complaints.len(), found.records, found.heads, found.vouched), (0, 10, 2, 8));
        assert_eq!(found.last, heads[9]);
    }

    #[test]
    fn a_record_that_was_changed_removed_or_moved_is_found() {
        let (links, heads) = chain(10);
        let ends = [heads[0].clone(), heads[9].clone()];
        let changed = |change: &dyn Fn(&mut Vec<Link>)| {
            let mut links = links.clone();
            change(&mut links);
            found(&links, &ends).complaints
        };
        assert_eq!(
            changed(&|links| links[4] = Link::read(&links[4].text.replace("1970", "1971")).unwrap()),
            ["record 6 does not fit the record before it"]
        );
        assert_eq!(changed(&|links| drop(links.remove(4))), ["record 6 follows record 4"]);
        assert!(!changed(&|links| links.swap(4, 5)).is_empty());
        assert_eq!(changed(&|links| links.truncate(8)), ["there is a head of record 10 and no such record"]);
        // A forger who writes everything anew is found by the heads.
        let mut forged = Chain::behind(heads[3].clone());
        let anew: Vec<_> = (4..10).map(|_| forged.add(99, Event::Start).unwrap()).collect();
        assert_eq!(
            changed(&|links| links.splice(4.., anew.clone()).for_each(drop)),
            ["record 10 is not the one of the head"]
        );
    }

    #[test]
    fn places_that_a_gap_declares_empty_are_no_complaint_and_others_are() {
        let (links, heads) = chain(6);
        let lost = |count| Event::Gap(Gap { cause: Cause::Lost, count: Some(count) });
        for (count, complaints) in [(2, 0), (1, 1)] {
            let mut on = Chain::behind(heads[5].clone());
            let links: Vec<_> = links[..4].iter().cloned().chain([on.add(7, lost(count)).unwrap()]).collect();
            let found = found(&links, &[heads[3].clone(), on.head().clone()]);
            assert_eq!((found.complaints.len(), found.gaps.len(), found.vouched), (complaints, 1, 7));
        }
    }

    #[test]
    fn heads_from_before_the_first_record_and_of_other_chains_are_told_apart() {
        let (links, heads) = chain(6);
        assert_eq!(found(&links[3..], &heads[..5]).earlier_heads, 3);
        let other = Head { chain: "d".to_owned(), ..heads[0].clone() };
        let verdict = Verifier::new([other.clone()]).finish();
        assert!(!verdict.is_sound());
        assert_eq!(verdict.strange, [other]);
    }
}
