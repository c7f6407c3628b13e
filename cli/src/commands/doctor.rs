//! `ppwasm doctor`.
use crate::{args::Doctor, exit_code::ExitCode, failure::Result};
pub(crate) fn doctor(_: &Doctor) -> Result<ExitCode> {
    Ok(ExitCode::Succeeded)
}
