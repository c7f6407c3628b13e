//! What a task costs for sizes of the queue and of the fleet: `fabric-cost [--quick] [FOLDER]` writes `fabric-cost.csv`
//! and `fabric-cost.svg` to the folder, by default `docs/`.
//!
//! Sizes of the queue are measured with one real worker of two slots; sizes of the fleet with workers that run nothing
//! (see `fabric::crowd`), so that what is left is the coordinator's cost. All answers are checked.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ppwasm_benches::Settings;
use ppwasm_benches::fabric::cost;

fn main() -> anyhow::Result<()> {
    ppwasm_benches::check_system()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let checkout = checkout.context("the crate is in a checkout")?.to_owned();
    let folder = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let folder = folder.map_or_else(|| checkout.join("docs"), PathBuf::from);
    let settings = Settings {
        quick,
        checkout,
        guest: None,
        python: "python3".into(),
        python_kind: String::new(),
        peers: None,
        counter: None,
    };
    let points = cost::measure(&settings)?;
    std::fs::write(folder.join("fabric-cost.csv"), cost::table(&points))?;
    std::fs::write(folder.join("fabric-cost.svg"), cost::plot(&points))?;
    Ok(())
}
