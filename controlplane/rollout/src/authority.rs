//! The control plane's own certificate authority.
//!
//! Made once, kept sealed by the store. It issues two kinds of certificate: the control plane's own
//! (server only, made anew at each start) and the appliances' (client only), so that neither can be
//! used as the other. Nothing of a request but its public key reaches a certificate.

use dataplane_bundle::ApplianceId;
use dataplane_bundle::message::{CONTROL_NAME, Certified};
use dataplane_telemetry::WallNanos;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SubjectPublicKeyInfo,
};
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// A box whose clock is behind by less than this can still enrol.
const BACKDATED_S: u64 = 24 * 3_600;
const DAY_S: u64 = 24 * 3_600;
/// The authority outlives every box that it lets in.
pub const AUTHORITY_DAYS: u64 = 20 * 365;
/// The control plane's own certificate; renewed at half of it.
pub const SERVER_DAYS: u64 = 90;
/// Behind an appliance's name in its certificate.
const APPLIANCE_SUFFIX: &str = ".appliance.portcullis";

/// What can go wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityFault {
    #[error("the sealed authority is damaged; restore the store from a backup")]
    Damaged,
    #[error("the appliance's public key is refused: {0}")]
    PublicKey(rcgen::Error),
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the system has no randomness")]
    Randomness,
}

/// The authority's certificate and private key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Authority({})", dataplane_bundle::enrol::hex(&self.ca_sha256()))
    }
}

impl Authority {
    /// A new one, valid from `now` for twenty years.
    pub fn create(now: WallNanos) -> Result<Self, AuthorityFault> {
        let key = KeyPair::generate()?;
        let mut params = params("Portcullis control plane", now, AUTHORITY_DAYS * DAY_S)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { certificate, key: Zeroizing::new(key.serialize_der()) })
    }

    /// Everything, for the store to seal: the certificate's length (u32), certificate, key.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<Vec<u8>> {
        let length = self.certificate.len();
        let mut secret = Zeroizing::new(Vec::with_capacity(4 + length + self.key.len()));
        secret.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        secret.extend_from_slice(&self.certificate);
        secret.extend_from_slice(&self.key);
        secret
    }

    /// The reverse of [`Authority::to_secret`].
    pub fn from_secret(secret: &[u8]) -> Result<Self, AuthorityFault> {
        let (length, rest) = secret.split_first_chunk().ok_or(AuthorityFault::Damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (certificate, key) = rest.split_at_checked(length).ok_or(AuthorityFault::Damaged)?;
        let certificate = CertificateDer::from(certificate.to_vec());
        let authority = Self { certificate, key: Zeroizing::new(key.to_vec()) };
        authority.issuer().map_err(|_| AuthorityFault::Damaged)?;
        Ok(authority)
    }

    /// The CA certificate, DER.
    #[must_use]
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What enrolment tokens carry.
    #[must_use]
    pub fn ca_sha256(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// A client certificate for the appliance that has the private half of `public_key`
    /// (SubjectPublicKeyInfo, DER).
    pub fn certify(
        &self,
        appliance: &ApplianceId,
        public_key: &[u8],
        now: WallNanos,
        days: u64,
    ) -> Result<Certified, AuthorityFault> {
        let public_key =
            SubjectPublicKeyInfo::from_der(public_key).map_err(AuthorityFault::PublicKey)?;
        let life_s = days.saturating_mul(DAY_S);
        let mut params = params(appliance.as_str(), now, life_s)?;
        let name = format!("{appliance}{APPLIANCE_SUFFIX}");
        params.subject_alt_names = CertificateParams::new([name])?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(Certified {
            certificate: self.sign(&params, &public_key)?.to_vec(),
            renew_at: WallNanos::from_secs(now.secs() + life_s / 2),
            expires_at: WallNanos::from_secs(now.secs() + life_s),
        })
    }

    /// The control plane's own certificate chain, and its key (PKCS #8, DER).
    pub(crate) fn server(
        &self,
        now: WallNanos,
    ) -> Result<(Vec<CertificateDer<'static>>, Zeroizing<Vec<u8>>), AuthorityFault> {
        let key = KeyPair::generate()?;
        let mut params = params(CONTROL_NAME, now, SERVER_DAYS * DAY_S)?;
        params.subject_alt_names =
            CertificateParams::new([CONTROL_NAME.to_owned()])?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = self.sign(&params, &key)?;
        Ok((vec![certificate, self.certificate.clone()], Zeroizing::new(key.serialize_der())))
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        let key = KeyPair::try_from(self.key.as_slice())?;
        Issuer::from_ca_cert_der(&self.certificate, key)
    }

    fn sign(
        &self,
        params: &CertificateParams,
        public_key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        Ok(params.signed_by(public_key, &self.issuer()?)?.der().clone())
    }
}

/// The appliance that a certificate names. Only for one that rustls has verified.
pub(crate) fn appliance_of(certificate: &CertificateDer<'_>) -> Option<ApplianceId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    let appliance = ApplianceId::new(names.next()?.strip_suffix(APPLIANCE_SUFFIX)?).ok()?;
    names.next().is_none().then_some(appliance)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn params(name: &str, now: WallNanos, life_s: u64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(now.secs().saturating_sub(BACKDATED_S))?;
    params.not_after = date(now.secs().saturating_add(life_s))?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn date(at_s: u64) -> Result<OffsetDateTime, rcgen::Error> {
    let at_s = i64::try_from(at_s).map_err(|_| rcgen::Error::Time)?;
    OffsetDateTime::from_unix_timestamp(at_s).map_err(|_| rcgen::Error::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallNanos = WallNanos::from_secs(1_800_000_000);

    #[test]
    fn an_authority_survives_sealing() {
        let authority = Authority::create(NOW).unwrap();
        let secret = authority.to_secret();
        let again = Authority::from_secret(&secret).unwrap();
        assert_eq!(again.ca_sha256(), authority.ca_sha256());
        for cut in [0, 3, 4, 100, secret.len() - 1] {
            assert!(Authority::from_secret(&secret[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_certificate_names_its_appliance_and_its_times() {
        let authority = Authority::create(NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let appliance = ApplianceId::new("box-1").unwrap();
        let certified =
            authority.certify(&appliance, &key.subject_public_key_info(), NOW, 365).unwrap();
        let der = CertificateDer::from(certified.certificate);
        assert_eq!(appliance_of(&der), Some(appliance));
        assert_eq!(certified.expires_at.secs() - NOW.secs(), 365 * 86_400);
        assert_eq!((certified.renew_at.secs() - NOW.secs()) * 2, 365 * 86_400);
        let (server, _) = authority.server(NOW).unwrap();
        assert_eq!(appliance_of(&server[0]), None);
        assert_eq!(appliance_of(authority.ca()), None);
    }

    #[test]
    fn what_is_not_a_public_key_is_refused() {
        let authority = Authority::create(NOW).unwrap();
        let appliance = ApplianceId::new("box-1").unwrap();
        for bytes in [&b""[..], b"key", &[0x30; 91]] {
            let refused = authority.certify(&appliance, bytes, NOW, 1).unwrap_err();
            assert!(matches!(refused, AuthorityFault::PublicKey(_)), "{refused}");
        }
    }
}
