//! What operators do to the authorities by hand. The one task that owns them carries it out between its looks, so that no
//! order falls into a rotation.

use std::fmt;

use steeple_datastore::bundles::{RevokeJwtAuthority, RevokeX509Authority, TaintJwtAuthority, TaintX509Authority};
use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::measure;
use tokio::sync::{mpsc, oneshot};

use super::CaError;
use super::authorities::Authorities;
use super::slots::{Authority, Slots};

/// Orders that wait while one is carried out; whoever has one more waits for a place.
const WAITING: usize = 16;

/// Which authorities are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Those that sign X.509-SVIDs.
    X509,
    /// Those that sign JWT-SVIDs.
    Jwt,
}

/// An authority as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Under which it is activated, tainted and revoked.
    pub authority_id: String,
    /// When it ends, Unix seconds.
    pub expires_at: i64,
    /// Hexadecimal subject key ID of the authority above it; empty for none.
    pub upstream_id: String,
}

/// What becomes of the authority that does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It will sign.
    Prepared,
    /// It has signed.
    Old,
}

/// The authorities of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The one that signs.
    pub active: Described,
    /// The one beside it.
    pub next: Option<(Place, Described)>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No authority signs yet, or none does any more because the server stops.
    #[error("server is initializing")]
    NotRunning,
    /// No authority was named.
    #[error("no authority ID provided")]
    NoId,
    /// The authority is not the one beside the active one.
    #[error("unexpected authority ID")]
    Unexpected,
    /// The authority is the one that signs, and cannot be given up.
    #[error("unable to use current authority")]
    Active,
    /// The authority is not of the status that the order is for, but of this one.
    #[error("unsupported local authority status: {0}")]
    Status(Place),
    /// Only an X.509 authority that does not sign any more can be revoked.
    #[error("only Old local authority can be revoked")]
    NotOld,
    /// A JWT authority that will sign cannot be revoked.
    #[error("unable to use a prepared key")]
    Prepared,
    /// No JWT authority of the bundle has this ID.
    #[error("no JWT authority found with provided authority ID")]
    Unknown,
    /// Local authorities are no roots: what stands above them is tainted and revoked.
    #[error("there is an upstream authority")]
    HasUpstream,
    /// Nothing stands above the authorities of this server.
    #[error("upstream authority is not configured")]
    NoUpstream,
    /// No authority above was named.
    #[error("no subject key ID provided")]
    NoSubjectKeyId,
    /// The authority above the one that signs cannot be given up. The words are the reference's.
    #[error("unable to use upstream authority singing current authority")]
    AboveActive,
    /// It does not stand above the authority beside the active one.
    #[error("upstream authority didn't sign the old local authority")]
    NotAbove,
    /// It stands above one that will sign.
    #[error("only upstream authorities signing an old authority can be used")]
    NotAboveOld,
    /// It could not be made, or not be stored.
    #[error(transparent)]
    Ca(#[from] CaError),
}

impl From<steeple_datastore::Error> for OrderError {
    fn from(error: steeple_datastore::Error) -> Self {
        Self::Ca(error.into())
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X509 => "X.509",
            Self::Jwt => "JWT",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepared => "PREPARED",
            Self::Old => "OLD",
        })
    }
}

type Answer<T> = oneshot::Sender<Result<T, OrderError>>;

pub(super) enum Order {
    Look,
    Show(Of, Answer<State>),
    Prepare(Of, Answer<Described>),
    Activate(Of, String, Answer<Described>),
    Taint(Of, String, Answer<Described>),
    Revoke(Of, String, Answer<()>),
    TaintUpstream(String, Answer<()>),
    RevokeUpstream(String, Answer<()>),
}

/// Where orders are given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::Sender<Order>);

pub(super) fn channel() -> (Orders, mpsc::Receiver<Order>) {
    let (orders, given) = mpsc::channel(WAITING);
    (Orders(orders), given)
}

impl Orders {
    /// What there is.
    ///
    /// # Errors
    /// [`OrderError::NotRunning`].
    pub async fn show(&self, of: Of) -> Result<State, OrderError> {
        self.give(|answer| Order::Show(of, answer)).await
    }

