use std::time::SystemTime;

use futures::FutureExt;
use steeple_testkit::ManualClock;

use super::*;
use crate::database::PostgresServer;

#[tokio::test]
async fn feeds_that_lost_their_database_at_once_do_not_come_back_at_once() {
    const FEEDS: usize = 64;
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH);
    // Nobody listens there.
    let nowhere = PostgresServer::parse("host=127.0.0.1 port=1 sslmode=disable").unwrap();
    let database = Database::Postgres(nowhere, manual.clock());
    let mut feeds = Vec::new();
    for _ in 0..FEEDS {
        let hints = watch_channel::channel(Hint::default()).1;
        let mut feed = Feed::new(database.clone(), hints, manual.clock(), CancellationToken::new());
        feed.load(&mut |_| {}).await.unwrap_err();
        assert!(feed.next().now_or_never().is_none());
        feeds.push(feed);
    }
    let mut back = |passed: Duration| {
        manual.advance(passed);
        let over = |feed: &mut Feed| feed.pause.as_mut().and_then(|pause| pause.now_or_never()).is_some();
        feeds.iter_mut().filter_map(|feed| over(feed).then(|| feed.pause = None)).count()
    };
    assert_eq!(back(PAUSE * 89 / 100), 0);
    let first = back(PAUSE * 11 / 100);
    assert!((1..FEEDS).contains(&first), "{first} of {FEEDS}");
    assert_eq!(first + back(PAUSE / 10), FEEDS);
}
