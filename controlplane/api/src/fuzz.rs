//! Properties that the fuzz targets check.

use std::collections::BTreeMap;

use crate::folder::{self, MAIN_FILE};
use crate::{Diff, ObjectSet};

/// A folder is read or refused, never more; what was read is the same set when it is read back from
/// its objects, and differs in nothing from itself.
///
/// # Panics
/// When the property does not hold.
pub fn folder(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\0');
    let mut files = BTreeMap::new();
    for path in [MAIN_FILE, "a.cedar", "tests/a.toml"] {
        files.insert(path.to_owned(), parts.next().unwrap_or_default().to_owned());
    }
    let set = match folder::parse(&files) {
        Ok(set) => set,
        Err(problem) => {
            assert!(!problem.to_text().is_empty());
            return;
        }
    };
    let mut again = ObjectSet::default();
    for (kind, name, body) in set.entries() {
        let put = again.put(kind, &name, body);
        assert!(put.is_ok(), "{put:?}");
    }
    assert_eq!(set, again);
    assert!(Diff::between(&set, &again).is_empty());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_property_holds_for_the_first_page() {
        let text = "[identity.okta]\nissuer = \"https://idp.example.com\"\naudience = \"https://g/mcp\"\n\
                    claims = { tenant = \"org\", roles = \"groups\" }\n[servers.crm]\nurl = \"http://crm/mcp\"\n\
                    inject = { header = \"Authorization\", secret = \"crm-key\" }\n[quotas.agents]\n\
                    per = \"agent\"\ncalls = \"600/min\"\nburst = 100\n\0permit(principal, action, resource);\0\
                    [[case]]\ncaller = { tenant = \"a\" }\ncall = { tool = \"crm/x\" }\nexpect = \"deny\"\n";
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            super::folder(&text.as_bytes()[..cut]);
        }
    }
}
