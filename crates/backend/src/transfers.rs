//! What crosses between the host's memory and a device's.

use std::fmt;
use std::sync::Mutex;

/// In which direction a value crosses, and at which end of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crossing {
    /// An input of the model goes in.
    In,
    /// An output of the model comes out.
    Out,
    /// In the middle of the model, the device takes a value that the host has.
    ToDevice,
    /// In the middle of the model, the host takes a value that the device has.
    ToHost,
}

/// A value that crosses between the host and a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The value's name.
    pub value: String,
    /// Bytes of its elements as the host holds them.
    pub bytes: u64,
    /// Where it goes.
    pub crossing: Crossing,
    /// The node that asks for it; `None` for an output, which the caller asks for.
    pub node: Option<String>,
    /// Why it crosses.
    pub reason: String,
}

/// What crosses in a run, in order.
///
/// In one line: `3 transfers: 1 in (602 KiB), 2 out (33.0 KiB), 0 between`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfers(pub Vec<Transfer>);

/// Collects the transfers of the runs that carry it.
#[derive(Debug, Default)]
pub struct TransferLog(Mutex<Vec<Transfer>>);

impl Crossing {
    /// Whether it is in the middle of the model.
    pub fn is_between(self) -> bool {
        matches!(self, Crossing::ToDevice | Crossing::ToHost)
    }

    /// One word: `in`, `out`, `to device`, `to host`.
    pub fn name(self) -> &'static str {
        match self {
            Crossing::In => "in",
            Crossing::Out => "out",
            Crossing::ToDevice => "to device",
            Crossing::ToHost => "to host",
        }
    }
}

impl Transfers {
    /// Those in the middle of the model.
    pub fn between(&self) -> impl Iterator<Item = &Transfer> {
        self.0.iter().filter(|transfer| transfer.crossing.is_between())
    }

    /// How many values cross this way, and their bytes.
    pub fn count(&self, crossing: Crossing) -> (usize, u64) {
        sum(self.0.iter().filter(|transfer| transfer.crossing == crossing))
    }

    /// Number of transfers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing crosses.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TransferLog {
    /// An empty log.
    pub fn new() -> TransferLog {
        TransferLog::default()
    }

    /// Adds a transfer.
    pub fn record(&self, transfer: Transfer) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(transfer);
    }

    /// The transfers so far.
    pub fn transfers(&self) -> Transfers {
        Transfers(self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone())
    }
}

impl fmt::Display for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |(count, bytes): (usize, u64), name: &str| match count {
            0 => format!("0 {name}"),
            _ => format!("{count} {name} ({})", Bytes(bytes)),
        };
        let s = if self.len() == 1 { "" } else { "s" };
        write!(
            f,
            "{} transfer{s}: {}, {}, {}",
            self.len(),
            part(self.count(Crossing::In), "in"),
            part(self.count(Crossing::Out), "out"),
            part(sum(self.between()), "between")
        )
    }
}

fn sum<'a>(transfers: impl Iterator<Item = &'a Transfer>) -> (usize, u64) {
    transfers.fold((0, 0u64), |(count, bytes), transfer| (count + 1, bytes.saturating_add(transfer.bytes)))
}

/// Bytes in the largest unit of which there is one, in three digits.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = [(30, "GiB"), (20, "MiB"), (10, "KiB")].into_iter().find(|(shift, _)| self.0 >> shift > 0);
        let Some((shift, unit)) = unit else { return write!(f, "{} B", self.0) };
        let value = self.0 as f64 / (1u64 << shift) as f64;
        let decimals = if value >= 99.95 {
            0
        } else if value >= 9.995 {
            1
        } else {
            2
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_all() {
        let transfer = |bytes, crossing| Transfer {
            value: "x".into(),
            bytes,
            crossing,
            node: None,
            reason: "it is wanted".into(),
        };
        let log = TransferLog::new();
        log.record(transfer(602 << 10, Crossing::In));
        log.record(transfer(33 << 10, Crossing::Out));
        log.record(transfer(5, Crossing::Out));
        let line = log.transfers().to_string();
        assert_eq!(line, "3 transfers: 1 in (602 KiB), 2 out (33.0 KiB), 0 between");
        log.record(transfer(7, Crossing::ToHost));
        log.record(transfer(9 << 20, Crossing::ToDevice));
        let transfers = log.transfers();
        assert!(transfers.to_string().ends_with("2 between (9.00 MiB)"), "{transfers}");
        assert_eq!((transfers.between().count(), transfers.count(Crossing::ToHost)), (2, (1, 7)));
        assert_eq!(Transfers::default().to_string(), "0 transfers: 0 in, 0 out, 0 between");
    }
}
