//! Sealing: AES-256-GCM under one key, from a key file or a passphrase.
//!
//! What is sealed is bound to its name, so that no row can be passed off as another. A known text is
//! sealed at first start; a wrong key is found at the next start, not at the first use.

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sqlx::SqlitePool;
use zeroize::Zeroizing;

use crate::Fault;

/// Of an AES-256 key.
pub const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// RFC 9106 §4, second recommended option: 64 MiB, three passes, four lanes.
const ARGON2_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;
const PROBE: &[u8] = b"portcullis seal probe v1";

/// Where the key comes from.
pub enum SealSource {
    /// The bytes of a key file that only we can read.
    KeyFile(Zeroizing<[u8; KEY_BYTES]>),
    /// What an operator remembers; the key is derived with a stored salt.
    Passphrase(Zeroizing<String>),
}

impl SealSource {
    fn word(&self) -> &'static str {
        match self {
            Self::KeyFile(_) => "key file",
            Self::Passphrase(_) => "passphrase",
        }
    }

    fn key(&self, salt: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, Fault> {
        match self {
            Self::KeyFile(key) => Ok(key.clone()),
            Self::Passphrase(passphrase) => {
                let seal = |error: argon2::Error| Fault::Seal(error.to_string());
                let params = Params::new(ARGON2_KIB, ARGON2_PASSES, ARGON2_LANES, Some(KEY_BYTES));
                let argon2 =
                    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(seal)?);
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                argon2.hash_password_into(passphrase.as_bytes(), salt, &mut *key).map_err(seal)?;
                Ok(key)
            }
        }
    }
}

/// The key at work.
pub struct Seal {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Seal {
    /// # Errors
    /// When the cipher does not take the key; it takes every key of this length.
    pub fn new(key: &[u8; KEY_BYTES]) -> Result<Self, Fault> {
        let key = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| Fault::Seal("the cipher refused the key".to_owned()))?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Seals `plain` for the place `name`: nonce, ciphertext, tag. Random nonces are safe for 2^32
    /// seals under one key (NIST SP 800-38D §8.3).
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn close(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let fault = |_| Fault::Seal("sealing failed: the system gave no randomness".to_owned());
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(fault)?;
        let mut text = Zeroizing::new(plain.to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                text.as_mut_slice(),
            )
            .map_err(fault)?;
        Ok([nonce.as_slice(), text.as_slice(), tag.as_ref()].concat())
    }

    /// Opens what was sealed for the place `name`.
    ///
    /// # Errors
    /// When it was sealed under another key, for another place, or was changed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let fault =
            || Fault::Seal(format!("`{name}` was not sealed under this key, or was changed"));
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(fault)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| fault())?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .key
            .open_in_place(nonce, Aad::from(name.as_bytes()), text.as_mut_slice())
            .map_err(|_| fault())?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

/// The database's seal: made at first start, checked at every other.
pub(crate) async fn open(pool: &SqlitePool, source: SealSource) -> Result<Seal, Fault> {
    let row: Option<(String, Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT made_from, salt, probe FROM seal WHERE id = 1")
            .fetch_optional(pool)
            .await?;
    let Some((made_from, salt, probe)) = row else {
        return make(pool, source).await;
    };
    if made_from != source.word() {
        return Err(Fault::Seal(format!(
            "the database was sealed by a {made_from}, and a {} was given: start with the {made_from}",
            source.word()
        )));
    }
    let seal = derive(source, salt).await?;
    seal.open("seal/probe", &probe).map_err(|_| {
        Fault::Seal(format!("this is not the {made_from} that sealed the database"))
    })?;
    Ok(seal)
}

async fn make(pool: &SqlitePool, source: SealSource) -> Result<Seal, Fault> {
    let mut salt = vec![0; SALT_BYTES];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| Fault::Seal("the system gave no randomness".to_owned()))?;
    let word = source.word();
    let seal = derive(source, salt.clone()).await?;
    let probe = seal.close("seal/probe", PROBE)?;
    sqlx::query("INSERT INTO seal (id, made_from, salt, probe) VALUES (1, $1, $2, $3)")
        .bind(word)
        .bind(salt)
        .bind(probe)
        .execute(pool)
        .await?;
    Ok(seal)
}

/// A derivation takes a second of a core: not on the runtime's own threads.
async fn derive(source: SealSource, salt: Vec<u8>) -> Result<Seal, Fault> {
    let derived = tokio::task::spawn_blocking(move || Seal::new(&*source.key(&salt)?)).await;
    derived.map_err(|error| Fault::Seal(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_at_its_own_place_and_unchanged() {
        let seal = Seal::new(&[7; KEY_BYTES]).unwrap();
        let sealed = seal.close("secret/a/1", b"value").unwrap();
        assert_eq!(seal.open("secret/a/1", &sealed).unwrap().as_slice(), b"value");
        assert!(seal.open("secret/b/1", &sealed).is_err());
        assert!(Seal::new(&[8; KEY_BYTES]).unwrap().open("secret/a/1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.open("secret/a/1", &changed).is_err(), "byte {at}");
            assert!(seal.open("secret/a/1", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_ne!(seal.close("x", b"").unwrap(), seal.close("x", b"").unwrap());
    }
}
