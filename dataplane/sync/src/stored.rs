//! What an appliance starts from when nobody answers: its last good bundle and kill list.
//!
//! Both are checked as if they had just arrived: signature, appliance, floor. A bundle that is
//! damaged, or by which the box died before ([`crate::DEATHS_MAX`]), gives way to the previous one,
//! if that is not below the floor.

use dataplane_bundle::limits::{BUNDLE_BYTES_MAX, KILL_LIST_BYTES_MAX};
use dataplane_bundle::{Bundle, KillList, Revision, content};

use crate::files::{self, CURRENT, Dirs, Floor, KILLS, PREVIOUS};
use crate::identity::Identity;
use crate::marks::{BackedOut, Marks};

/// Everything that was on disk and may be used.
#[derive(Debug)]
pub struct Stored {
    pub identity: Identity,
    /// None: no bundle ever arrived.
    pub bundle: Option<Bundle>,
    /// None: no kill list ever arrived.
    pub kills: Option<KillList>,
    /// What the operator should hear, for example that the previous bundle had to be taken.
    pub warnings: Vec<String>,
    /// The revision that the box went back from, until a newer one is good.
    pub backed_out: Option<BackedOut>,
}

impl Stored {
    /// A box that has to wait for its control plane.
    #[must_use]
    pub fn without_bundle(dirs: &Dirs, identity: Identity) -> Self {
        let backed_out = Marks::load(dirs).ok().and_then(|marks| marks.backed_out());
        Self { identity, bundle: None, kills: None, warnings: Vec::new(), backed_out }
    }

    /// What [`crate::start`] has to know of it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let active = self.bundle.as_ref().map(|bundle| (bundle.revision, bundle.content));
        let (revision, content) = active.unwrap_or_default();
        let kill_serial = self.kills.as_ref().map_or(0, |kills| kills.serial);
        Standing { revision, content, kill_serial }
    }
}

/// What the dataplane has taken up. Default: nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    pub revision: Revision,
    /// [`Bundle::content`] of the active bundle.
    pub content: [u8; 32],
    pub kill_serial: u64,
}

/// Why the disk cannot be started from. With the control plane in reach, [`crate::start`] with a
/// default [`Standing`] remedies all but the first two.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    #[error(
        "this box is not enrolled: there is no {0}. Get a token from the control plane and enrol"
    )]
    NotEnrolled(String),
    #[error("{0}")]
    Identity(String),
    #[error("{0}")]
    Floor(String),
    #[error("no bundle on disk may be used: {0}. Connect the control plane, it sends the newest")]
    Bundle(String),
    #[error(
        "the kill list on disk may not be used: {0}. Something may be killed that would be allowed \
         without it; connect the control plane, it sends the newest"
    )]
    Kills(String),
}

/// Begins a life of the box: counts the death of the one before, if it died while it was trying a
/// bundle, sets aside what it died by too often, reads the rest as [`load_from_disk`] does, and marks
/// what is not good yet as being tried. Call it once a process, before the dataplane takes anything
/// up; the process ends with [`crate::Handle::on_stop`] or [`stopped_in_order`], or it has died.
pub fn boot_from_disk(identity: Identity, dirs: &Dirs) -> Result<Stored, LoadFault> {
    let floor = Floor::load(dirs).map_err(LoadFault::Floor)?.unwrap_or_default();
    let mut warnings = Vec::new();
    let found = Marks::load(dirs).unwrap_or_else(|damaged| {
        warnings.push(format!("{damaged}; the box forgets how often it died, and by what"));
        Marks::default()
    });
    let mut marks = found.clone();
    marks.on_start(floor.revision);
    let mut written = found;
    warnings.extend(keep(dirs, &mut written, &marks));
    for name in [CURRENT, PREVIOUS] {
        warnings.extend(set_aside(dirs, &marks, name));
    }
    let mut stored = load(identity, dirs, floor, &marks)?;
    if let Some(bundle) = stored.bundle.as_ref().filter(|one| one.revision > floor.revision) {
        marks.on_run(bundle.revision, bundle.content);
        warnings.extend(keep(dirs, &mut written, &marks));
    }
    if let Some(backed_out) = &stored.backed_out {
        warnings.push(backed_out.to_string());
    }
    stored.warnings.append(&mut warnings);
    Ok(stored)
}

