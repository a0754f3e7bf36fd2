//! The inputs that the command line gives: files of many kinds, or random values.

mod fit;
mod image_input;
mod json;
mod random;
mod shape;
mod sound;
mod text;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::builder::{OsStringValueParser, TypedValueParser};
use inferrum::graph::Fact;
use inferrum::{Inputs, Plan, Tensor, Value, ValueInfo, onnx};

pub(crate) use image_input::ImageArgs;
pub(crate) use shape::{Assumed, ShapeArg};

use crate::{npz, suggest};

/// Endings of files with images.
const IMAGES: [&str; 3] = ["png", "jpg", "jpeg"];

/// Inputs on the command line.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Inputs")]
pub(crate) struct InputArgs {
    /// An input from a file: .npy .npz .pb .json .png .jpg .wav .txt; without NAME= the next input
    #[arg(short, long = "input", value_name = "[NAME=]FILE", value_parser = OsStringValueParser::new().try_map(not_empty))]
    input: Vec<OsString>,
    /// Inputs from a .npz file, by name
    #[arg(long, value_name = "FILE.npz")]
    inputs: Vec<PathBuf>,
    /// Shape of an input that is made up, such as x=1x3x224x224; NAME= may be left out if there is one input
    #[arg(long, value_name = "[NAME=]SHAPE")]
    shape: Vec<ShapeArg>,
    /// Seed of inputs that are made up
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    image: ImageArgs,
}

/// Inputs of a run, and what to say of them.
pub(crate) struct Given {
    /// Names and values.
    pub(crate) values: Vec<(String, Value)>,
    /// For each input where it is from, for the user.
    pub(crate) notes: Vec<String>,
    made_up: bool,
}

impl Given {
    /// The inputs for a session.
    pub(crate) fn inputs(&self) -> Inputs {
        self.values.iter().cloned().collect()
    }

    /// An error of a run with these inputs: a model need not take every value and shape that is made up.
    pub(crate) fn explain(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let error = error.into();
        if self.made_up {
            error.context("with inputs made up at random (--input gives others, --shape other shapes)")
        } else {
            error
        }
    }
}

impl InputArgs {
    /// Names that the user gives to inputs, as far as they stand on the command line.
    pub(crate) fn names(&self) -> Vec<String> {
        self.input.iter().flat_map(|text| splits(text)).map(|(name, _)| name.to_owned()).collect()
    }

    /// Shapes that the user gives.
    pub(crate) fn assumed(&self, inputs: &[ValueInfo], batch: Option<usize>) -> Result<Assumed> {
        Assumed::new(&self.shape, inputs, batch)
    }

    /// The inputs of a model. All are made up if no file is given; with files, those for which a shape is given.
    ///
    /// `plan` tells whether the model takes inputs like some facts; where it leaves shapes open, it decides them.
    pub(crate) fn resolve(
        &self,
        inputs: &[ValueInfo],
        batch: Option<usize>,
        plan: impl Fn(&[Fact]) -> Result<Plan, inferrum::Error>,
    ) -> Result<Given> {
        let mut assumed = self.assumed(inputs, batch)?;
        let mut found = self.read_files(inputs, &mut assumed)?;
        if let Some(batch) = batch.filter(|_| !found.is_empty()) {
            bail!("--batch {batch} is for inputs that are made up; here files are given");
        }
        let all = found.is_empty();
        if all {
            // What cannot be planned may run all the same, or the run says what is wrong.
            let _ = assumed.settle(inputs, plan);
        }
        let mut random = random::Random::new(self.seed);
        let mut given = Given { values: Vec::new(), notes: Vec::new(), made_up: false };
        for info in inputs {
            if let Some((value, note)) = found.remove(info.name.as_str()) {
                given.notes.push(format!("{} = {} from {note}", info.name, value.describe()));
                given.values.push((info.name.clone(), value));
            } else if all || assumed.is_named(&info.name) {
                let fact = assumed.concrete(info);
                let value = random.value(&info.name, &fact).with_context(|| {
                    format!(
                        "input `{}` cannot be made up; give it with --input {}=FILE",
                        info.name, info.name
                    )
                })?;
                given.made_up = true;
                given.notes.push(format!(
                    "{} = {} made up at random, seed {}{}",
                    info.name,
                    value.describe(),
                    self.seed,
                    assumed.note(info)
                ));
                given.values.push((info.name.clone(), value));
            }
        }
        Ok(given)
    }

