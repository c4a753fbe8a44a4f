//! Legacy sessions, as sealed tokens instead of a table.
//!
//! Any core of either box can open one. It binds caller, endpoint and birth; it proves nothing about
//! who sends it: the bearer token decides on every request, and a session that is another caller's
//! reads as unknown. MCP 2025-11-25, basic/transports, "Session Management".

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dataplane_telemetry::WallNanos;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest;

/// Longest client name that a session carries; the rest is cut.
pub const CLIENT_NAME_BYTES_MAX: usize = 48;
/// How long a session lives. After it the client is told 404 and initialises again.
pub const SESSION_LIFE_S: u64 = 24 * 3_600;

const VERSION: u8 = 1;
const FIXED: usize = 1 + 1 + 1 + 8 + 16 + 16;
const PLAIN_MAX: usize = FIXED + CLIENT_NAME_BYTES_MAX;
const TAG: usize = 16;
const SEALED_MAX: usize = NONCE_LEN + PLAIN_MAX + TAG;
const AAD: &[u8] = b"portcullis legacy session";

/// Random bytes that one new session needs: its nonce and its id.
pub const SESSION_ENTROPY: usize = NONCE_LEN + 16;

/// What a session id says once it is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Session {
    /// Unique for the life of the key. What ends a session names it.
    pub id: [u8; 16],
    /// Place in `dataplane_parse::SUPPORTED_LEGACY`.
    pub revision: u8,
    /// Which client capabilities were declared, as bits of [`Capabilities`].
    pub capabilities: Capabilities,
    pub born: WallNanos,
    client: [u8; CLIENT_NAME_BYTES_MAX],
    client_len: u8,
}

/// Client capabilities that matter to a server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Capabilities(pub u8);

impl Capabilities {
    pub const ELICITATION: Self = Self(1);
    pub const SAMPLING: Self = Self(2);
    pub const ROOTS: Self = Self(4);

    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub const fn with(self, other: Self, declared: bool) -> Self {
        if declared { Self(self.0 | other.0) } else { self }
    }
}

impl Session {
    #[must_use]
    pub fn new(
        id: [u8; 16],
        revision: u8,
        capabilities: Capabilities,
        client: &str,
        born: WallNanos,
    ) -> Self {
        let mut kept = [0; CLIENT_NAME_BYTES_MAX];
        let client = client.get(..client.floor_char_boundary(CLIENT_NAME_BYTES_MAX)).unwrap_or("");
        for (place, byte) in kept.iter_mut().zip(client.bytes()) {
            *place = byte;
        }
        let client_len = u8::try_from(client.len()).unwrap_or(0);
        Self { id, revision, capabilities, born, client: kept, client_len }
    }

    /// The name that the client gave itself in `initialize`.
    #[must_use]
    pub fn client(&self) -> &str {
        let bytes = self.client.get(..usize::from(self.client_len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or("")
    }
}

/// To whom a session belongs: the caller and the endpoint it was opened at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Binding([u8; 16]);

impl Binding {
    /// `parts` are joined with their lengths, so no two lists read alike.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut short = [0; 16];
        for (place, byte) in short.iter_mut().zip(context.finish().as_ref()) {
            *place = *byte;
        }
        Self(short)
    }
}

/// Seals and opens session ids.
pub struct Sealer {
    key: LessSafeKey,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Sealer(..)")
    }
}

