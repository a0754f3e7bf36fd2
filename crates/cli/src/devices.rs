//! `inferrum devices`: lists devices.

use std::io::Write;

use anyhow::Result;
use inferrum::DeviceInfo;
use serde_json::{Map, Value as Json, json};

use crate::{Outcome, style};

/// Lists every device, whether it is usable, and if not why and what to do
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  inferrum devices
  inferrum devices --json";

/// Runs the command.
pub(crate) fn execute(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let devices = inferrum::devices();
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &devices.iter().map(json).collect::<Vec<_>>())?;
        writeln!(out)?;
        return Ok(Outcome::Good);
    }
    for device in &devices {
        let (heading, good, bad) = (style::HEADING, style::GOOD, style::BAD);
        match &device.usable {
            Ok(()) => {
                writeln!(out, "{heading}{}{heading:#}  {good}usable{good:#}  {}", device.id, device.name)?
            }
            Err(why) => {
                writeln!(out, "{heading}{}{heading:#}  {bad}not usable{bad:#}  {}", device.id, device.name)?;
                writeln!(out, "  why: {}", why.reason)?;
                writeln!(out, "  what to do: {}", why.remedy)?;
            }
        }
        for (name, value) in &device.details {
            writeln!(out, "  {name}: {value}")?;
        }
    }
    Ok(Outcome::Good)
}

fn json(device: &DeviceInfo) -> Json {
    let details: Map<String, Json> =
        device.details.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let why = device.usable.as_ref().err();
    json!({
        "id": device.id, "name": device.name, "usable": why.is_none(),
        "reason": why.map(|why| &why.reason), "remedy": why.map(|why| &why.remedy), "details": details,
    })
}
