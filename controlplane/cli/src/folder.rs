//! Reading a policy folder: `portcullis.toml`, `*.cedar`, `tests/*.toml`, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::fault::Fault;

/// Path below the folder → text. What is not ours (a README, an editor's copy) is left out.
pub(crate) fn read(folder: &Path) -> Result<BTreeMap<String, String>, Fault> {
    let mut files = BTreeMap::new();
    walk(folder, "", &mut files)?;
    if !files.contains_key(controlplane_api::folder::MAIN_FILE) {
        let main = folder.join(controlplane_api::folder::MAIN_FILE);
        return Err(Fault::Local(format!(
            "there is no {}: name the folder that holds it",
            main.display()
        )));
    }
    Ok(files)
}

fn walk(folder: &Path, below: &str, files: &mut BTreeMap<String, String>) -> Result<(), Fault> {
    let named = |fault: std::io::Error| Fault::Local(format!("{}: {fault}", folder.display()));
    for entry in fs::read_dir(folder).map_err(named)? {
        let entry = entry.map_err(named)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type().map_err(named)?.is_dir() {
            walk(&entry.path(), &path, files)?;
        } else if controlplane_api::folder::is_ours(&path) {
            let text = fs::read_to_string(entry.path())
                .map_err(|fault| Fault::Local(format!("{}: {fault}", entry.path().display())))?;
            files.insert(path, text);
        }
    }
    Ok(())
}
