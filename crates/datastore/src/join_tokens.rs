//! Join tokens: each lets one agent attest once.

pub(crate) mod used;

use steeple_runtime::metrics::measure;

pub use used::{AttestWithToken, EndAnswers, Redeemed, Use};

use crate::Error;
use crate::connection::Row;
use crate::entries::{CreateEntry, Entry};
use crate::sql::Sql;
use crate::store::DataStore;
use crate::writer::{Mutation, Tx};

/// A join token that has not been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The token itself.
    pub token: String,
    /// Seconds since 1970 after which it is refused.
    pub expires_at: i64,
}

impl DataStore {
    /// The token, if it has not been used.
    pub async fn fetch_join_token(&self, token: &str) -> Result<Option<JoinToken>, Error> {
        measure("datastore.join_token.fetch", async {
            let mut reader = self.pool().one().await?;
            let found = reader.db.row(Sql::new(SELECT).bind(token), read).await?;
            reader.done().await?;
            Ok(found)
        })
        .await
    }
}

/// Stores a token, and with it the entry that gives the agent which attests by it another identity. Both or neither.
#[derive(Clone, Debug)]
pub struct CreateJoinToken {
    /// The token. One that is stored already is refused ([`Error::Constraint`]).
    pub token: JoinToken,
    /// The entry; a similar one that exists will do. What goes wrong with it is an [`Error::JoinTokenEntry`].
    pub entry: Option<Entry>,
}

/// Takes a token out: of several that try, one gets it, and gets it again while its answer may have been lost.
#[derive(Clone, Debug)]
pub struct ConsumeJoinToken {
    /// The token.
    pub token: String,
    /// A digest of the token and the key that the agent has proved to have. None when it has proved nothing: then the token
    /// is used up all the same, and nobody gets it again.
    pub digest: Option<String>,
}

/// Deletes tokens that have expired, used ones too. The reference never does, which does no harm but to its database.
#[derive(Clone, Debug)]
pub struct PruneJoinTokens {
    /// Tokens with an earlier expiry (seconds since 1970) go.
    pub expires_before: i64,
}

impl Mutation for CreateJoinToken {
    type Output = ();
    const KEY: &'static str = "datastore.join_token.create";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let JoinToken { token, expires_at } = &self.token;
        let insert = "INSERT INTO join_tokens (created_at, updated_at, token, expiry) VALUES (?, ?, ?, ?)";
        tx.db.execute(Sql::new(insert).bind(tx.now).bind(tx.now).bind(token).bind(*expires_at)).await?;
        if let Some(entry) = &self.entry {
            let created = CreateEntry { entry: entry.clone() }.apply(tx).await;
            created.map_err(|error| Error::JoinTokenEntry(Box::new(error)))?;
        }
        Ok(())
    }
}

impl Mutation for ConsumeJoinToken {
    /// [`Error::JoinTokenUsed`] when it was used before, and is not to be answered again; [`Error::NotFound`] when nothing
    /// is known of it.
    type Output = Redeemed;
    const KEY: &'static str = "datastore.join_token.delete";
    const IS_OF_A_CROWD: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Redeemed, Error> {
        let Self { token, digest } = self;
        let select = format!("{SELECT}{}", tx.db.dialect().row_lock());
        let Some(found) = tx.db.row(Sql::new(select).bind(token), read).await? else {
            return used::again(tx, token, digest.as_deref()).await;
        };
        tx.db.execute(Sql::new("DELETE FROM join_tokens WHERE token = ?").bind(token)).await?;
        let by = used::record(tx, &found, digest.as_deref()).await?;
        Ok(Redeemed { token: found, by })
    }
}

impl Mutation for PruneJoinTokens {
    /// How many went that had not been used.
    type Output = u64;
    const KEY: &'static str = "datastore.join_token.prune";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Error> {
        used::prune(tx, self.expires_before).await?;
        tx.db.execute(Sql::new("DELETE FROM join_tokens WHERE expiry < ?").bind(self.expires_before)).await
    }
}

const SELECT: &str = "SELECT token, expiry FROM join_tokens WHERE token = ?";

fn read(row: &Row) -> Result<JoinToken, Error> {
    Ok(JoinToken { token: row.text(0)?, expires_at: row.integer(1)? })
}
