//! Objects that are named: instances of classes, paths, UUIDs.

use std::fmt;
use std::str::FromStr;

use super::{InvalidValue, Text};
use crate::digest::parse_hex;

/// The name of a class: its module and its qualified name there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClassName {
    /// The dotted name of the module; `builtins` for Python's own exceptions.
    pub module: String,
    /// The name in the module, dotted for a class inside another.
    pub qualname: String,
}

impl ClassName {
    /// Class `qualname` of `module`.
    pub fn new(module: impl Into<String>, qualname: impl Into<String>) -> Self {
        Self {
            module: module.into(),
            qualname: qualname.into(),
        }
    }

    /// The last part of the qualified name: Python's `__name__`.
    pub fn name(&self) -> &str {
        self.qualname
            .rsplit_once('.')
            .map_or(&self.qualname, |(_, name)| name)
    }
}

impl fmt::Display for ClassName {
    /// `module.Outer.Inner`, without the module for what is built in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.module != "builtins" {
            write!(f, "{}.", self.module)?;
        }
        f.write_str(&self.qualname)
    }
}

/// An instance of a class. What `content` is depends on the kind of class: see [`Value`](super::Value).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance<T> {
    /// Its class.
    pub class: ClassName,
    /// What it holds.
    pub content: T,
}

impl<T> Instance<T> {
    /// An instance of `class` that holds `content`.
    pub const fn new(class: ClassName, content: T) -> Self {
        Self { class, content }
    }
}

/// A path of `pathlib`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    class: PathClass,
    text: Text,
}

impl Path {
    /// A path of that class.
    ///
    /// # Errors
    ///
    /// When a POSIX path's text is not what its `str()` gives (`a//b`, `a/./b`, `a/`), or any path's is empty.
    pub fn new(class: PathClass, text: impl Into<Text>) -> Result<Self, InvalidValue> {
        let text = text.into();
        let bytes = text.as_surrogatepass();
        let is_windows = matches!(class, PathClass::Windows | PathClass::PureWindows);
        if if is_windows {
            !bytes.is_empty()
        } else {
            is_normal(bytes)
        } {
            Ok(Self { class, text })
        } else {
            Err(InvalidValue("path"))
        }
    }

    /// Its class.
    pub fn class(&self) -> PathClass {
        self.class
    }

    /// Its text.
    pub fn text(&self) -> &Text {
        &self.text
    }
}

/// Whether `str(PurePosixPath(path))` is `path`.
fn is_normal(path: &[u8]) -> bool {
    // Exactly two slashes in front are kept: POSIX lets them mean something.
    let relative = match path {
        b"." | b"/" | b"//" => return true,
        [b'/', b'/', relative @ ..] | [b'/', relative @ ..] => relative,
        relative => relative,
    };
    relative
        .split(|byte| *byte == b'/')
        .all(|part| !matches!(part, b"" | b"."))
}

/// The class of a [`Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathClass {
    /// `PosixPath`, what `Path` is on every system but Windows.
    Posix,
    /// `PurePosixPath`.
    PurePosix,
    /// `WindowsPath`.
    Windows,
    /// `PureWindowsPath`.
    PureWindows,
}

impl PathClass {
    const ALL: [Self; 4] = [
        Self::Posix,
        Self::PurePosix,
        Self::Windows,
        Self::PureWindows,
    ];

    /// The name of the class in `pathlib`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Posix => "PosixPath",
            Self::PurePosix => "PurePosixPath",
            Self::Windows => "WindowsPath",
            Self::PureWindows => "PureWindowsPath",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// A `uuid.UUID`. `Display` and `FromStr` are the form with four hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(index, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let bytes = parse_hex(&text.replace('-', "")).map_err(|_| InvalidValue("UUID"))?;
        let uuid = Self(bytes);
        if uuid.to_string() == text {
            Ok(uuid)
        } else {
            Err(InvalidValue("UUID"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_in_normal_form() {
        let new = |text: &str| Path::new(PathClass::Posix, text);
        for text in [
            ".", "/", "//", "a", "/a/b", "//a", "..", "a/..", "...", ".a", "a b",
        ] {
            assert!(new(text).is_ok(), "{text}");
        }
        for text in ["", "a/", "a//b", "///", "///a", "./a", "a/.", "/.", "a/./b"] {
            assert_eq!(new(text), Err(InvalidValue("path")), "{text}");
        }
        assert!(Path::new(PathClass::PureWindows, "C:\\a").is_ok());
    }

    #[test]
    fn class_names_show_as_python_shows_them() {
        let class = ClassName::new("job", "Outer.Inner");
        assert_eq!(
            (class.to_string().as_str(), class.name()),
            ("job.Outer.Inner", "Inner")
        );
        assert_eq!(
            ClassName::new("builtins", "ValueError").to_string(),
            "ValueError"
        );
    }

    #[test]
    fn uuids_round_trip() {
        let text = "12345678-1234-5678-1234-567812345678";
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), text);
        for text in [
            "12345678123456781234567812345678",
            "",
            "12345678-1234-5678-1234-56781234567g",
        ] {
            assert!(text.parse::<Uuid>().is_err());
        }
    }
}
