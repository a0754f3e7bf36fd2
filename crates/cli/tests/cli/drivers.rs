//! The same binary on a machine without any GPU driver.

#![cfg(feature = "wgpu")]

use std::process::Output;

use serde_json::Value as Json;

use crate::command::{Done, asset, command};

/// Runs the command where no driver is found: neither Vulkan's loader nor EGL's has a list.
fn without_drivers(args: &[&str], interface: Option<&str>) -> Done {
    let mut command = command(args);
    for list in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"] {
        command.env(list, "/nonexistent");
    }
    for screen in ["DISPLAY", "WAYLAND_DISPLAY", "VK_ADD_DRIVER_FILES", "INFERRUM_WGPU_BACKEND"] {
        command.env_remove(screen);
    }
    command.envs(interface.map(|interface| ("INFERRUM_WGPU_BACKEND", interface)));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

#[cfg(target_os = "linux")]
#[test]
fn without_any_driver_every_command_says_what_to_do() {
    let model = asset("digits.onnx");
    for interface in [None, Some("vulkan")] {
        let listed = without_drivers(&["devices"], interface);
        assert_eq!(listed.code, 0, "{}", listed.err);
        for word in ["wgpu  not usable", "why: no driver offers a GPU", "what to do: install", "cpu  usable"]
        {
            assert!(listed.out.contains(word), "`{word}` is not in {}", listed.out);
        }
        let listed: Json =
            serde_json::from_str(&without_drivers(&["devices", "--json"], interface).out).unwrap();
        let gpu = listed.as_array().unwrap().iter().find(|device| device["id"] == "wgpu").unwrap();
        assert_eq!(gpu["usable"], false);
        assert!(gpu["remedy"].as_str().unwrap().contains("mesa-vulkan-drivers"), "{gpu}");
        for args in [
            &["run", &model, "--device", "wgpu"][..],
            &["run", &model, "--device", "wgpu:1", "--format", "json"],
            &["bench", &model, "--device", "wgpu", "--iters", "1"],
            &["inspect", &model, "--device", "wgpu"],
            &["compare", &model, "--device", "wgpu"],
        ] {
            let done = without_drivers(args, interface);
            assert_eq!(done.code, 1, "{args:?}: {}{}", done.out, done.err);
            assert!(
                done.err.starts_with("error:") && done.err.lines().count() == 1,
                "{args:?}: {}",
                done.err
            );
            for word in ["no driver offers a GPU", "install"] {
                assert!(done.err.contains(word), "{args:?} does not say `{word}`: {}", done.err);
            }
        }
        let done = without_drivers(&["run", &model], interface);
        assert_eq!(done.code, 0, "{}", done.err);
        let line = done.out.lines().find(|line| line.contains("device auto:")).unwrap_or_default();
        let reasons = ["this machine shows no GPU", "there is no other device: no driver offers a GPU"];
        let told = reasons.iter().any(|reason| line.contains(&format!("the processor, for {reason}")));
        assert!(told, "{}", done.out);
        let done = without_drivers(&["run", &model, "--format", "json"], interface);
        let json: Json = serde_json::from_str(&done.out).unwrap();
        assert_eq!((&json["device"], done.code), (&"cpu".into(), 0));
        assert!(json["choice"].as_str().unwrap().contains("the processor, for"), "{json}");
        let named = without_drivers(&["run", &model, "--device", "cpu"], interface);
        assert!(named.code == 0 && !named.out.contains("device auto"), "{}", named.out);
    }
}

#[test]
fn an_interface_that_does_not_exist_is_told() {
    let model = asset("digits.onnx");
    let listed = without_drivers(&["devices"], Some("opengl"));
    assert!(listed.code == 0 && listed.out.contains("INFERRUM_WGPU_BACKEND is `opengl`"), "{}", listed.out);
    let done = without_drivers(&["run", &model, "--device", "wgpu"], Some("opengl"));
    assert_eq!(done.code, 1);
    assert!(done.err.contains("vulkan, gl, metal or dx12"), "{}", done.err);
    assert_eq!(without_drivers(&["run", &model], Some("opengl")).code, 0);
}

#[test]
fn a_model_on_the_processor_has_no_transfers_to_tell() {
    let model = asset("digits.onnx");
    let done = without_drivers(&["run", &model], None);
    assert!(!done.out.contains("transfer"), "{}", done.out);
    let done = without_drivers(&["inspect", &model, "--json"], None);
    let json: Json = serde_json::from_str(&done.out).unwrap();
    assert_eq!(json["plans"][0]["transfers"]["in"]["values"], 0, "{}", json["plans"][0]);
}

/// Whether `inferrum devices` lists a GPU that can be used, which `INFERRUM_REQUIRE_ADAPTER` asks for.
fn has_adapter() -> bool {
    let has = inferrum::devices().iter().any(|info| info.id.starts_with("wgpu:") && info.usable.is_ok());
    assert!(has || std::env::var_os("INFERRUM_REQUIRE_ADAPTER").is_none(), "no adapter");
    has
}

#[test]
fn transfers_are_told_on_a_gpu() {
    if !has_adapter() {
        eprintln!("skipped: no adapter");
        return;
    }
    let model = asset("digits.onnx");
    let line = "2 transfers: 1 in (3.06 KiB), 1 out (40 B), 0 between";
    let run = crate::command::succeed(&["run", &model, "--device", "wgpu"]);
    assert!(run.contains(line), "{run}");
    let inspect = crate::command::succeed(&["inspect", &model, "--device", "wgpu"]);
    assert!(inspect.contains(line), "{inspect}");
    let json = crate::command::json(&["inspect", &model, "--device", "wgpu", "--json"]);
    let transfers = &json["plans"][0]["transfers"];
    assert_eq!((&transfers["in"]["bytes"], &transfers["list"][1]["crossing"]), (&3136.into(), &"out".into()));
    assert_eq!(transfers["list"][0]["value"], "image");
    let json = crate::command::json(&["run", &model, "--device", "wgpu", "--format", "json"]);
    assert_eq!(json["transfers"], *transfers);
}
