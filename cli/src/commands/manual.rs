//! `ppwasm completions` and `ppwasm man`: what clap knows, for shells and readers.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::{Args, Completions, Man};
use crate::exit_code::ExitCode;
use crate::failure::{Because, Result};
use crate::job::closed;

/// Prints a shell's completion script.
pub(crate) fn completions(args: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "ppwasm", &mut script);
    print(&script)
}

/// Prints the manual page, or writes it and those of the commands into a directory.
pub(crate) fn man(args: &Man) -> Result<ExitCode> {
    let mut command = Args::command();
    command.build();
    let Some(dir) = &args.dir else {
        return print(&page(command)?);
    };
    std::fs::create_dir_all(dir).usage(format!("--dir: could not create {}", dir.display()))?;
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
    let commands: Vec<_> = shown.cloned().collect();
    for command in std::iter::once(command).chain(commands) {
        let name = command
            .get_display_name()
            .unwrap_or(command.get_name())
            .to_owned();
        let path = dir.join(format!("{name}.1"));
        let written = std::fs::write(&path, page(command)?);
        written.usage(format!("--dir: could not write {}", path.display()))?;
    }
    Ok(ExitCode::Succeeded)
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .machine("could not make the manual page")?;
    Ok(page)
}

fn print(bytes: &[u8]) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(closed)?;
    Ok(ExitCode::Succeeded)
}