    /// Has the authorities looked at at once: the database may have lost what was published.
    pub fn look(&self) {
        // Whoever has many orders waiting looks soon enough.
        let _ = self.0.try_send(Order::Look);
    }

    /// Makes the next authority and publishes it. One that was prepared before loses its place.
    ///
    /// # Errors
    /// When it cannot be made, or no authority signs yet.
    pub async fn prepare(&self, of: Of) -> Result<Described, OrderError> {
        self.give(|answer| Order::Prepare(of, answer)).await
    }

    /// Makes the prepared authority the one that signs.
    ///
    /// # Errors
    /// When another one is named, or none is prepared.
    pub async fn activate(&self, of: Of, authority_id: String) -> Result<Described, OrderError> {
        self.give(|answer| Order::Activate(of, authority_id, answer)).await
    }

    /// Taints the authority that signed before: what it has signed is replaced everywhere, and good until then.
    ///
    /// # Errors
    /// When another one is named, or it is tainted already.
    pub async fn taint(&self, of: Of, authority_id: String) -> Result<Described, OrderError> {
        self.give(|answer| Order::Taint(of, authority_id, answer)).await
    }

    /// Takes an authority, which has to be tainted, out of the bundle: the X.509 one that signed before, or any JWT one
    /// that neither signs nor will.
    ///
    /// # Errors
    /// When another one is named, or it is not tainted.
    pub async fn revoke(&self, of: Of, authority_id: String) -> Result<(), OrderError> {
        self.give(|answer| Order::Revoke(of, authority_id, answer)).await
    }

    /// Taints the authority above the X.509 one that signed before: what is below it is replaced everywhere, and good until
    /// then.
    ///
    /// # Errors
    /// When another one is named, or it is tainted already.
    pub async fn taint_upstream(&self, subject_key_id: String) -> Result<(), OrderError> {
        self.give(|answer| Order::TaintUpstream(subject_key_id, answer)).await
    }

    /// Takes the authority above the X.509 one that signed before, which has to be tainted, out of the bundle.
    ///
    /// # Errors
    /// When another one is named, or it is not tainted.
    pub async fn revoke_upstream(&self, subject_key_id: String) -> Result<(), OrderError> {
        self.give(|answer| Order::RevokeUpstream(subject_key_id, answer)).await
    }

    async fn give<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, OrderError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(order(answer)).await.map_err(|_| OrderError::NotRunning)?;
        answered.await.map_err(|_| OrderError::NotRunning)?
    }
}

