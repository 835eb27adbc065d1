//! A server that is killed while an operator gives its authorities up by hand: each order is carried out or not, and if not
//! can be given again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use steeple_spiffe::Certificate;
use steeple_spiffe::x509::hex;
use steeple_tests::{Domain, Kill, Server, Shim, Trap};

use super::authorities::Authorities;
use super::{SOME_WRITES, killed, lanes, leaves_nothing_bad};

/// Servers that are killed at the same time.
const LANES: usize = 4;

#[test]
fn a_server_that_is_killed_while_its_authorities_are_given_up_has_carried_out_each_order_or_not() -> Result<()> {
    killed("authorities that are given up by hand", SOME_WRITES, async |scratch, shim, plan| {
        lanes(0..LANES, async |lane| {
            let domain = Domain::builder().write(scratch)?;
            Lane { domain, shim, held: BTreeMap::new() }.run(plan.points_of(lane, LANES), plan.how).await
        })
        .await
    })
}

/// One server, which is killed again and again.
struct Lane<'s> {
    domain: Domain,
    shim: &'s Shim,
    /// By kind, as the server told it last.
    held: BTreeMap<&'static str, Held>,
}

/// The authorities of a kind.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    active: String,
    prepared: Option<String>,
    /// None when it has been revoked: then it may be shown until another one takes its place, or until a restart.
    old: Option<String>,
    /// Those in the bundle, and whether they are tainted.
    published: BTreeMap<String, bool>,
}

/// A kind, and what is done to its authorities.
type Order = (&'static str, &'static str);

/// Those of a round. The next round begins with what this one leaves.
const ORDERS: [Order; 8] = [
    ("x509", "prepare"),
    ("x509", "activate"),
    ("x509", "taint"),
    ("x509", "revoke"),
    ("jwt", "prepare"),
    ("jwt", "activate"),
    ("jwt", "taint"),
    ("jwt", "revoke"),
];

impl Lane<'_> {
    /// Returns how often it was killed.
    async fn run(mut self, points: impl Iterator<Item = usize>, how: Kill) -> Result<usize> {
        let mut trap = self.start().await?;
        for kind in ["x509", "jwt"] {
            self.held.insert(kind, Held::of(&self.domain.server, kind).await?);
        }
        for (count, at) in points.enumerate() {
            trap.set(at, how)?;
            let mut was_killed = false;
            for order in ORDERS {
                let given = self.give(order).await;
                // After the restart nothing is set.
                let Some(what) = trap.sprung()? else {
                    given.with_context(|| format!("{order:?}, untouched"))?;
                    ensure!(self.is_done(order).await?, "{order:?}, untouched: {:?}", self.held);
                    continue;
                };
                was_killed = true;
                let told = format!("killed at {what} (operation {at}) in {order:?}, answered: {}", given.is_ok());
                leaves_nothing_bad(&self.domain.server)?;
                trap = self.start().await.with_context(|| told.clone())?;
                self.look_after(order, given.is_ok()).await.context(told)?;
            }
            if !was_killed {
                trap.take_away()?;
                self.domain.server.stop().await?;
                return Ok(count);
            }
        }
        bail!("no end of operations")
    }

    /// Starts the server, and looks whether its authorities agree with its keys, its bundle and its journal.
    async fn start(&mut self) -> Result<Trap> {
        let trap = self.shim.before(&mut self.domain.server, Duration::ZERO)?;
        self.domain.server.start().await?;
        Authorities::of(&self.domain.server, Duration::ZERO).await?;
        Ok(trap)
    }

    async fn give(&self, (kind, verb): Order) -> Result<()> {
        let held = &self.held[kind];
        let authority = match verb {
            "prepare" => None,
            "activate" => Some(held.prepared.as_ref().context("none is prepared")?),
            _ => Some(held.old.as_ref().context("none is old")?),
        };
        let named: Vec<&str> = authority.into_iter().flat_map(|id| ["-authorityID", id]).collect();
        let args = [&["localauthority", kind, verb], &*named].concat();
        self.domain.server.command(&args).await?.ok().map(drop)
    }

    /// Whether an order has led from the state that was known to the one that there is; that one is known then.
    async fn is_done(&mut self, (kind, verb): Order) -> Result<bool> {
        let now = Held::of(&self.domain.server, kind).await?;
        let before = self.held.insert(kind, now.clone()).context("a kind that is not known")?;
        let mut expected = before.clone();
        match verb {
            "prepare" => {
                let Some(new) = now.prepared.clone().filter(|_| before.prepared.is_none()) else { return Ok(false) };
                expected.published.insert(new.clone(), false);
                (expected.prepared, expected.old) = (Some(new), None);
            }
            "activate" => {
                expected.old = Some(std::mem::replace(&mut expected.active, before.prepared.context("none")?));
                expected.prepared = None;
            }
            "taint" => drop(expected.published.insert(before.old.context("none")?, true)),
            _ => drop(expected.published.remove(&expected.old.take().context("none")?)),
        }
        Ok(now == expected)
    }

    /// An order that had its answer is carried out. Another one is, too, or is given again.
    async fn look_after(&mut self, order: Order, was_answered: bool) -> Result<()> {
        let before = self.held[order.0].clone();
        if self.is_done(order).await? {
            return Ok(());
        }
        let now = self.held[order.0].clone();
        ensure!(!was_answered, "{now:?} after {before:?}");
        // What was published before the kill and not noted signs nothing, and stays in the bundle until it ends.
        let is_as_before = (&now.active, &now.prepared, &now.old) == (&before.active, &before.prepared, &before.old)
            && before.published.iter().all(|(id, tainted)| now.published.get(id) == Some(tainted));
        ensure!(is_as_before, "in part: {now:?} after {before:?}");
        self.give(order).await.context("given again")?;
        ensure!(self.is_done(order).await?, "given again: {:?} after {now:?}", self.held);
        Ok(())
    }
}

impl Held {
    async fn of(server: &Server, kind: &str) -> Result<Self> {
        let shown = server.command(&["localauthority", kind, "show", "-output", "json"]).await?.json()?;
        let id = |place: &str| shown[place]["authority_id"].as_str().map(str::to_owned);
        let bundle = server.authorities().await?;
        let published = bundle[kind].as_array().context("no authorities")?.iter();
        let published = published.map(|authority| Ok((authority_id(authority)?, authority["tainted"] == true)));
        let published: BTreeMap<String, bool> = published.collect::<Result<_>>()?;
        Ok(Self {
            active: id("active").context("no active authority")?,
            prepared: id("prepared"),
            old: id("old").filter(|old| published.contains_key(old)),
            published,
        })
    }
}

/// Of an authority in the bundle.
fn authority_id(authority: &Value) -> Result<String> {
    if let Some(id) = authority["key_id"].as_str() {
        return Ok(id.to_owned());
    }
    let der = STANDARD.decode(authority["asn1"].as_str().context("no certificate")?)?;
    Ok(hex(Certificate::from_der(&der)?.subject_key_id().context("no key ID")?))
}