    /// The inputs that files give, each with where it is from; `assumed` learns their extents.
    fn read_files<'a>(
        &self,
        inputs: &'a [ValueInfo],
        assumed: &mut Assumed,
    ) -> Result<HashMap<&'a str, (Value, String)>> {
        let mut found: HashMap<&'a str, (Value, String)> = HashMap::new();
        let mut files: Vec<(Option<&ValueInfo>, &Path)> = Vec::new();
        for text in &self.input {
            files.push(named(text, inputs)?);
        }
        files.extend(self.inputs.iter().map(|path| (None, path.as_path())));
        let is_image = |(_, path): &(_, &Path)| IMAGES.contains(&extension(path).as_str());
        if let Some(option) = self.image.any().filter(|_| !files.iter().any(is_image)) {
            bail!("{option} is for images (.png, .jpg), and no input is one");
        }
        for (info, path) in files {
            for (info, value, note) in self.read(info, path, inputs, &found)? {
                let given = value.as_tensor().map(Tensor::dtype);
                let place = || format!("{}: input `{}`", path.display(), info.name);
                let value = fit::fit(value, &info.fact).with_context(place)?;
                assumed.learn(&info.fact, &value);
                assumed.check(info, &value).with_context(place)?;
                let note = match (given, value.as_tensor().map(Tensor::dtype)) {
                    (Some(given), Some(got)) if given != got => format!("{note}, converted from {given}"),
                    _ => note,
                };
                ensure!(
                    found.insert(&info.name, (value, note)).is_none(),
                    "input `{}` is given twice",
                    info.name
                );
            }
        }
        Ok(found)
    }

    /// The inputs in a file: for one input, or for as many as the file names.
    fn read<'a>(
        &self,
        info: Option<&'a ValueInfo>,
        path: &Path,
        inputs: &'a [ValueInfo],
        found: &HashMap<&str, (Value, String)>,
    ) -> Result<Vec<(&'a ValueInfo, Value, String)>> {
        check(path)?;
        let place = || path.display().to_string();
        let next = || {
            let next = info.or_else(|| inputs.iter().find(|input| !found.contains_key(input.name.as_str())));
            next.with_context(|| format!("{}: the model has no input left for it", path.display()))
        };
        let one = |info: &'a ValueInfo, value: Value, what: String| {
            Ok(vec![(info, value, format!("{}{what}", path.display()))])
        };
        match extension(path).as_str() {
            "npy" => one(next()?, npz::read_npy(path)?.into(), String::new()),
            "npz" => archive(info, path, inputs),
            "pb" => {
                let bytes = std::fs::read(path).with_context(place)?;
                let info = match info {
                    Some(info) => info,
                    None => by_stored_name(&bytes, inputs).map_or_else(next, Ok)?,
                };
                let value = onnx::value::decode(bytes, &info.fact)
                    .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
                one(info, value, String::new())
            }
            "json" => {
                let text = std::fs::read(path).with_context(place)?;
                let json: serde_json::Value = serde_json::from_slice(&text)
                    .with_context(|| format!("{} is no JSON", path.display()))?;
                match json.as_object() {
                    Some(fields) if info.is_none() && json::is_named(fields, inputs) => {
                        json_fields(fields, path, inputs)
                    }
                    _ => {
                        let info = next()?;
                        one(info, json::value(&json, &info.fact).with_context(place)?, String::new())
                    }
                }
            }
            image if IMAGES.contains(&image) => {
                let info = next()?;
                let (tensor, what) = self.image.tensor(path, info)?;
                one(info, tensor.into(), what)
            }
            "wav" => {
                let info = next()?;
                let (tensor, what) = sound::read(path, &info.fact).with_context(place)?;
                one(info, tensor.into(), what)
            }
            "txt" => {
                let info = next()?;
                let text = std::fs::read_to_string(path).with_context(place)?;
                one(info, text::value(&text, &info.fact).with_context(place)?, String::new())
            }
            _ => bail!(
                "{}: an input file ends in .npy, .npz, .pb, .json, .png, .jpg, .wav or .txt",
                path.display()
            ),
        }
    }
}

