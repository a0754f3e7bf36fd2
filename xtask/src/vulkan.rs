//! Brings a software Vulkan driver, so that the GPU's tests run on machines without a GPU.

use std::path::Path;
use std::process::Command;

use crate::provision::step;

/// Debian's names of the loader and of Mesa's drivers, lavapipe among them.
const PACKAGES: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];

/// Where drivers say that they are there.
const MANIFESTS: [&str; 3] =
    ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// Installs the driver where no Vulkan driver is; without one, or the right to install it, the tests say that they skip.
pub(crate) fn provision() {
    let has = |folder: &&str| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    if !cfg!(target_os = "linux") || MANIFESTS.iter().any(has) {
        return;
    }
    if !Path::new("/usr/bin/apt-get").is_file() {
        return println!("provision: no Vulkan driver, and no apt-get to install one: the GPU's tests skip");
    }
    println!("provision: installing {}", PACKAGES.join(" "));
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    let apt = |args: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        step(&mut command)
    };
    let install = ["install", "-y", "--no-install-recommends", PACKAGES[0], PACKAGES[1]];
    if let Err(error) = apt(&["update"]).and_then(|()| apt(&install)) {
        println!("provision: no Vulkan driver ({error}): the GPU's tests skip");
    }
}
