//! Versions of the file format and of operator sets. Newer ones are refused, as ONNX Runtime does: what their operators
//! mean may differ.

use std::collections::BTreeMap;

use crate::error::LoadErrorKind;
use crate::proto::{ModelProto, OperatorSetIdProto, Version};
use crate::scope::{domain, function_name, shown};

/// The newest version of each operator set that is known.
const NEWEST_OPSETS: &[(&str, i64)] = &[("", 28), ("ai.onnx.ml", 5)];

/// The first IR version whose files state the operator sets that they use.
const FIRST_WITH_IMPORTS: i64 = 3;

/// Whether the model must import the operator sets that it uses.
pub(crate) fn states_imports(proto: &ModelProto) -> bool {
    proto.ir_version() >= FIRST_WITH_IMPORTS
}

/// Refuses versions that are not known, of the model and of its functions.
///
/// # Errors
/// [`LoadErrorKind::IrVersion`], [`LoadErrorKind::Opset`], [`LoadErrorKind::OpsetTwice`].
pub(crate) fn check(proto: &ModelProto) -> Result<(), LoadErrorKind> {
    let (version, newest) = (proto.ir_version(), i64::from(i32::from(Version::IrVersion)));
    if !(1..=newest).contains(&version) {
        return Err(LoadErrorKind::IrVersion { version, newest });
    }
    imports(&proto.opset_import, || String::new())?;
    proto.functions.iter().try_for_each(|function| {
        imports(&function.opset_import, || format!("function `{}` ", function_name(function)))
    })
}

fn imports(imports: &[OperatorSetIdProto], owner: impl Fn() -> String) -> Result<(), LoadErrorKind> {
    let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
    for import in imports {
        let (domain, version) = (domain(import.domain()), import.version());
        let newest = NEWEST_OPSETS.iter().find(|(known, _)| *known == domain).map_or(i64::MAX, |known| known.1);
        if !(1..=newest).contains(&version) && newest < i64::MAX {
            let domain = shown(domain).into();
            return Err(LoadErrorKind::Opset { owner: owner(), domain, version, newest });
        }
        match seen.insert(domain, version) {
            Some(first) if first != version => {
                let (owner, domain) = (owner(), shown(domain).into());
                return Err(LoadErrorKind::OpsetTwice { owner, domain, first, second: version });
            }
            _ => {}
        }
    }
    Ok(())
}
