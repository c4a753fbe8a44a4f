//! Sealed keys of our own, by name: certificate authority, signing key.

use zeroize::Zeroizing;

use crate::{Fault, Store};

impl Store {
    /// What is kept under `name`, opened; `None` before it was kept.
    ///
    /// # Errors
    /// When the database fails or what is there was not sealed by us.
    pub async fn material(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let row: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT sealed FROM materials WHERE name = $1")
                .bind(name)
                .fetch_optional(&self.reader)
                .await?;
        row.map(|(sealed,)| self.seal.open(&format!("material/{name}"), &sealed)).transpose()
    }

    /// Keeps `value` under `name` unless something is there, and gives what is there then: two that
    /// start at the same time agree.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_material(
        &self,
        name: &str,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let sealed = self.seal.close(&format!("material/{name}"), value)?;
        sqlx::query(
            "INSERT INTO materials (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(sealed)
        .execute(&self.writer)
        .await?;
        let kept = self.material(name).await?;
        kept.ok_or_else(|| Fault::Missing { what: "material", name: name.to_owned() })
    }
}