/// `NAME=FILE` apart, in every way: names and files may contain `=`. The file's need not be UTF-8 where the system does
/// not ask that.
fn splits(text: &OsStr) -> Vec<(&str, &OsStr)> {
    #[cfg(unix)]
    let (bytes, file) = {
        use std::os::unix::ffi::OsStrExt;
        (text.as_bytes(), OsStr::from_bytes as fn(&[u8]) -> &OsStr)
    };
    #[cfg(not(unix))]
    let (bytes, file) = {
        let file = |bytes| OsStr::new(std::str::from_utf8(bytes).unwrap_or_default());
        (text.to_str().unwrap_or_default().as_bytes(), file as fn(&[u8]) -> &OsStr)
    };
    let places = bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'=').map(|(at, _)| at);
    places.filter_map(|at| Some((std::str::from_utf8(&bytes[..at]).ok()?, file(&bytes[at + 1..])))).collect()
}

fn not_empty(text: OsString) -> Result<OsString, String> {
    let file = splits(&text).first().map_or(text.as_os_str(), |&(_, file)| file);
    if file.is_empty() { Err("the name of a file is missing".into()) } else { Ok(text) }
}

/// `NAME=FILE` or `FILE`.
fn named<'a, 't>(text: &'t OsStr, inputs: &'a [ValueInfo]) -> Result<(Option<&'a ValueInfo>, &'t Path)> {
    let splits = splits(text);
    let known = splits.iter().find(|(name, _)| inputs.iter().any(|input| input.name == *name));
    match known.or(splits.first()) {
        Some((name, file)) if known.is_some() || !Path::new(text).exists() => {
            Ok((Some(find(name, inputs)?), Path::new(*file)))
        }
        _ => Ok((None, Path::new(text))),
    }
}

/// The input of a name.
fn find<'a>(name: &str, inputs: &'a [ValueInfo]) -> Result<&'a ValueInfo> {
    inputs.iter().find(|input| input.name == name).with_context(|| {
        let known: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        format!("the model has no input `{name}`; {}", suggest::among(name, &known))
    })
}

/// The arrays of a `.npz` file: all by name, or the only one.
fn archive<'a>(
    info: Option<&'a ValueInfo>,
    path: &Path,
    inputs: &'a [ValueInfo],
) -> Result<Vec<(&'a ValueInfo, Value, String)>> {
    let mut arrays = npz::read_npz(path)?;
    let place = path.display().to_string();
    ensure!(!arrays.is_empty(), "{place} holds no arrays; expected one for each input, under its name");
    if let Some(info) = info {
        ensure!(
            arrays.len() == 1,
            "{place} holds {} arrays; without `{}=` each goes to the input of its name",
            arrays.len(),
            info.name
        );
        return Ok(arrays
            .pop()
            .into_iter()
            .map(|(_, tensor)| (info, tensor.into(), place.clone()))
            .collect());
    }
    let named = arrays.into_iter().map(|(name, tensor)| {
        Ok((find(&name, inputs).with_context(|| place.clone())?, tensor.into(), place.clone()))
    });
    named.collect()
}

/// The fields of a JSON object, by name.
fn json_fields<'a>(
    fields: &serde_json::Map<String, serde_json::Value>,
    path: &Path,
    inputs: &'a [ValueInfo],
) -> Result<Vec<(&'a ValueInfo, Value, String)>> {
    let place = || path.display().to_string();
    ensure!(!fields.is_empty(), "{} is an empty object; expected inputs by name", place());
    let named = fields.iter().map(|(name, json)| {
        let info = find(name, inputs).with_context(place)?;
        Ok((info, json::value(json, &info.fact).with_context(place)?, place()))
    });
    named.collect()
}

/// The input whose name a stored tensor carries.
fn by_stored_name<'a>(bytes: &[u8], inputs: &'a [ValueInfo]) -> Option<&'a ValueInfo> {
    let named = |input: &&ValueInfo| {
        onnx::value::name(bytes.to_vec(), &input.fact).is_ok_and(|name| name == input.name)
    };
    inputs.iter().find(named)
}

fn check(path: &Path) -> Result<()> {
    let about = std::fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    ensure!(!about.is_dir(), "{} is a folder; expected a file with an input", path.display());
    Ok(())
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
