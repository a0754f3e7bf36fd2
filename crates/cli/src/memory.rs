//! The most memory that this process has held.

/// Bytes held at most since the start, or since [`forget`]; `None` where the system does not tell.
pub(crate) fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Begins anew: the peak is what is held now. Without effect where the system does not offer it.
pub(crate) fn forget() {
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        log::info!("the peak memory cannot be reset, so it includes what was held before: {error}");
    }
}