impl Sealer {
    /// A box's key; the same for all its cores. `None` never happens with a 32-byte key, and is
    /// passed on rather than panicked over.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self { key: LessSafeKey::new(key) })
    }

    /// Appends the session id, visible ASCII, to `out`. The first twelve random bytes are the nonce:
    /// at 2^32 sessions a key the chance of a repeated one stays below 2^-32 (NIST SP 800-38D §8.3).
    pub fn seal(
        &self,
        session: &Session,
        binding: Binding,
        random: &[u8; SESSION_ENTROPY],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let (nonce, _) = random.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = [0; SEALED_MAX];
        let plain_len = FIXED + usize::from(session.client_len);
        let plain = [VERSION, session.revision, session.capabilities.0]
            .into_iter()
            .chain(session.born.0.to_le_bytes())
            .chain(session.id)
            .chain(binding.0)
            .chain(session.client);
        let (head, body) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        *head = *nonce;
        for (place, byte) in body.iter_mut().zip(plain.take(plain_len)) {
            *place = byte;
        }
        let (body, rest) = body.split_at_mut_checked(plain_len)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(AAD), body).ok()?;
        rest.get_mut(..TAG)?.copy_from_slice(tag.as_ref());
        let mut text = [0; SEALED_MAX * 4 / 3 + 4];
        let sealed = sealed.get(..NONCE_LEN + plain_len + TAG)?;
        let text_len = URL_SAFE_NO_PAD.encode_slice(sealed, &mut text).ok()?;
        out.extend_from_slice(text.get(..text_len)?);
        Some(())
    }

    /// Opens a session id, or says that there is no such session: forged, another caller's, another
    /// endpoint's, or over. The four are one answer on purpose.
    #[must_use]
    pub fn open(&self, text: &[u8], binding: Binding, now: WallNanos) -> Option<Session> {
        let mut sealed = [0; SEALED_MAX];
        let sealed_len = URL_SAFE_NO_PAD.decode_slice(text, &mut sealed).ok()?;
        let (nonce, body) = sealed.get_mut(..sealed_len)?.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.key.open_in_place(nonce, Aad::from(AAD), body).ok()?;
        let (&[VERSION, revision, capabilities], rest) = plain.split_first_chunk::<3>()? else {
            return None;
        };
        let (born, rest) = rest.split_first_chunk::<8>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (owner, client) = rest.split_first_chunk::<16>()?;
        let born = WallNanos(u64::from_le_bytes(*born));
        let alive = now.secs() < born.secs().saturating_add(SESSION_LIFE_S);
        if *owner != binding.0 || !alive {
            return None;
        }
        let client = std::str::from_utf8(client).ok()?;
        Some(Session::new(*id, revision, Capabilities(capabilities), client, born))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORN: WallNanos = WallNanos(1_000_000_000_000);

    fn sealed(sealer: &Sealer, binding: Binding) -> Vec<u8> {
        let session = Session::new([7; 16], 1, Capabilities(5), "agent", BORN);
        let mut out = Vec::new();
        sealer.seal(&session, binding, &[9; SESSION_ENTROPY], &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_sealed_opens_for_its_caller_only() {
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let (ann, bob) = (Binding::of(&[b"acme", b"ann"]), Binding::of(&[b"acme", b"bob"]));
        let text = sealed(&sealer, ann);
        let session = sealer.open(&text, ann, BORN).unwrap();
        assert_eq!((session.id, session.revision, session.client()), ([7; 16], 1, "agent"));
        assert!(session.capabilities.has(Capabilities::ELICITATION));
        assert!(!session.capabilities.has(Capabilities::SAMPLING));
        assert_eq!(sealer.open(&text, bob, BORN), None);
        assert_eq!(Sealer::new(&[2; 32]).unwrap().open(&text, ann, BORN), None);
    }

    #[test]
    fn a_session_ends_on_the_second() {
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let ann = Binding::of(&[b"ann"]);
        let text = sealed(&sealer, ann);
        let end = WallNanos::from_secs(BORN.secs() + SESSION_LIFE_S);
        assert!(sealer.open(&text, ann, WallNanos(end.0 - 1)).is_some());
        assert_eq!(sealer.open(&text, ann, end), None);
    }

    #[test]
    fn no_changed_byte_opens() {
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let ann = Binding::of(&[b"ann"]);
        let text = sealed(&sealer, ann);
        assert!(text.iter().all(|byte| (0x21..=0x7e).contains(byte)));
        for place in 0..text.len() {
            let mut changed = text.clone();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open(&changed, ann, BORN), None, "byte {place}");
            assert_eq!(sealer.open(&text[..place], ann, BORN), None, "cut at {place}");
        }
    }

    #[test]
    fn bindings_do_not_run_together() {
        assert_ne!(Binding::of(&[b"ab", b"c"]), Binding::of(&[b"a", b"bc"]));
    }

    #[test]
    fn a_long_client_name_is_cut_at_a_character() {
        let name = "é".repeat(30);
        let session = Session::new([0; 16], 0, Capabilities::default(), &name, BORN);
        assert_eq!(session.client().len(), CLIENT_NAME_BYTES_MAX);
    }
}
