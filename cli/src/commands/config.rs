//! `ppwasm config show`: every setting, and where its value came from.

use std::io::{self, Write};

use serde::Serialize;

use crate::args;
use crate::args::Output;
use crate::config::{CONNECT_TIMEOUT, COORDINATOR, CREDENTIALS, Config, SETTINGS, Setting, Source};
use crate::exit_code::ExitCode;
use crate::failure::Result;
use crate::job::closed;
use crate::printer::write_json;
use crate::table::{self, Column};

/// The JSON document's version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document {
    version: u32,
    file: String,
    settings: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    key: &'static str,
    value: Option<String>,
    source: &'static str,
    place: Option<String>,
}

/// Carries the command out.
pub(crate) fn config(args: &args::Config) -> Result<ExitCode> {
    match args {
        args::Config::Show(args) => show(args),
    }
}

fn show(args: &args::ConfigShow) -> Result<ExitCode> {
    let config = Config::load()?;
    let mut settings = Vec::new();
    for setting in SETTINGS {
        let found = config.text(setting, flag(args, setting))?;
        settings.push(Shown::new(setting, found));
    }
    let file = config.path().display().to_string();
    let mut out = io::stdout().lock();
    let printed = match args.output {
        Output::Human => {
            let columns = [
                Column::Left("SETTING"),
                Column::Cut("VALUE"),
                Column::Cut("FROM"),
            ];
            let rows: Vec<_> = settings.iter().map(Shown::row).collect();
            table::print(&mut out, &columns, &rows)
        }
        Output::Json => {
            let document = Document {
                version: VERSION,
                file,
                settings,
            };
            write_json(&mut out, &document).and_then(|()| out.write_all(b"\n"))
        }
    };
    printed.and_then(|()| out.flush()).map_err(closed)?;
    Ok(ExitCode::Succeeded)
}

/// What a flag of this command says.
fn flag(args: &args::ConfigShow, setting: &Setting) -> Option<String> {
    let connection = &args.connection;
    match setting {
        s if *s == COORDINATOR => connection.coordinator.as_ref().map(ToString::to_string),
        s if *s == CREDENTIALS => {
            let path = connection.credentials.as_ref();
            path.map(|path| path.display().to_string())
        }
        s if *s == CONNECT_TIMEOUT => connection.connect_timeout.map(|time| time.to_string()),
        _ => None,
    }
}

impl Shown {
    fn new(setting: &Setting, found: Option<(String, Source)>) -> Self {
        let (value, source) = match found {
            Some((value, source)) => (Some(value), source),
            None => (None, Source::Default),
        };
        let name = match source {
            Source::Flag(_) => "flag",
            Source::Environment(_) => "environment",
            Source::File(..) => "file",
            Source::Default => "default",
        };
        Self {
            key: setting.key,
            value,
            source: name,
            place: (source != Source::Default).then(|| source.to_string()),
        }
    }

    fn row(&self) -> Vec<String> {
        let from = self.place.clone().unwrap_or_else(|| self.source.into());
        vec![
            self.key.into(),
            self.value.clone().unwrap_or_else(|| "-".into()),
            from,
        ]
    }
}
