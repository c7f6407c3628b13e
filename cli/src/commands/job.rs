//! `ppwasm job`: what became of jobs, and what shall become of them.

use std::io::{self, Write};

use ppwasm_proto::JobId;
use serde::Serialize;

use crate::args::Output;
use crate::exit_code::ExitCode;
use crate::failure::Result;
use crate::job::closed;
use crate::printer::write_json;
use crate::visible;

/// The JSON documents' version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Detached {
    version: u32,
    job: JobName,
}

#[derive(Serialize)]
struct JobName {
    id: String,
    number: Option<u64>,
}

/// Tells of a job that goes on by itself.
pub(crate) fn told_detached(id: JobId, number: Option<u64>, output: Output) -> Result<ExitCode> {
    let id = id.to_string();
    let mut out = io::stdout().lock();
    let printed = match output {
        Output::Human => {
            let name = number.map_or_else(|| id.clone(), |number| number.to_string());
            visible::note(&format!(
                "submitted as job {name}; `ppwasm job wait {name}` waits for it, `ppwasm job results {name}` prints its results"
            ));
            writeln!(out, "{id}")
        }
        Output::Json => {
            let job = JobName { id, number };
            let version = VERSION;
            write_json(&mut out, &Detached { version, job }).and_then(|()| writeln!(out))
        }
    };
    printed.and_then(|()| out.flush()).map_err(closed)?;
    Ok(ExitCode::Succeeded)
}
