//! A bundle: policy table, catalog and self-tests in one signed container.
//!
//! Layout, little-endian: magic 8, version u16, sections u16, total length u32, revision u64,
//! created u64, appliance (length u8, 63 bytes, zero-padded), key id 8, then for each section kind
//! u32, length u32, SHA-256; then the Ed25519 signature over everything before it; then the sections.
//!
//! The signature covers the digests and the digests cover the sections, so that a megabyte of
//! catalog is hashed once. Nothing of a section is read before both were checked.

use dataplane_telemetry::WallNanos;
use ring::digest::{SHA256, digest};

use crate::catalog::Catalog;
use crate::keys::{KeyId, PublicKey, Purpose, SIGNATURE_BYTES, Signer, verify};
use crate::limits::{BUNDLE_BYTES_MAX, NAME_BYTES_MAX};
use crate::names::{at_most, wrong};
use crate::self_test::{self, SelfTest};
use crate::wire::Reader;
use crate::{ApplianceId, Refused, Revision, json};

const MAGIC: [u8; 8] = *b"PORTBNDL";
const VERSION: u16 = 1;
const WHAT: &str = "bundle";
/// Kinds of sections, in the order in which each has to be there once.
const SECTIONS: [(u32, &str); 3] = [(1, "table"), (2, "catalog"), (3, "self-tests")];
/// Up to the first section's entry.
const HEAD_BYTES: usize = 104;
const ENTRY_BYTES: usize = 40;
const SIGNED_BYTES: usize = HEAD_BYTES + ENTRY_BYTES * SECTIONS.len();

/// An opened bundle: signed by a trusted key, for this appliance, not below the floor, every bound
/// of its catalog checked. Whether the table is well formed is for `dataplane-policy` to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bundle {
    pub appliance: ApplianceId,
    pub revision: Revision,
    /// When the control plane made this revision.
    pub created_at: WallNanos,
    pub signed_by: KeyId,
    /// SHA-256 of the signed head: equal for equal contents under the same key.
    pub content: [u8; 32],
    pub table: Vec<u8>,
    pub catalog: Catalog,
    pub self_tests: Vec<SelfTest>,
}

/// What all appliances' bundles of one revision have in common; checked and encoded once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    revision: Revision,
    created_at: WallNanos,
    /// Table, catalog, self-tests.
    sections: [Vec<u8>; 3],
    digests: [[u8; 32]; 3],
}

impl Draft {
    /// Refuses what [`Bundle::open`] would refuse.
    pub fn new(
        revision: Revision,
        created_at: WallNanos,
        table: Vec<u8>,
        catalog: &Catalog,
        self_tests: &[SelfTest],
    ) -> Result<Self, Refused> {
        check(revision, &table, catalog, self_tests)?;
        let catalog = json::write("catalog", catalog)?;
        let self_tests = json::write("self-tests", &self_tests)?;
        let size = SIGNED_BYTES + SIGNATURE_BYTES + table.len() + catalog.len() + self_tests.len();
        at_most(WHAT, size, BUNDLE_BYTES_MAX)?;
        let digests = [sha256(&table), sha256(&catalog), sha256(&self_tests)];
        Ok(Self { revision, created_at, sections: [table, catalog, self_tests], digests })
    }