impl Authorities {
    /// Does as it is told. Whoever has given the order may have gone: it is carried out all the same.
    pub(super) async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Look => {}
            Order::Show(of, answer) => drop(answer.send(self.state(of))),
            Order::Prepare(of, answer) => drop(answer.send(self.prepare_by_hand(of).await)),
            Order::Activate(of, id, answer) => drop(answer.send(self.activate_by_hand(of, &id).await)),
            Order::Taint(of, id, answer) => drop(answer.send(self.taint(of, &id).await)),
            Order::Revoke(of, id, answer) => drop(answer.send(self.revoke(of, &id).await)),
            Order::TaintUpstream(id, answer) => drop(answer.send(self.taint_upstream(&id).await)),
            Order::RevokeUpstream(id, answer) => drop(answer.send(self.revoke_upstream(&id).await)),
        }
    }

    pub(super) fn state(&self, of: Of) -> Result<State, OrderError> {
        match of {
            Of::X509 => self.x509.state(),
            Of::Jwt => self.jwt.state(),
        }
    }

    async fn prepare_by_hand(&mut self, of: Of) -> Result<Described, OrderError> {
        self.state(of)?;
        match of {
            Of::X509 => measure("ca.manager.x509_ca.prepare", self.prepare_x509()).await?,
            Of::Jwt => measure("ca.manager.jwt_key.prepare", self.prepare_jwt()).await?,
        }
        let prepared = self.state(of)?.next.filter(|(place, _)| *place == Place::Prepared);
        prepared.map(|(_, prepared)| prepared).ok_or(OrderError::NotRunning)
    }

    async fn activate_by_hand(&mut self, of: Of, id: &str) -> Result<Described, OrderError> {
        match self.state(of)?.named(id)? {
            (Place::Prepared, _) => {}
            (place, _) => return Err(OrderError::Status(place)),
        }
        match of {
            Of::X509 => self.activate_x509().await,
            Of::Jwt => self.activate_jwt().await,
        }
        Ok(self.state(of)?.active)
    }

    async fn taint(&mut self, of: Of, id: &str) -> Result<Described, OrderError> {
        let state = self.state(of)?;
        self.is_root(of)?;
        state.is_not_active(id)?;
        let old = match state.named(id)? {
            (Place::Old, old) => old,
            (place, _) => return Err(OrderError::Status(place)),
        };
        let (trust_domain, id) = (self.trust_domain.id().to_string(), id.to_owned());
        match of {
            Of::X509 => {
                self.store.write(TaintX509Authority { trust_domain, subject_key_id: id.clone() }).await?;
                self.given_up.insert(id);
                self.signing.taint(self.x509.old().map(|old| old.certificate.clone()));
            }
            Of::Jwt => drop(self.store.write(TaintJwtAuthority { trust_domain, key_id: id }).await?),
        }
        Ok(old)
    }

    async fn revoke(&mut self, of: Of, id: &str) -> Result<(), OrderError> {
        let state = self.state(of)?;
        self.is_root(of)?;
        state.is_not_active(id)?;
        let place = match state.named(id) {
            Ok((place, _)) => Some(place),
            Err(OrderError::Unexpected) => None,
            Err(error) => return Err(error),
        };
        let (trust_domain, id) = (self.trust_domain.id().to_string(), id.to_owned());
        match of {
            Of::X509 if place == Some(Place::Old) => {
                self.store.write(RevokeX509Authority { trust_domain, subject_key_id: id.clone() }).await?;
                self.given_up.insert(id);
            }
            Of::X509 => return Err(OrderError::NotOld),
            Of::Jwt => {
                match place {
                    Some(Place::Prepared) => return Err(OrderError::Prepared),
                    Some(Place::Old) => {}
                    // One that lost its place before it could sign, or that another server made.
                    None if self.publishes_jwt(&id).await? => {}
                    None => return Err(OrderError::Unknown),
                }
                self.store.write(RevokeJwtAuthority { trust_domain, key_id: id }).await?;
            }
        }
        Ok(())
    }

    fn is_root(&self, of: Of) -> Result<(), OrderError> {
        if of == Of::X509 && self.upstream.is_some() { Err(OrderError::HasUpstream) } else { Ok(()) }
    }

    async fn publishes_jwt(&self, key_id: &str) -> Result<bool, OrderError> {
        let bundle = self.store.fetch_bundle(self.trust_domain.id().as_str()).await?;
        Ok(bundle.is_some_and(|bundle| bundle.jwt_signing_keys.iter().any(|key| key.kid == key_id)))
    }
}

impl State {
    /// The authority beside the active one, if it is the one that is named.
    fn named(self, id: &str) -> Result<(Place, Described), OrderError> {
        if id.is_empty() {
            return Err(OrderError::NoId);
        }
        self.next.filter(|(_, next)| next.authority_id == id).ok_or(OrderError::Unexpected)
    }

    fn is_not_active(&self, id: &str) -> Result<(), OrderError> {
        if self.active.authority_id == id { Err(OrderError::Active) } else { Ok(()) }
    }
}

impl<A: Authority> Slots<A> {
    fn state(&self) -> Result<State, OrderError> {
        let active = self.active().map(describe).ok_or(OrderError::NotRunning)?;
        let prepared = self.prepared().map(|authority| (Place::Prepared, describe(authority)));
        let old = || self.old().map(|authority| (Place::Old, describe(authority)));
        Ok(State { active, next: prepared.or_else(old) })
    }
}

fn describe(authority: &impl Authority) -> Described {
    Described {
        authority_id: authority.authority_id(),
        expires_at: unix_seconds(authority.not_after()),
        upstream_id: authority.upstream_id(),
    }
}
