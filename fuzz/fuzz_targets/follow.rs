//! What a server pushes to an agent, one message after the other: the agent holds what a plain list of them comes to, and
//! takes itself to be as new as the server only when it lacks nothing that it has asked for.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use steeple_proto::spire::api::types::Entry;
use steeple_proto::steeple::agent::sync::v1::FollowResponse;
use steeple_proto::steeple::agent::sync::v1::follow_response::Change;
use tokio::runtime::Builder;

fuzz_target!(|data: &[u8]| {
    let (mut rest, mut messages) = (data, Vec::new());
    while let Ok(message) = FollowResponse::decode_length_delimited(&mut rest) {
        messages.push(message);
        if rest.is_empty() {
            break;
        }
    }
    let (mut expected, mut listed, mut come, mut says_complete) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), false);
    for change in messages.iter().filter_map(|message| message.change.clone()) {
        says_complete = false;
        match change {
            Change::Entries(entries) => {
                for encoded in entries.entries {
                    let Ok(entry) = Entry::decode(&*encoded) else { continue };
                    come.insert(entry.id.clone());
                    if steeple_agent::read_entry(&encoded).is_ok() {
                        expected.insert(entry.id);
                    }
                }
            }
            Change::Removed(removed) => removed.entry_ids.into_iter().for_each(|id| {
                expected.remove(&id);
                come.insert(id);
            }),
            Change::Listing(listing) => {
                listed.extend(listing.entries.into_iter().map(|entry| entry.id));
                if !listing.more {
                    expected.retain(|id| listed.contains(id));
                    listed.clear();
                }
            }
            Change::Status(status) => says_complete = status.complete,
            Change::Bundle(_) | Change::RemovedBundle(_) => {}
        }
    }
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let (held, complete, asked) = runtime.block_on(steeple_agent::held_after(messages));
    assert_eq!(held, Vec::from_iter(expected));
    assert!(!complete || says_complete);
    // What has never come has not come since it was asked for.
    assert!(!complete || asked.iter().all(|id| come.contains(id)), "complete without {asked:?}");
});
