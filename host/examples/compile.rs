//! Compiles the guest for targets, each into a folder of its own named by its profile.
//!
//! ```text
//! cargo run -p ppwasm-host --example compile -- OUTPUT PROFILE…
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use ppwasm_host::{GuestFolder, System, Target};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let output = args.next().ok_or("usage: compile OUTPUT PROFILE…")?;
    let guest = GuestFolder::open(&GuestFolder::find()?)?;
    let started = Instant::now();
    let base = guest.base_image()?;
    eprintln!("base image: {:.1} s", started.elapsed().as_secs_f64());
    for profile in args {
        let target = Target::all(System::Linux).find(|target| target.name() == profile);
        let target = target.ok_or(format!("no profile {profile}"))?;
        let started = Instant::now();
        let compiled = guest.compile(target, &base)?;
        let seconds = started.elapsed().as_secs_f64();
        let mib = compiled.artifact.len() as f64 / f64::from(1 << 20);
        eprintln!("{profile}: {seconds:.1} s, {mib:.1} MiB");
        let folder = Path::new(&output).join(&profile);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("manifest"), compiled.manifest.to_bytes())?;
        fs::write(folder.join("artifact"), compiled.artifact)?;
        fs::write(folder.join("base"), compiled.base)?;
        fs::write(folder.join("library"), guest.library_archive()?)?;
    }
    Ok(())
}
