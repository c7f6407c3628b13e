//! The configuration file: TOML whose every key is known, each with its line.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::SETTINGS;
use crate::failure::{Because, Failure, Result};

/// Most bytes of the file.
const BYTES_MAX: u64 = 1 << 20;

/// What the file says: keys with their values as text, and their lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct File(BTreeMap<String, Entry>);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    text: String,
    line: usize,
    /// Where the value stands in the file.
    place: Range<usize>,
}

impl File {
    /// Reads the file. There need be none.
    pub(super) fn read(path: &Path) -> Result<Self> {
        match read(path)? {
            Some(text) => Self::parse(&text, path),
            None => Ok(Self::default()),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let at = |place: Range<usize>| {
            let before = text.get(..place.start).unwrap_or_default();
            before.matches('\n').count() + 1
        };
        let shown = path.display();
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, at);
            let what = error.message().replace('\n', ", ");
            Failure::usage(format!("{shown}, line {line}: {what}"))
        })?;
        let mut entries = BTreeMap::new();
        let mut tables = vec![(String::new(), table.into_inner())];
        while let Some((prefix, table)) = tables.pop() {
            for (name, value) in table {
                let line = at(name.span());
                let key = format!("{prefix}{}", name.into_inner());
                let place = value.span();
                let is_known = SETTINGS.iter().any(|setting| setting.key == key);
                let is_table = SETTINGS
                    .iter()
                    .any(|setting| setting.key.starts_with(&format!("{key}.")));
                let text = match value.into_inner() {
                    DeValue::Table(table) if is_table => {
                        tables.push((format!("{key}."), table));
                        continue;
                    }
                    _ if !is_known => return Err(unknown(&key, path, line)),
                    DeValue::String(text) => text.into_owned(),
                    DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
                    DeValue::Boolean(value) => value.to_string(),
                    other => {
                        return Err(Failure::usage(format!(
                            "{shown}, line {line}: {key} cannot be {} {}",
                            article(other.type_str()),
                            other.type_str()
                        )));
                    }
                };
                entries.insert(key, Entry { text, line, place });
            }
        }
        Ok(Self(entries))
    }

    /// A key's value and line.
    pub(super) fn value(&self, key: &str) -> Option<(&str, usize)> {
        let entry = self.0.get(key)?;
        Some((&entry.text, entry.line))
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

fn unknown(key: &str, path: &Path, line: usize) -> Failure {
    let known: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
    Failure::usage(format!(
        "{}, line {line}: there is no setting {key:?}; there are: {}",
        path.display(),
        known.join(", ")
    ))
}

fn read(path: &Path) -> Result<Option<String>> {
    let what = || format!("could not read {}", path.display());
    match fs::metadata(path) {
        Ok(info) if info.len() > BYTES_MAX => {
            return Err(Failure::usage(format!("{} is too large", path.display())));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).usage(what()),
    }
    fs::read_to_string(path).usage(what()).map(Some)
}

/// Sets a key outside all tables in the file at `path`, which is made if need be; whatever else is in it stays.
///
/// # Errors
///
/// The file is not as it should be, or cannot be written.
pub(crate) fn set_in_file(path: &Path, key: &str, value: &str) -> Result<()> {
    let mut text = read(path)?.unwrap_or_default();
    let file = File::parse(&text, path)?;
    // A JSON string without what TOML lacks is a TOML string.
    let quoted = format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    match file.0.get(key) {
        Some(entry) => text.replace_range(entry.place.clone(), &quoted),
        None => text.insert_str(0, &format!("{key} = {quoted}\n")),
    }
    write(path, &text)
}

/// Removes a key outside all tables, with its line, from the file at `path`, if both are there.
///
/// # Errors
///
/// As [`set_in_file`].
pub(crate) fn remove_from_file(path: &Path, key: &str) -> Result<()> {
    let Some(text) = read(path)? else {
        return Ok(());
    };
    let file = File::parse(&text, path)?;
    let Some(entry) = file.0.get(key) else {
        return Ok(());
    };
    let lines = text.split_inclusive('\n').enumerate();
    let kept = lines.filter(|(at, _)| at + 1 != entry.line);
    write(path, &kept.map(|(_, line)| line).collect::<String>())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let what = || format!("could not write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).machine(what())?;
    }
    // Whole or not at all.
    let new = path.with_extension("toml.new");
    fs::write(&new, text).machine(what())?;
    fs::rename(&new, path).machine(what())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        File::parse(text, Path::new("c.toml")).map_err(|failure| match failure {
            Failure::Usage(error) => error.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn values_have_their_lines() {
        let file = parse("# x\ncoordinator = \"a:1\"\n\nconnect_timeout = '5s'\n").unwrap();
        assert_eq!(file.value("coordinator"), Some(("a:1", 2)));
        assert_eq!(file.value("connect_timeout"), Some(("5s", 4)));
        assert_eq!(file.value("other"), None);
        assert_eq!(parse("").unwrap(), File::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            (
                "\ncolour = 1",
                "c.toml, line 2: there is no setting \"colour\"; there are: coordinator, credentials, connect_timeout",
            ),
            (
                "[colour]\nred = 1",
                "line 1: there is no setting \"colour\"",
            ),
            (
                "coordinator = [1]",
                "line 1: coordinator cannot be an array",
            ),
            (
                "coordinator = {a = 1}",
                "line 1: coordinator cannot be a table",
            ),
            (
                "coordinator = 'a'\ncoordinator = 'b'",
                "line 2: duplicate key",
            ),
            ("\n\ncoordinator 5", "line 3: "),
        ];
        for (text, wanted) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_key_is_set_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.toml");
        let text = || fs::read_to_string(&path).unwrap();
        set_in_file(&path, "coordinator", "a:1").unwrap();
        assert_eq!(text(), "coordinator = \"a:1\"\n");
        fs::write(&path, "# mine\nconnect_timeout = '5s' # short\n").unwrap();
        set_in_file(&path, "coordinator", "b\"\\:2").unwrap();
        let with_key = "coordinator = \"b\\\"\\\\:2\"\n# mine\nconnect_timeout = '5s' # short\n";
        assert_eq!(text(), with_key);
        set_in_file(&path, "coordinator", "c:3").unwrap();
        assert_eq!(text(), with_key.replace("b\\\"\\\\:2", "c:3"));
        remove_from_file(&path, "coordinator").unwrap();
        assert_eq!(text(), "# mine\nconnect_timeout = '5s' # short\n");
        remove_from_file(&path, "coordinator").unwrap();
        set_in_file(&path, "coordinator", "c:3").unwrap();
        let file = File::read(&path).unwrap();
        assert_eq!(file.value("coordinator"), Some(("c:3", 1)));
    }
}
