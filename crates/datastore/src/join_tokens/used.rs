//! Tokens that were used, and by which key: an agent that lost the answer is answered again, and nobody else is.
//!
//! The table is our own. The reference knows nothing of it and leaves it alone; without it (a user that may not create
//! tables) a token is good for one answer, as there.

use steeple_runtime::clock::unix_seconds;

use super::JoinToken;
use crate::Error;
use crate::connection::{Connection, Row};
use crate::nodes::{self, AttestNode, Node};
use crate::sql::Sql;
use crate::writer::{Mutation, Tx};

/// Whether what was used is written down. The table is made if it is missing and `may_create` says so; what stands in the
/// way is logged, and is no error.
pub(crate) async fn prepare(db: &mut Connection, may_create: bool) -> bool {
    let why = match db.rows(Sql::new(PROBE), |_| Ok(())).await {
        Ok(_) => return true,
        Err(_) if !may_create => "disable_migration is set".to_owned(),
        Err(_) => match db.execute(Sql::new(CREATE)).await {
            Ok(_) => return true,
            Err(error) => error.to_string(),
        },
    };
    tracing::info!(
        target: "sql",
        table = "steeple_used_join_tokens",
        error = why,
        "Table is missing: an agent that loses the answer to its join token needs a new token"
    );
    false
}

/// The use of a token by one key, as [`AttestWithToken`] needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    token: String,
    digest: String,
    /// Serial number of the SVID that was the last answer; empty before there was one.
    answered: String,
}

/// A token that has been taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// The token, expired or not.
    pub token: JoinToken,
    /// Set if the same key may be answered again.
    pub by: Option<Use>,
}

/// Stores an agent that has attested by a token, as [`AttestNode`] does.
///
/// Its SVID counts as the next one as well as the one in use, until the agent is seen with it
/// ([`ActivateNodeSerial`](nodes::ActivateNodeSerial)): that is what tells an answer that may have been lost from one that
/// has arrived. When it is answered again, the first answer stays the one in use, since it may only be late.
#[derive(Clone, Debug)]
pub struct AttestWithToken {
    /// The agent.
    pub node: AttestNode,
    /// What taking out the token has given.
    pub by: Use,
}

impl Mutation for AttestWithToken {
    /// The node as it is stored now. [`Error::JoinTokenUsed`] when the answer before has arrived meanwhile, the agent was
    /// banned or deleted after it, or another attempt was faster.
    type Output = Node;
    const KEY: &'static str = "datastore.node.create";
    const CONFLICT_IS_A_RACE: bool = true;
    const IS_OF_A_CROWD: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Node, Error> {
        let Self { node, by: Use { token, digest, answered } } = self;
        let before = match find(tx, token).await? {
            Some(row) if row.digest == *digest && row.answered == *answered => unseen(tx, &row).await?,
            // It expired and was pruned between the use and its first answer, which is due all the same.
            None if answered.is_empty() => return node.apply(tx).await,
            _ => return Err(Error::JoinTokenUsed),
        };
        let attested = node.apply(tx).await?;
        let (serial, expires_at) = match before {
            Some(Node { serial, expires_at, .. }) => (serial, expires_at),
            None => (attested.serial.clone(), attested.expires_at),
        };
        let update = "UPDATE steeple_used_join_tokens SET spiffe_id = ?, answered = ? WHERE token = ?";
        tx.db.execute(Sql::new(update).bind(&node.spiffe_id).bind(&node.serial).bind(token)).await?;
        let update = "UPDATE attested_node_entries SET serial_number = ?, expires_at = ?, new_serial_number = ?, \
                      new_expires_at = ? WHERE spiffe_id = ?";
        let update = Sql::new(update).bind(serial.as_deref()).bind(nodes::time(expires_at));
        let update = update.bind(&node.serial).bind(nodes::time(node.expires_at)).bind(&node.spiffe_id);
        tx.db.execute(update).await?;
        let (new_serial, new_expires_at) = (node.serial.clone(), Some(node.expires_at));
        Ok(Node { serial, expires_at, new_serial, new_expires_at, ..attested })
    }
}

/// An agent was seen with the SVID in use while there is a next one: an answer to its token that was taken for lost has
/// arrived, so that there is no other.
#[derive(Clone, Debug)]
pub struct EndAnswers {
    /// The agent's identity.
    pub spiffe_id: String,
}

