//! Which gaps somebody holds, asked where snapshots do not tell: a lock on a row that nobody sees yet does.

use steeple_runtime::Clock;

use super::gaps::Gaps;
use crate::Error;
use crate::connection::Connection;

/// The most statements before one look at a table.
const PROBES_A_LOOK: usize = 50;
/// Ids between the gaps that one statement asks for: their rows are locked for that moment.
const BETWEEN: i64 = 10_000;

/// Has `gaps` keep those that a transaction holds, and those that there was no time to ask for.
///
/// Gaps are asked for many at a time, and by halves where one of them is held. Rows that lie between count as well: whoever
/// prunes them only puts off what is given up.
pub(super) async fn probe(db: &mut Connection, table: &str, gaps: &mut Gaps, clock: &Clock) -> Result<(), Error> {
    let ranges = gaps.ranges();
    let mut left = PROBES_A_LOOK;
    // The oldest one is at the end.
    let mut runs = runs(&ranges);
    runs.reverse();
    while let Some(run) = runs.pop() {
        let (Some((first, _)), Some((_, last))) = (run.first(), run.last()) else { continue };
        if left > 0 {
            left -= 1;
            match db.is_held(table, *first, *last).await? {
                None => return Ok(()),
                Some(false) => continue,
                Some(true) if run.len() > 1 => {
                    let (older, newer) = run.split_at(run.len() / 2);
                    runs.extend([newer, older]);
                    continue;
                }
                Some(true) => {}
            }
        }
        for (first, _) in run {
            gaps.held(*first, clock.now());
        }
    }
    Ok(())
}

/// Neighbours that one statement asks for.
fn runs(ranges: &[(i64, i64)]) -> Vec<&[(i64, i64)]> {
    let mut between = 0;
    let is_one_run = |(_, last): &(i64, i64), (first, _): &(i64, i64)| {
        between += first - last - 1;
        let is_near = between <= BETWEEN;
        if !is_near {
            between = 0;
        }
        is_near
    };
    ranges.chunk_by(is_one_run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_asks_for_gaps_with_few_rows_between() {
        let near = [(1, 4), (6, 6), (7, 9)];
        assert_eq!(runs(&near), [&near]);
        let far = [(1, 1), (3, 3), (20_000, 20_000), (20_002, 30_000), (30_002, 30_002)];
        assert_eq!(runs(&far), [&far[..2], &far[2..]]);
        let many: Vec<_> = (0..25_000).map(|i| (2 * i, 2 * i)).collect();
        assert_eq!(runs(&many).iter().map(|run| run.len()).collect::<Vec<_>>(), [10_001, 10_001, 4_998]);
        assert!(runs(&[]).is_empty());
    }
}
