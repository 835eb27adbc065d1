//! The names of users and groups, as this host's name service has them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::unistd::{Gid, Group, Uid, User};
use steeple_catalog::PluginError;
use steeple_runtime::Clock;
use tokio::sync::Semaphore;
use tracing::debug;

use super::Owner;

/// So many processes are looked up at once.
const AT_ONCE: usize = 8;
/// A name is believed for so long: a host's workloads have few users, and ask often.
const FRESH: Duration = Duration::from_secs(1);
/// So many names are kept.
const KEPT: usize = 1024;

/// A number that may have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Id {
    User(u32),
    Group(u32),
}

/// Looks up names, away from the threads that serve: the name service may ask a directory over the network, and wait.
pub(super) struct Names {
    clock: Clock,
    places: Arc<Semaphore>,
    look_up: Arc<dyn Fn(Id) -> Option<String> + Send + Sync>,
    /// With when they were looked up.
    known: Mutex<HashMap<Id, (Option<String>, SystemTime)>>,
}

impl Names {
    /// Of this host.
    pub(super) fn new(clock: Clock) -> Self {
        Self::with(clock, look_up)
    }

    fn with(clock: Clock, look_up: impl Fn(Id) -> Option<String> + Send + Sync + 'static) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { clock, places, look_up: Arc::new(look_up), known: Mutex::default() }
    }

    /// The selectors of an owner, by number and, where the host knows it, by name.
    ///
    /// # Errors
    /// INTERNAL: the agent is stopping.
    pub(super) async fn selectors(&self, owner: &Owner) -> Result<Vec<String>, PluginError> {
        let Owner { uid, gid, groups } = owner;
        let ids = [Id::User(*uid), Id::Group(*gid)].into_iter().chain(groups.iter().copied().map(Id::Group));
        let ids: Vec<Id> = ids.collect();
        let names = match self.fresh(&ids) {
            Some(names) => names,
            None => self.look_up(ids.clone()).await?,
        };
        let mut selectors = Vec::with_capacity(2 * ids.len());
        for (nth, (id, name)) in ids.into_iter().zip(names).enumerate() {
            let (number, kind, named) = match id {
                Id::User(uid) => (uid, "uid", "user"),
                Id::Group(gid) if nth == 1 => (gid, "gid", "group"),
                Id::Group(gid) => (gid, "supplementary_gid", "supplementary_group"),
            };
            selectors.push(format!("{kind}:{number}"));
            selectors.extend(name.map(|name| format!("{named}:{name}")));
        }
        Ok(selectors)
    }

    /// The names, if all of them have just been looked up.
    fn fresh(&self, ids: &[Id]) -> Option<Vec<Option<String>>> {
        let now = self.clock.now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |id: &Id| known.get(id).filter(|(_, at)| is_fresh(*at, now)).map(|(name, _)| name.clone());
        ids.iter().map(fresh).collect()
    }

    async fn look_up(&self, ids: Vec<Id>) -> Result<Vec<Option<String>>, PluginError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(PluginError::internal)?;
        let (asked, look_up) = (ids.clone(), Arc::clone(&self.look_up));
        let looking_up = tokio::task::spawn_blocking(move || {
            // Freed when the answer is there, not when the caller has lost interest.
            let _place = place;
            asked.into_iter().map(|id| look_up(id)).collect::<Vec<_>>()
        });
        let names = looking_up.await.map_err(PluginError::internal)?;
        let now = self.clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + ids.len() > KEPT {
            known.retain(|_, (_, at)| is_fresh(*at, now));
        }
        if known.len() + ids.len() <= KEPT {
            known.extend(ids.into_iter().zip(names.iter().cloned().map(|name| (name, now))));
        }
        Ok(names)
    }
}

/// A moment that is still to come was told by a clock that was set back since.
fn is_fresh(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|age| age < FRESH)
}

fn look_up(id: Id) -> Option<String> {
    let name = match id {
        Id::User(uid) => User::from_uid(Uid::from_raw(uid)).map(|user| user.map(|user| user.name)),
        Id::Group(gid) => Group::from_gid(Gid::from_raw(gid)).map(|group| group.map(|group| group.name)),
    };
    name.unwrap_or_else(|error| {
        match id {
            Id::User(uid) => {
                debug!(target: "workload_attestor", uid, error = %error, "Failed to lookup user name by uid");
            }
            Id::Group(gid) => {
                debug!(target: "workload_attestor", gid, error = %error, "Failed to lookup group name by gid");
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use steeple_testkit::ManualClock;

    use super::*;

    fn owner(uid: u32) -> Owner {
        Owner { uid, gid: 7, groups: vec![7, 8] }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_a_second_and_no_number_is_mistaken_for_another() {
        let (clock, asked) = (ManualClock::new(SystemTime::UNIX_EPOCH + FRESH), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        let names = Names::with(clock.clock(), move |id| {
            counted.fetch_add(1, Ordering::Relaxed);
            match id {
                Id::User(7) => Some("seven".into()),
                Id::Group(7) => Some("wheel".into()),
                _ => None,
            }
        });
        let expected = [
            "uid:7",
            "user:seven",
            "gid:7",
            "group:wheel",
            "supplementary_gid:7",
            "supplementary_group:wheel",
            "supplementary_gid:8",
        ];
        for looked_up in [4, 4, 8] {
            if looked_up == 8 {
                clock.advance(FRESH);
            }
            assert_eq!(names.selectors(&owner(7)).await.unwrap(), expected);
            assert_eq!(asked.load(Ordering::Relaxed), looked_up);
        }
    }

    /// The one thread of this test would stand still as well.
    #[tokio::test]
    async fn a_name_service_that_hangs_holds_up_nobody_else() {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let names = Arc::new(Names::with(ManualClock::new(SystemTime::UNIX_EPOCH + FRESH).clock(), move |id| {
            if id == Id::User(1) {
                let _ = released.lock().unwrap().recv();
            }
            None
        }));
        let waiting = Arc::clone(&names);
        let waiting = tokio::spawn(async move { waiting.selectors(&owner(1)).await });
        assert_eq!(names.selectors(&owner(2)).await.unwrap()[0], "uid:2");
        assert!(!waiting.is_finished());
        drop(release);
        assert_eq!(waiting.await.unwrap().unwrap()[0], "uid:1");
    }

    #[tokio::test]
    async fn no_more_names_are_kept_than_so_many() {
        let names = Names::with(ManualClock::new(SystemTime::UNIX_EPOCH + FRESH).clock(), |_| None);
        for uid in 0..2000 {
            names.selectors(&owner(uid)).await.unwrap();
        }
        assert!(names.known.lock().unwrap().len() <= KEPT);
    }
}
