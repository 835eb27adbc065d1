use std::collections::BTreeSet;

use tokio::time::sleep;

use super::*;

/// Work that takes a while and tells what it was asked for.
struct Slow {
    takes: fn(u64) -> Duration,
    begun: RefCell<Vec<(u64, Duration)>>,
    under_way: Cell<usize>,
    most: Cell<usize>,
    since: Instant,
}

impl Slow {
    fn new(takes: fn(u64) -> Duration) -> Self {
        let (under_way, most) = (Cell::new(0), Cell::new(0));
        Self { takes, begun: RefCell::default(), under_way, most, since: Instant::now() }
    }

    fn begun_at(&self) -> Vec<u128> {
        self.begun.borrow().iter().map(|(_, at)| at.as_millis()).collect()
    }
}

impl Work for Slow {
    async fn once(&self, number: u64) -> Result<(), Status> {
        self.begun.borrow_mut().push((number, self.since.elapsed()));
        self.under_way.set(self.under_way.get() + 1);
        self.most.set(self.most.get().max(self.under_way.get()));
        sleep((self.takes)(number)).await;
        self.under_way.set(self.under_way.get() - 1);
        Ok(())
    }
}

struct Failing(fn(u64) -> Option<Status>);

impl Work for Failing {
    async fn once(&self, number: u64) -> Result<(), Status> {
        (self.0)(number).map_or(Ok(()), Err)
    }
}

const SECOND: fn(u64) -> Duration = |_| Duration::from_secs(1);

fn closed(concurrency: usize, count: u64) -> Pace {
    Pace { concurrency, count, duration: None, rate: None }
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_has_so_many_under_way_and_does_each_once() {
    let work = Slow::new(SECOND);
    let run = run(&work, &closed(3, 7), &Shutdown::new()).await;
    assert_eq!((run.samples.count(), work.most.get()), (7, 3));
    let numbers: BTreeSet<u64> = work.begun.borrow().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..7).collect());
    assert_eq!(run.elapsed.as_secs(), 3);
    assert!(!run.interrupted && !run.gave_up);
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_in_time_is_finished_and_counted() {
    let work = Slow::new(SECOND);
    let pace = Pace { duration: Some(Duration::from_millis(2500)), ..closed(2, MOST) };
    let run = run(&work, &pace, &Shutdown::new()).await;
    assert_eq!((run.samples.count(), run.elapsed.as_secs()), (6, 3));
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_begins_at_its_rate_whatever_is_under_way() {
    let work = Slow::new(SECOND);
    let pace = Pace { rate: Some(10), ..closed(100, 20) };
    let run = run(&work, &pace, &Shutdown::new()).await;
    // The timer counts in milliseconds, and is late rather than early.
    for (at, due) in work.begun_at().into_iter().zip((0..20).map(|number| number * 100)) {
        assert!((due..=due + 1).contains(&at), "at {at} ms what was due at {due} ms");
    }
    assert!((10..=11).contains(&work.most.get()), "{}", work.most.get());
    assert_eq!(run.samples.count(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_charged_to_all_that_waited_for_a_free_lane() {
    // The first takes two seconds; those behind it take no time, but were due at 1 s and 2 s.
    let work = Slow::new(|number| Duration::from_secs(if number == 0 { 2 } else { 0 }));
    let pace = Pace { rate: Some(1), ..closed(1, 3) };
    let mut run = run(&work, &pace, &Shutdown::new()).await;
    let quantiles = run.samples.quantiles().unwrap();
    assert_eq!(quantiles.max.as_secs(), 2);
    assert_eq!(quantiles.p50.as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_keeps_what_was_measured() {
    let work = Slow::new(SECOND);
    let stop = Shutdown::new();
    let pace = closed(1, MOST);
    let (run, ()) = tokio::join!(run(&work, &pace, &stop), async {
        sleep(Duration::from_millis(3500)).await;
        stop.stop();
    });
    assert!(run.interrupted);
    assert_eq!((run.samples.count(), run.elapsed.as_millis()), (3, 3500));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_reason_and_do_not_end_a_run_that_goes_on() {
    let failing = Failing(|number| (number % 2 == 0).then(|| Status::internal("no key")));
    let run = run(&failing, &closed(1, 1000), &Shutdown::new()).await;
    assert_eq!(run.samples.count(), 500);
    assert_eq!(run.failed, BTreeMap::from([("Internal: no key".to_owned(), 500)]));
    assert!(!run.gave_up);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_failures_in_a_row_end_it() {
    let failing = Failing(|number| (number >= 10).then(|| Status::unavailable(format!("{number}"))));
    let run = run(&failing, &closed(1, 1000), &Shutdown::new()).await;
    assert!(run.gave_up);
    assert_eq!((run.samples.count(), run.failed.values().sum::<u64>()), (10, 100));
    assert_eq!(run.failed.len(), REASONS + 1, "the rest counts as one");
    assert_eq!(run.first_failure.unwrap().message(), "10");
}

#[tokio::test(start_paused = true)]
async fn an_operation_without_an_end_is_a_failure() {
    let work = Slow::new(|_| Duration::from_secs(3600));
    let run = run(&work, &closed(1, 1), &Shutdown::new()).await;
    assert_eq!(run.failed.keys().collect::<Vec<_>>(), ["DeadlineExceeded: no answer within 60 s"]);
}
