//! API tokens of the control plane: hashes, never the tokens.

use controlplane_api::Time;
use controlplane_api::bounds::TOKENS_MAX;
use controlplane_api::wire::{RoleOfToken, Token};

use crate::{Fault, Store, number, signed};

/// A token with the hash of its secret part.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRow {
    pub token: Token,
    /// SHA-256 of the secret part, in hexadecimal.
    pub sha256: String,
}

type Row = (String, String, String, String, i64, String, Option<i64>);

impl Store {
    /// # Errors
    /// `Full` past the bound; otherwise when the database fails.
    pub async fn add_token(&self, row: &TokenRow) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM tokens").fetch_one(&mut *tx).await?;
        if number(count) >= TOKENS_MAX as u64 {
            let help = "revoke those that nobody uses: `portcullis tokens` lists them";
            return Err(Fault::Full { what: "API tokens", max: TOKENS_MAX, help });
        }
        let token = &row.token;
        sqlx::query(
            "INSERT INTO tokens (id, name, role, sha256, created_at_ms, created_by, expires_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&token.id)
        .bind(&token.name)
        .bind(role_word(token.role))
        .bind(&row.sha256)
        .bind(signed(token.created_at.0))
        .bind(&token.created_by)
        .bind(token.expires_at.map(|at| signed(at.0)))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// # Errors
    /// When the database fails.
    pub async fn token(&self, id: &str) -> Result<Option<TokenRow>, Fault> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, role, sha256, created_at_ms, created_by, expires_at_ms \
             FROM tokens WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.reader)
        .await?;
        row.map(read).transpose()
    }

    /// All tokens, by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, role, sha256, created_at_ms, created_by, expires_at_ms \
             FROM tokens ORDER BY id",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(|row| read(row).map(|row| row.token)).collect()
    }

    /// Takes a token back, unless nobody could make a new one then.
    ///
    /// # Errors
    /// `Missing` when there is none; `LastAdmin` when it is the last admin's; otherwise when the database
    /// fails.
    pub async fn remove_token(&self, id: &str, now: Time) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        let (others,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM tokens WHERE role = 'admin' AND id <> $1 \
             AND (expires_at_ms IS NULL OR expires_at_ms > $2)",
        )
        .bind(id)
        .bind(signed(now.0))
        .fetch_one(&mut *tx)
        .await?;
        let row: Option<(String,)> = sqlx::query_as("SELECT role FROM tokens WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let missing = || Fault::Missing { what: "token", name: id.to_owned() };
        let (role,) = row.ok_or_else(missing)?;
        if role == role_word(RoleOfToken::Admin) && others == 0 {
            return Err(Fault::LastAdmin);
        }
        sqlx::query("DELETE FROM tokens WHERE id = $1").bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn read(row: Row) -> Result<TokenRow, Fault> {
    let (id, name, role, sha256, created_at_ms, created_by, expires_at_ms) = row;
    let role = ROLES.iter().find(|(_, word)| *word == role).map(|(role, _)| *role);
    let token = Token {
        id,
        name,
        role: role.ok_or_else(|| Fault::damaged("token", "its role is not known"))?,
        created_at: Time(number(created_at_ms)),
        created_by,
        expires_at: expires_at_ms.map(|at| Time(number(at))),
    };
    Ok(TokenRow { token, sha256 })
}

const ROLES: [(RoleOfToken, &str); 3] = [
    (RoleOfToken::Auditor, "auditor"),
    (RoleOfToken::Operator, "operator"),
    (RoleOfToken::Admin, "admin"),
];

fn role_word(role: RoleOfToken) -> &'static str {
    ROLES.iter().find(|(known, _)| *known == role).map_or("auditor", |(_, word)| word)
}