    /// Whatever the sections hold: for the properties that fuzzing checks.
    pub(crate) fn unchecked(
        revision: Revision,
        created_at: WallNanos,
        sections: [&[u8]; 3],
    ) -> Self {
        let digests = sections.map(sha256);
        Self { revision, created_at, sections: sections.map(<[u8]>::to_vec), digests }
    }

    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The container for one appliance. Costs one signature and one copy.
    #[must_use]
    pub fn seal(&self, appliance: &ApplianceId, signer: &Signer) -> Vec<u8> {
        let length = self.sections.iter().map(Vec::len).sum::<usize>();
        let total = SIGNED_BYTES + SIGNATURE_BYTES + length;
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(SECTIONS.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&small(total).to_le_bytes());
        bytes.extend_from_slice(&self.revision.0.to_le_bytes());
        bytes.extend_from_slice(&self.created_at.0.to_le_bytes());
        bytes.push(u8::try_from(appliance.as_str().len()).unwrap_or(0));
        bytes.extend_from_slice(appliance.as_str().as_bytes());
        bytes.resize(HEAD_BYTES - 8, 0);
        bytes.extend_from_slice(&signer.public_key().id().0);
        for (((kind, _), section), digest) in SECTIONS.iter().zip(&self.sections).zip(&self.digests)
        {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&small(section.len()).to_le_bytes());
            bytes.extend_from_slice(digest);
        }
        let signature = signer.sign(Purpose::Bundle, &bytes);
        bytes.extend_from_slice(&signature);
        self.sections.iter().for_each(|section| bytes.extend_from_slice(section));
        bytes
    }
}

impl Bundle {
    /// Opens a bundle that one of `trusted` signed for `appliance`, of revision `floor` or newer.
    ///
    /// In order: shape, signature, appliance, floor, digests, JSON, bounds. One SHA-256 over the
    /// bytes and one parse; about 1 ms for 500 tools.
    pub fn open(
        bytes: &[u8],
        trusted: &[PublicKey],
        appliance: &ApplianceId,
        floor: Revision,
    ) -> Result<Self, Refused> {
        let mut copy = Vec::with_capacity(bytes.len() + Self::SPARE_BYTES);
        copy.extend_from_slice(bytes);
        Self::open_over(copy, trusted, appliance, floor)
    }

    /// Capacity beyond a container that spares [`Bundle::open_over`] a copy.
    pub const SPARE_BYTES: usize = json::PADDING_BYTES;

    /// As [`Bundle::open`], in place: no copy of a catalog that is read once.
    pub fn open_over(
        mut bytes: Vec<u8>,
        trusted: &[PublicKey],
        appliance: &ApplianceId,
        floor: Revision,
    ) -> Result<Self, Refused> {
        let head = Head::read(&bytes)?;
        let signed = bytes.get(..SIGNED_BYTES).unwrap_or_default();
        verify(trusted, head.key_id, Purpose::Bundle, WHAT, signed, head.signature)?;
        if head.appliance != *appliance {
            return Err(Refused::OtherAppliance {
                found: head.appliance,
                expected: appliance.clone(),
            });
        }
        if head.revision < floor {
            return Err(Refused::Older { found: head.revision, floor });
        }
        for ((entry, section), (_, name)) in head.entries.iter().zip(head.sections).zip(SECTIONS) {
            if sha256(section) != entry.digest {
                return Err(Refused::Digest { section: name });
            }
        }
        let (revision, created_at, appliance, signed_by) =
            (head.revision, head.created_at, head.appliance, head.key_id);
        let content = sha256(signed);
        let [table_bytes, catalog_bytes, tests_bytes] = head.entries.map(|entry| entry.length);
        bytes.resize(bytes.len() + Self::SPARE_BYTES, 0);
        let sections = bytes.get_mut(SIGNED_BYTES + SIGNATURE_BYTES..).unwrap_or_default();
        let (table, rest) = sections.split_at_mut_checked(table_bytes).unwrap_or_default();
        let table = table.to_vec();
        let catalog = json::read_over("catalog", rest, catalog_bytes)?;
        let self_tests = rest.get_mut(catalog_bytes..).unwrap_or_default();
        let bundle = Self {
            appliance,
            revision,
            created_at,
            signed_by,
            content,
            table,
            catalog,
            self_tests: json::read_over("self-tests", self_tests, tests_bytes)?,
        };
        check(bundle.revision, &bundle.table, &bundle.catalog, &bundle.self_tests)?;
        Ok(bundle)
    }
}