/// The process ends before it has a channel, and by no fault of the bundle.
pub fn stopped_in_order(dirs: &Dirs) {
    // What cannot be read or written counts as a death, which alone does no harm.
    if let Ok(found) = Marks::load(dirs) {
        let mut marks = found.clone();
        marks.on_stop();
        let _ = keep(dirs, &mut found.clone(), &marks);
    }
}

/// Writes the marks where they differ from what is on disk. A disk that takes none stops no start.
fn keep(dirs: &Dirs, written: &mut Marks, marks: &Marks) -> Option<String> {
    if written == marks {
        return None;
    }
    written.clone_from(marks);
    let fault = marks.store(dirs).err()?;
    Some(format!("it cannot be kept which bundle is tried: {fault}"))
}

fn set_aside(dirs: &Dirs, marks: &Marks, name: &str) -> Option<String> {
    marks.backed_out()?;
    let bytes = files::read(&dirs.data.join(name), BUNDLE_BYTES_MAX as u64).ok()??;
    if !marks.is_backed_out(&content(&bytes)) {
        return None;
    }
    let fault = files::set_aside(dirs, name).err()?;
    Some(format!("{name} cannot be set aside: {fault}"))
}

/// Reads and checks what is on disk, and writes nothing: about 1 ms for 500 tools.
pub fn load_from_disk(dirs: &Dirs) -> Result<Stored, LoadFault> {
    let floor = Floor::load(dirs).map_err(LoadFault::Floor)?.unwrap_or_default();
    load(load_identity(dirs)?, dirs, floor, &Marks::load(dirs).unwrap_or_default())
}

/// Who this box is.
pub fn load_identity(dirs: &Dirs) -> Result<Identity, LoadFault> {
    Identity::load(dirs).map_err(LoadFault::Identity)?.ok_or_else(|| {
        let path = dirs.data.join(files::IDENTITY);
        LoadFault::NotEnrolled(path.display().to_string())
    })
}

fn load(identity: Identity, dirs: &Dirs, floor: Floor, marks: &Marks) -> Result<Stored, LoadFault> {
    let mut warnings = Vec::new();
    let bundle = bundle(dirs, &identity, floor.revision, marks, &mut warnings)?;
    let kills = kills(dirs, &identity, floor.kill_serial)?;
    Ok(Stored { identity, bundle, kills, warnings, backed_out: marks.backed_out() })
}

fn bundle(
    dirs: &Dirs,
    identity: &Identity,
    floor: Revision,
    marks: &Marks,
    warnings: &mut Vec<String>,
) -> Result<Option<Bundle>, LoadFault> {
    let mut reasons = Vec::new();
    for name in [CURRENT, PREVIOUS] {
        match open_bundle(dirs, identity, floor, name) {
            Ok(Some(bundle)) if marks.is_backed_out(&bundle.content) => {
                reasons.push(format!("{name}: the box died by revision {}", bundle.revision));
            }
            Ok(Some(bundle)) => {
                warnings.extend(reasons.into_iter().map(|reason: String| {
                    format!("{reason}; revision {} is used instead", bundle.revision)
                }));
                return Ok(Some(bundle));
            }
            Ok(None) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() && floor > Revision(0) {
        reasons.push(format!("revision {floor} was active, and its file is gone"));
    }
    if reasons.is_empty() { Ok(None) } else { Err(LoadFault::Bundle(reasons.join("; "))) }
}

fn open_bundle(
    dirs: &Dirs,
    identity: &Identity,
    floor: Revision,
    name: &str,
) -> Result<Option<Bundle>, String> {
    let bytes = files::read(&dirs.data.join(name), BUNDLE_BYTES_MAX as u64);
    let Some(bytes) = bytes.map_err(|fault| fault.to_string())? else { return Ok(None) };
    Bundle::open_over(bytes, &identity.signing_keys, &identity.appliance, floor)
        .map(Some)
        .map_err(|refused| format!("{name}: {refused}"))
}

fn kills(dirs: &Dirs, identity: &Identity, floor: u64) -> Result<Option<KillList>, LoadFault> {
    let bytes = files::read(&dirs.data.join(KILLS), KILL_LIST_BYTES_MAX as u64)
        .map_err(|fault| LoadFault::Kills(fault.to_string()))?;
    match bytes {
        Some(bytes) => KillList::open(&bytes, &identity.signing_keys, floor)
            .map(Some)
            .map_err(|refused| LoadFault::Kills(refused.to_string())),
        None if floor > 0 => {
            Err(LoadFault::Kills(format!("list {floor} was in force, and its file is gone")))
        }
        None => Ok(None),
    }
}
