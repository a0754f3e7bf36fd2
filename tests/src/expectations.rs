//! Known failures, as data: `expectations/*.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Cases that are known to fail.
#[derive(Debug, Default)]
pub struct Expectations(BTreeMap<String, Known>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    known: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    /// Why; for the reader.
    #[serde(rename = "reason")]
    _reason: String,
    /// Whether they may pass by chance.
    #[serde(default)]
    chance: bool,
    cases: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    chance: bool,
}

impl Expectations {
    /// Reads a file.
    ///
    /// # Panics
    /// When the file is not there or is malformed, or a case stands twice.
    pub fn load(path: &Path) -> Expectations {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut all = BTreeMap::new();
        for Group { chance, cases, .. } in file.known {
            for case in cases {
                let twice = all.insert(case.clone(), Known { chance });
                assert!(twice.is_none(), "{}: {case} stands twice", path.display());
            }
        }
        Expectations(all)
    }

    /// Whether a case is known to fail.
    pub fn lists(&self, case: &str) -> bool {
        self.0.contains_key(case)
    }

    /// What contradicts the expectations: failures that are not listed, and listed cases that pass or are not there.
    pub fn surprises(&self, results: &BTreeMap<String, Result<(), String>>) -> Vec<String> {
        let unexpected = results.iter().filter_map(|(case, result)| match (result, self.0.get(case)) {
            (Err(error), None) => Some(format!("{case} fails: {error}")),
            (Ok(()), Some(Known { chance: false })) => {
                Some(format!("{case} passes, but is listed as a known failure"))
            }
            _ => None,
        });
        let absent = self.0.keys().filter(|case| !results.contains_key(*case));
        unexpected.chain(absent.map(|case| format!("{case} is listed, but there is no such case"))).collect()
    }
}
