//! Builds the process of a pod, which is a program without any library, to be carried within this one.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=init/main.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("pod-init");
    #[expect(
        clippy::disallowed_methods,
        reason = "a build has no tasks that a program could outlive"
    )]
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args([
        "init/main.rs",
        "--crate-name",
        "pod_init",
        "--crate-type",
        "bin",
        "--edition",
        "2024",
    ]);
    rustc.args(["--target", &env::var("TARGET")?, "-C", "panic=abort", "-C", "opt-level=z"]);
    rustc.args(["-C", "relocation-model=static", "-C", "strip=symbols", "-C", "debuginfo=0"]);
    for argument in
        ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"]
    {
        rustc.args(["-C", &format!("link-arg={argument}")]);
    }
    let built = rustc.arg("-o").arg(&out).status()?;
    if !built.success() {
        return Err(format!("build init/main.rs: {built}").into());
    }
    Ok(())
}
