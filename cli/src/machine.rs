//! What commands ask about this machine and its user, on every system.

use std::ffi::OsString;
use std::path::PathBuf;

/// The machine's name, where the system tells.
pub(crate) fn host_name() -> Option<String> {
    #[cfg(unix)]
    let name = {
        let host = rustix::system::uname();
        Some(host.nodename().to_string_lossy().into_owned())
    };
    #[cfg(not(unix))]
    let name = variable("COMPUTERNAME").and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
}

/// The user's name, where the system tells.
pub(crate) fn user_name() -> Option<String> {
    let name = variable("USER").or_else(|| variable("USERNAME"))?;
    name.into_string().ok()
}

/// Where this user's programs keep what has to last: keys, a coordinator's store.
pub(crate) fn state_folder() -> Option<PathBuf> {
    folder(variable, ["XDG_STATE_HOME", ".local/state", "LOCALAPPDATA"])
}

/// Where this user's programs have their configuration.
pub(crate) fn config_folder() -> Option<PathBuf> {
    folder(variable, ["XDG_CONFIG_HOME", ".config", "APPDATA"])
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The folder that the first variable names, if it is an absolute path; else the one below the home folder; else, as on
/// Windows, the one that the last variable names.
fn folder(
    variable: impl Fn(&str) -> Option<OsString>,
    [first, below_home, last]: [&str; 3],
) -> Option<PathBuf> {
    let of = |name| variable(name).map(PathBuf::from);
    of(first)
        .filter(|folder| folder.is_absolute())
        .or_else(|| of("HOME").map(|home| home.join(below_home)))
        .or_else(|| of(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_found_on_every_system() {
        let root = std::env::temp_dir();
        let found = |given: &[(&str, PathBuf)]| {
            let variable = |name: &str| {
                let found = given.iter().find(|(known, _)| *known == name)?;
                Some(found.1.clone().into_os_string())
            };
            folder(variable, ["FIRST", "below", "LAST"])
        };
        let [first, home, last] = [
            ("FIRST", root.join("f")),
            ("HOME", root.join("h")),
            ("LAST", root.join("l")),
        ];
        let all = [first, home.clone(), last.clone()];
        assert_eq!(found(&all), Some(root.join("f")));
        let relative = [("FIRST", "f".into()), home, last.clone()];
        assert_eq!(found(&relative), Some(root.join("h/below")));
        assert_eq!(found(&[last]), Some(root.join("l")));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(host_name().is_some());
    }
}