impl Mutation for EndAnswers {
    type Output = ();
    const KEY: &'static str = "datastore.join_token.delete";
    const IS_OF_A_CROWD: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        if tx.used_join_tokens {
            let delete = "DELETE FROM steeple_used_join_tokens WHERE spiffe_id = ?";
            tx.db.execute(Sql::new(delete).bind(&self.spiffe_id)).await?;
        }
        Ok(())
    }
}

/// Writes down that `token` is used now, by a request with this digest. Without one (the request cannot be read), or when
/// the token has expired, nobody is answered again.
pub(super) async fn record(tx: &mut Tx<'_>, token: &JoinToken, digest: Option<&str>) -> Result<Option<Use>, Error> {
    if !tx.used_join_tokens {
        return Ok(None);
    }
    let JoinToken { token, expires_at } = token;
    // A token that was made again under an old name is another token.
    tx.db.execute(Sql::new("DELETE FROM steeple_used_join_tokens WHERE token = ?").bind(token)).await?;
    let Some(digest) = digest.filter(|_| *expires_at >= unix_seconds(tx.now)) else { return Ok(None) };
    let insert = "INSERT INTO steeple_used_join_tokens (token, digest, expiry, spiffe_id, answered) \
                  VALUES (?, ?, ?, '', '')";
    tx.db.execute(Sql::new(insert).bind(token).bind(digest).bind(*expires_at)).await?;
    Ok(Some(Use { token: token.clone(), digest: digest.to_owned(), answered: String::new() }))
}

/// The earlier use of a token that is not there any more, if it is to be answered again.
///
/// # Errors
/// [`Error::JoinTokenUsed`] when it is not; [`Error::NotFound`] when nothing is known of the token.
pub(super) async fn again(tx: &mut Tx<'_>, token: &str, digest: Option<&str>) -> Result<Redeemed, Error> {
    let row = if tx.used_join_tokens { find(tx, token).await? } else { None };
    let row = row.ok_or(Error::NotFound)?;
    if row.expires_at < unix_seconds(tx.now) || digest != Some(&*row.digest) {
        return Err(Error::JoinTokenUsed);
    }
    unseen(tx, &row).await?;
    let Used { digest, expires_at, spiffe_id: _, answered } = row;
    let token = token.to_owned();
    Ok(Redeemed { by: Some(Use { token: token.clone(), digest, answered }), token: JoinToken { token, expires_at } })
}

/// Forgets uses of tokens that expired before this.
pub(super) async fn prune(tx: &mut Tx<'_>, expires_before: i64) -> Result<(), Error> {
    if tx.used_join_tokens {
        let delete = "DELETE FROM steeple_used_join_tokens WHERE expiry < ?";
        tx.db.execute(Sql::new(delete).bind(expires_before)).await?;
    }
    Ok(())
}

/// A row of the table.
struct Used {
    digest: String,
    expires_at: i64,
    spiffe_id: String,
    answered: String,
}

async fn find(tx: &mut Tx<'_>, token: &str) -> Result<Option<Used>, Error> {
    let select = format!("{SELECT} WHERE token = ?{}", tx.db.dialect().row_lock());
    let read = |row: &Row| {
        Ok(Used { digest: row.text(0)?, expires_at: row.integer(1)?, spiffe_id: row.text(2)?, answered: row.text(3)? })
    };
    tx.db.row(Sql::new(select).bind(token), read).await
}

/// The agent that the last answer was for, if there was one, which may have been lost.
///
/// # Errors
/// [`Error::JoinTokenUsed`] when it has arrived: what was seen, replaced, banned or deleted since is the next SVID of no
/// agent any more.
async fn unseen(tx: &mut Tx<'_>, row: &Used) -> Result<Option<Node>, Error> {
    if row.answered.is_empty() {
        return Ok(None);
    }
    let node = nodes::by_spiffe_ids(tx.db, std::slice::from_ref(&row.spiffe_id)).await?.pop();
    let node = node.filter(|node| node.new_serial == row.answered && !node.is_banned());
    node.map(Some).ok_or(Error::JoinTokenUsed)
}

const SELECT: &str = "SELECT digest, expiry, spiffe_id, answered FROM steeple_used_join_tokens";
/// Fails without the table, and when something else bears its name.
const PROBE: &str = "SELECT token, digest, expiry, spiffe_id, answered FROM steeple_used_join_tokens WHERE token = ''";
/// The token stands in the clear, as it does in the ID of the agent that has used it.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS steeple_used_join_tokens (token varchar(255) NOT NULL PRIMARY KEY, \
                      digest varchar(64) NOT NULL, expiry bigint NOT NULL, spiffe_id varchar(255) NOT NULL, \
                      answered varchar(255) NOT NULL)";
