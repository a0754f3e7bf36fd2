//! Brings software drivers of Vulkan and OpenGL, and the compiler that stands in for CUDA's, so that the tests of GPUs run on machines
//! without one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::provision::step;

/// Debian's names of Vulkan's loader and of Mesa's drivers, lavapipe among them.
const VULKAN: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];

/// Debian's names of what offers OpenGL without a window, and of Mesa's drivers, llvmpipe among them.
const GL: [&str; 2] = ["libegl1", "libgl1-mesa-dri"];

/// Debian's name of the C++ compiler.
const COMPILER: [&str; 1] = ["g++"];

/// Where Vulkan's drivers say that they are there.
const MANIFESTS: [&str; 3] =
    ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// Installs the drivers where none are; without them, or the right to install them, the tests say that they skip.
pub(crate) fn provision() {
    let vulkan = manifests().next().is_some();
    let compiler = Command::new("g++").arg("--version").output().is_ok();
    let lacking: Vec<&str> = [(vulkan, &VULKAN[..]), (has_egl(), &GL), (compiler, &COMPILER)]
        .into_iter()
        .filter(|(there, _)| !there)
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    if !cfg!(target_os = "linux") || lacking.is_empty() {
        return;
    }
    let lacking_text = lacking.join(" ");
    if !Path::new("/usr/bin/apt-get").is_file() {
        return println!("provision: no {lacking_text}, and no apt-get to install them: tests of GPUs skip");
    }
    println!("provision: installing {lacking_text}");
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    let apt = |args: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        step(&mut command)
    };
    let install = [&["install", "-y", "--no-install-recommends"], &lacking[..]].concat();
    if let Err(error) = apt(&["update"]).and_then(|()| apt(&install)) {
        println!("provision: no {lacking_text} ({error}): tests of GPUs skip");
    }
}

fn manifests() -> impl Iterator<Item = PathBuf> {
    let files = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten();
    MANIFESTS.into_iter().flat_map(files).map(|file| file.path())
}

/// Lavapipe's manifest: Vulkan on the processor.
pub(crate) fn lavapipe() -> Option<PathBuf> {
    manifests()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")))
}

/// Whether OpenGL is offered without a window.
pub(crate) fn has_egl() -> bool {
    let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [folder.as_str(), "/usr/lib64", "/usr/lib"]
        .iter()
        .any(|folder| Path::new(folder).join("libEGL.so.1").exists())
}