/// [`Bundle::content`] of what [`Draft::seal`] made.
#[must_use]
pub fn content(sealed: &[u8]) -> [u8; 32] {
    sha256(sealed.get(..SIGNED_BYTES).unwrap_or(sealed))
}

/// The container's frame. Not to be believed before `signature` was checked.
struct Head<'a> {
    revision: Revision,
    created_at: WallNanos,
    appliance: ApplianceId,
    key_id: KeyId,
    entries: [Entry; 3],
    signature: &'a [u8],
    sections: [&'a [u8]; 3],
}

#[derive(Clone, Copy, Default)]
struct Entry {
    length: usize,
    digest: [u8; 32],
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Refused> {
        at_most(WHAT, bytes.len(), BUNDLE_BYTES_MAX)?;
        let mut reader = Reader::new(WHAT, bytes);
        let magic = reader.array()?;
        if magic != MAGIC {
            return Err(Refused::Magic { what: WHAT, found: magic });
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(Refused::Version { what: WHAT, found: version, supported: VERSION });
        }
        let count = usize::from(reader.u16()?);
        if count != SECTIONS.len() {
            let rule = "a bundle has exactly three sections";
            return Err(Refused::Section { place: count, found: 0, rule });
        }
        let total = reader.u32()? as usize;
        if bytes.len() < total {
            return Err(Refused::Truncated { what: WHAT, have: bytes.len(), need: total });
        }
        let revision = Revision(reader.u64()?);
        let created_at = WallNanos(reader.u64()?);
        let appliance = appliance(&mut reader)?;
        let key_id = KeyId(reader.array()?);
        let entries = entries(&mut reader)?;
        let signature = reader.bytes(SIGNATURE_BYTES)?;
        let mut sections: [&[u8]; 3] = [&[]; 3];
        for (section, entry) in sections.iter_mut().zip(&entries) {
            *section = reader.bytes(entry.length)?;
        }
        if reader.at() != total {
            return Err(Refused::Truncated { what: WHAT, have: reader.at(), need: total });
        }
        reader.end()?;
        Ok(Self { revision, created_at, appliance, key_id, entries, signature, sections })
    }
}

fn appliance(reader: &mut Reader<'_>) -> Result<ApplianceId, Refused> {
    let length = usize::from(reader.u8()?);
    let padded: [u8; NAME_BYTES_MAX] = reader.array()?;
    let (text, padding) = padded.split_at_checked(length).unwrap_or((&padded, &[]));
    let rule = "is not a name padded with zeros";
    match std::str::from_utf8(text) {
        Ok(text) if padding.iter().all(|&byte| byte == 0) => ApplianceId::new(text),
        _ => Err(wrong("appliance", &String::from_utf8_lossy(text), rule)),
    }
}

fn entries(reader: &mut Reader<'_>) -> Result<[Entry; 3], Refused> {
    let mut entries = [Entry::default(); 3];
    for (place, (entry, (kind, _))) in entries.iter_mut().zip(SECTIONS).enumerate() {
        let found = reader.u32()?;
        if found != kind {
            let rule = "the sections are table (1), catalog (2), self-tests (3), each once";
            return Err(Refused::Section { place, found, rule });
        }
        *entry = Entry { length: reader.u32()? as usize, digest: reader.array()? };
    }
    Ok(entries)
}

/// What is checked on both sides.
fn check(
    revision: Revision,
    table: &[u8],
    catalog: &Catalog,
    self_tests: &[SelfTest],
) -> Result<(), Refused> {
    if revision == Revision(0) {
        return Err(wrong("revision", "0", "has to be at least 1"));
    }
    if table.is_empty() {
        return Err(wrong("table", "", "is empty: even a table without rules has a head"));
    }
    catalog.check()?;
    self_test::check(self_tests)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

/// Lengths are below `BUNDLE_BYTES_MAX`, which fits.
fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
