//! What crosses between the host and the device, for the eye and as JSON.

use inferrum::{Crossing, Transfer, Transfers};
use serde_json::{Value as Json, json};

/// Transfers in the middle of a model that are listed.
const LISTED: usize = 8;

/// A line with the counts, then one for each transfer in the middle; none where nothing crosses.
pub(crate) fn lines(transfers: &Transfers) -> Vec<String> {
    if transfers.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![transfers.to_string()];
    let line = |transfer: &Transfer| {
        let node = transfer.node.as_ref().map(|node| format!(", for `{node}`")).unwrap_or_default();
        format!("  `{}` {}{node}: {}", transfer.value, transfer.crossing.name(), transfer.reason)
    };
    lines.extend(transfers.between().take(LISTED).map(line));
    let more = transfers.between().count().saturating_sub(LISTED);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

/// Counts, and every transfer.
pub(crate) fn json(transfers: &Transfers) -> Json {
    let count = |crossing| {
        let (values, bytes) = transfers.count(crossing);
        json!({ "values": values, "bytes": bytes })
    };
    let one = |transfer: &Transfer| {
        json!({
            "value": transfer.value, "bytes": transfer.bytes, "crossing": transfer.crossing.name(),
            "node": transfer.node, "reason": transfer.reason,
        })
    };
    json!({
        "in": count(Crossing::In), "out": count(Crossing::Out),
        "to_device": count(Crossing::ToDevice), "to_host": count(Crossing::ToHost),
        "list": transfers.0.iter().map(one).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_listed_with_node_and_reason() {
        let transfer = |value: &str, crossing, node: Option<&str>| Transfer {
            value: value.into(),
            bytes: 12,
            crossing,
            node: node.map(str::to_owned),
            reason: "why not".into(),
        };
        let mut transfers = Transfers(vec![
            transfer("x", Crossing::In, Some("conv")),
            transfer("y", Crossing::ToHost, Some("nms")),
        ]);
        let told = lines(&transfers);
        assert_eq!(told[0], "2 transfers: 1 in (12 B), 0 out, 1 between (12 B)");
        assert_eq!(told[1..], ["  `y` to host, for `nms`: why not"]);
        let json = json(&transfers);
        assert_eq!((&json["to_host"]["bytes"], &json["list"][1]["node"]), (&12.into(), &"nms".into()));
        transfers.0.extend((0..LISTED).map(|_| transfer("z", Crossing::ToDevice, None)));
        assert_eq!(lines(&transfers).last().map(String::as_str), Some("  and 1 more"));
        assert!(lines(&Transfers::default()).is_empty());
    }
}
