//! Settings: a flag comes before the environment, that before the configuration file, that before the default.
//!
//! [`SETTINGS`] lists what can be set in more than one place, so that nothing else can stand in the file and
//! `ppwasm config show` misses nothing. What a value means is its user's.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::failure::{Failure, Result};
use crate::machine;

use file::File;
pub(crate) use file::{remove_from_file, set_in_file};

/// Something that can be set by a flag, the environment or the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Its name in the file; `table.name` inside a table.
    pub key: &'static str,
    /// The flag.
    pub flag: &'static str,
    /// The variable.
    pub variable: &'static str,
    /// What applies when nobody says; empty when that is nothing.
    pub default: &'static str,
}

/// The coordinator that commands go to: `HOST:PORT`.
pub(crate) const COORDINATOR: Setting = Setting {
    key: "coordinator",
    flag: "--coordinator",
    variable: "PPWASM_COORDINATOR",
    default: "",
};

/// How long to try before saying that there is no connection.
pub(crate) const CONNECT_TIMEOUT: Setting = Setting {
    key: "connect_timeout",
    flag: "--connect-timeout",
    variable: "PPWASM_CONNECT_TIMEOUT",
    default: "10s",
};

/// The file with who one is to the coordinator.
pub(crate) const CREDENTIALS: Setting = Setting {
    key: "credentials",
    flag: "--credentials",
    variable: "PPWASM_CREDENTIALS",
    default: "",
};

/// Every setting. The file may hold these and no others.
pub(crate) const SETTINGS: &[Setting] = &[COORDINATOR, CREDENTIALS, CONNECT_TIMEOUT];

/// The variable that names the folder of the configuration.
const FOLDER_VARIABLE: &str = "PPWASM_CONFIG_DIR";
/// Name of the file in it.
const FILE_NAME: &str = "config.toml";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// A line of the file.
    File(PathBuf, usize),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(variable) => f.write_str(variable),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What the environment and the file say.
#[derive(Debug)]
pub(crate) struct Config {
    folder: PathBuf,
    file: File,
}

impl Config {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no TOML, or holds a key that is not known.
    pub(crate) fn load() -> Result<Self> {
        let folder = folder()?;
        let file = File::read(&folder.join(FILE_NAME))?;
        Ok(Self { folder, file })
    }

    /// The folder that holds the file and the credentials.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file, which need not be there.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }

    /// What applies as text, and where it came from; `None` when nobody says and there is no default.
    pub(crate) fn text(
        &self,
        setting: &Setting,
        flag: Option<String>,
    ) -> Result<Option<(String, Source)>> {
        if let Some(text) = flag {
            return Ok(Some((text, Source::Flag(setting.flag))));
        }
        if let Some(text) = variable(setting.variable)? {
            return Ok(Some((text, Source::Environment(setting.variable))));
        }
        if let Some((text, line)) = self.file.value(setting.key) {
            return Ok(Some((text.to_owned(), Source::File(self.path(), line))));
        }
        let default = (!setting.default.is_empty()).then(|| setting.default.to_owned());
        Ok(default.map(|text| (text, Source::Default)))
    }

    /// What applies; `None` when nobody says and there is no default.
    ///
    /// # Errors
    ///
    /// What was said makes no sense: the error names the place.
    pub(crate) fn value<T: FromStr<Err: fmt::Display>>(
        &self,
        setting: &Setting,
        flag: Option<T>,
    ) -> Result<Option<T>> {
        if flag.is_some() {
            return Ok(flag);
        }
        let Some((text, source)) = self.text(setting, None)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(Failure::usage(format!(
                "{source}: {}: {text:?}: {error}",
                setting.key
            ))),
        }
    }
}

/// A variable of the environment; none when it is empty.
fn variable(name: &'static str) -> Result<Option<String>> {
    match std::env::var_os(name) {
        Some(text) if !text.is_empty() => match text.into_string() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Failure::usage(format!("{name}: not UTF-8"))),
        },
        _ => Ok(None),
    }
}

/// The folder of the configuration, which need not be there.
fn folder() -> Result<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = from(FOLDER_VARIABLE) {
        return Ok(folder.into());
    }
    match machine::config_folder() {
        Some(user) => Ok(user.join("ppwasm")),
        None => Err(Failure::usage(format!(
            "there is no home directory for the configuration; set {FOLDER_VARIABLE}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_flags_and_variables_name_one_setting_each() {
        for (at, one) in SETTINGS.iter().enumerate() {
            assert!(one.variable.starts_with("PPWASM_") && one.flag.starts_with("--"));
            for other in &SETTINGS[at + 1..] {
                assert_ne!(one.key, other.key);
                assert_ne!(one.variable, other.variable);
            }
        }
    }
}
