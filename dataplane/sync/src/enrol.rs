//! Enrolment: a new box trades a one-time token for a certificate.
//!
//! The token tells the digest of the control plane's authority, so the box knows whom it talks to
//! before the token leaves it. The private key is made here and stays here.

use std::path::PathBuf;

use dataplane_bundle::message::{Enrol, Enrolled};
use dataplane_bundle::{ApplianceId, EnrolmentToken};
use zeroize::Zeroizing;

use crate::files::{self, CURRENT, Dirs, FLOOR, IDENTITY, KILLS, PREVIOUS};
use crate::identity::{Identity, Key};
use crate::{stream, tls};

/// Why a box could not be enrolled. It may be tried again with the same token unless the control
/// plane refused it.
#[derive(Debug, thiserror::Error)]
pub enum EnrolFault {
    #[error("this box is already appliance \"{appliance}\"; remove {path} to enrol it anew", path = .path.display())]
    AlreadyEnrolled { appliance: ApplianceId, path: PathBuf },
    #[error("the control plane cannot be reached, or is not the one that made the token: {0}")]
    Unreachable(String),
    #[error("the control plane refused: {0}")]
    Refused(String),
    #[error("the control plane's answer makes no sense: {0}")]
    Answer(String),
    #[error("{0}")]
    Ours(String),
}

/// Enrols this box at `control` (host and port), writes the identity file, and forgets bundles,
/// kills and floor of an earlier life. Blocks for some seconds at most.
pub fn enrol(
    dirs: &Dirs,
    control: &str,
    token: &EnrolmentToken,
) -> Result<ApplianceId, EnrolFault> {
    if let Some(identity) = Identity::load(dirs).map_err(EnrolFault::Ours)? {
        let path = dirs.data.join(IDENTITY);
        return Err(EnrolFault::AlreadyEnrolled { appliance: identity.appliance, path });
    }
    let ours = |fault: &dyn std::fmt::Display| EnrolFault::Ours(fault.to_string());
    for dir in [&dirs.data, &dirs.floor] {
        std::fs::create_dir_all(dir)
            .map_err(|fault| EnrolFault::Ours(format!("{}: {fault}", dir.display())))?;
    }
    let (key, public_key) = Key::generate().map_err(EnrolFault::Ours)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|fault| ours(&fault))?;
    let request = Enrol { secret: Zeroizing::new(token.secret.clone()), public_key };
    let enrolled = runtime.block_on(ask(control, token.ca_sha256, &request))?;
    let Enrolled { appliance, certified, ca, signing_keys } = enrolled;
    let control = control.to_owned();
    let identity =
        Identity { appliance: appliance.clone(), control, signing_keys, certified, ca, key };
    tls::enrolled(&identity).map_err(EnrolFault::Answer)?;
    for name in [CURRENT, PREVIOUS, KILLS] {
        files::remove(&dirs.data.join(name)).map_err(|fault| ours(&fault))?;
    }
    files::remove(&dirs.floor.join(FLOOR)).map_err(|fault| ours(&fault))?;
    identity.store(dirs).map_err(EnrolFault::Ours)?;
    Ok(appliance)
}

async fn ask(control: &str, ca_sha256: [u8; 32], request: &Enrol) -> Result<Enrolled, EnrolFault> {
    let config = tls::enrolling(ca_sha256).map_err(EnrolFault::Ours)?;
    let message = request.encode().map_err(|refused| EnrolFault::Ours(refused.to_string()))?;
    let link = stream::connect(control, config).await.map_err(EnrolFault::Unreachable)?;
    let answer = async {
        let (mut send, mut receive) =
            link.connection.open_bi().await.map_err(|fault| fault.to_string())?;
        stream::write(&mut send, &message).await?;
        stream::read(&mut receive, None).await
    };
    let answer = answer.await.map_err(EnrolFault::Unreachable);
    link.close().await;
    let (kind, body) = answer?;
    Enrolled::decode(kind, &body)
        .map_err(|refused| EnrolFault::Answer(refused.to_string()))?
        .map_err(EnrolFault::Refused)
}
