//! SVIDs that are asked for, come, and are due again.

use super::*;

#[tokio::test]
async fn svids_that_have_ended_when_they_come_are_not_shown_and_asked_for_at_intervals() {
    let host = Host::new().await;
    let one = of(&host, "a", "unix:uid:1");
    host.server.change(|script| {
        script.entries = vec![one];
        script.x509_ttl = Duration::ZERO;
    });
    let mut case = Case::start(host, Way::Pushed, 100);
    (&mut case.ready).await.unwrap();
    for tries in 1..4 {
        case.host.server.until_called("BatchNewX509SVID", tries).await;
        case.host.manual.until_somebody_sleeps(about(INTERVAL)).await;
        assert_eq!(case.host.server.seen().count("BatchNewX509SVID"), tries);
        assert!(case.until("unix:uid:1", Update::has_identity).await.identities[0].svid.is_none());
        if tries == 3 {
            // The clock was an hour ahead: what is asked for again later by that clock is asked for now.
            case.host.server.change(|script| script.x509_ttl = HOUR);
            case.host.manual.set(case.host.manual.now() - HOUR / 2);
        } else {
            case.host.manual.wake(about(INTERVAL)).await;
        }
    }
    case.until("unix:uid:1", Update::is_complete).await;
}

#[tokio::test]
async fn svids_are_renewed_at_about_half_of_their_life() {
    for way in WAYS {
        let case = Case::synced(way).await;
        let first = case.until("unix:uid:1", has(1)).await;
        let leaf = |update: &Update| update.identities[0].svid.as_ref().unwrap().chain[0].clone();
        let mut subscription = case.subscribe("unix:uid:1");
        subscription.latest();
        case.host.manual.advance(HOUR * 44 / 100);
        case.host.manual.until_somebody_sleeps(..).await;
        assert_eq!(case.host.server.seen().minted, ["a"]);
        case.host.manual.advance(HOUR * 12 / 100);
        subscription.changed().await;
        assert_ne!(leaf(&subscription.latest()), leaf(&first), "{way:?}");
    }
}

#[tokio::test]
async fn an_entry_that_the_server_signs_nothing_for_holds_up_no_other() {
    let case = Case::synced(Way::Pushed).await;
    // The server has it for whoever asks, but signs for what is in its script.
    case.host.server.push(pushed(&[of(&case.host, "b", "unix:uid:2")]));
    case.host.server.until_called("BatchNewX509SVID", 2).await;
    case.host.server.change(|script| script.entries.push(of(&case.host, "c", "unix:uid:3")));
    case.host.server.push(pushed(&[of(&case.host, "c", "unix:uid:3")]));
    case.until("unix:uid:3", has(1)).await;

    case.host.server.change(|script| script.entries.push(of(&case.host, "b", "unix:uid:2")));
    case.host.manual.wake(about(INTERVAL)).await;
    case.until("unix:uid:2", has(1)).await;
}

#[tokio::test]
async fn a_batch_that_fails_is_tried_again_after_ever_longer_pauses() {
    let host = Host::new().await;
    host.server.misbehave("BatchNewX509SVID", Some(Misbehaviour::Refuse(Status::unavailable("going down"))));
    let one = of(&host, "a", "unix:uid:1");
    host.server.change(|script| script.entries = vec![one]);
    let case = Case::start(host, Way::Pushed, 100);
    let mut pause = MINT_PAUSE;
    for tries in 1..4 {
        case.host.server.until_called("BatchNewX509SVID", tries).await;
        case.host.manual.wake(about(pause)).await;
        pause = pause * 3 / 2;
    }
    case.host.server.until_called("BatchNewX509SVID", 4).await;
    case.host.server.misbehave("BatchNewX509SVID", None);
    case.host.manual.wake(about(pause)).await;
    case.until("unix:uid:1", has(1)).await;
}

#[tokio::test]
async fn a_batch_is_not_asked_for_again_before_the_server_wants_it() {
    let host = Host::new().await;
    let away = unavailable("away", SECOND * 20);
    host.server.misbehave("BatchNewX509SVID", Some(Misbehaviour::Refuse(away)));
    let one = of(&host, "a", "unix:uid:1");
    host.server.change(|script| script.entries = vec![one]);
    let case = Case::start(host, Way::Pushed, 100);
    case.host.server.until_called("BatchNewX509SVID", 1).await;
    case.host.manual.until_somebody_sleeps(about(SECOND * 25)).await;
    case.host.server.misbehave("BatchNewX509SVID", None);
    case.host.manual.wake(about(SECOND * 25)).await;
    case.until("unix:uid:1", has(1)).await;
}

#[tokio::test]
async fn who_asks_for_an_svid_that_was_not_made_ahead_gets_it() {
    let host = Host::new().await;
    let entries = vec![of(&host, "a", "unix:uid:1"), of(&host, "b", "unix:uid:2")];
    host.server.change(|script| script.entries = entries);
    let mut case = Case::start(host, Way::Pushed, 0);
    (&mut case.ready).await.unwrap();
    assert!(case.host.server.seen().minted.is_empty());
    case.until("unix:uid:2", has(1)).await;
    assert_eq!(case.host.server.seen().minted, ["b"]);
}
