//! The function bundle: what is sent to load a function, and what its digest is of.

use crate::cbor::{self, Reader};
use crate::digest::Digest;
use crate::outcome::EncodedValue;
use crate::value::{DecodeError, DecodeErrorKind as Kind, EncodeError, Value};

/// The version of the bundle's format.
const FORMAT: u64 = 1;

/// Files in a bundle, at most.
pub const BUNDLE_FILES_MAX: usize = 10_000;

/// Captured values in a bundle, at most.
pub const BUNDLE_CAPTURED_MAX: usize = 10_000;

/// Sources, captured values and entry point of a function or script.
///
/// A bundle that exists is valid: modules have usable names, none is there twice, and the entry's is among
/// them. Files keep the order in which they were added; another order is another bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionBundle {
    files: Vec<SourceFile>,
    entry: Entry,
    captured: Vec<(String, EncodedValue)>,
}

/// One module of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its dotted name.
    pub module: String,
    /// The path that tracebacks show.
    pub path: String,
    /// Its source, in whatever encoding it declares.
    pub source: Vec<u8>,
    /// Whether it is a package's `__init__.py`.
    pub is_package: bool,
}

/// What a bundle runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The module.
    pub module: String,
    /// The function's qualified name in it; `None` when the file runs as a script.
    pub function: Option<String>,
}

impl FunctionBundle {
    /// A bundle of one module whose function `name` is called.
    ///
    /// # Errors
    ///
    /// When a name is empty or cannot be a module's.
    pub fn function(
        module: impl Into<String>,
        path: impl Into<String>,
        source: impl Into<Vec<u8>>,
        name: impl Into<String>,
    ) -> Result<Self, BundleError> {
        let name = name.into();
        if !is_dotted(&name) {
            return Err(BundleError::FunctionName { name });
        }
        Self::new(module.into(), path.into(), source.into(), Some(name))
    }

    /// A bundle of one file that runs as `__main__` at each call.
    ///
    /// # Errors
    ///
    /// When the name cannot be a module's.
    pub fn script(
        module: impl Into<String>,
        path: impl Into<String>,
        source: impl Into<Vec<u8>>,
    ) -> Result<Self, BundleError> {
        Self::new(module.into(), path.into(), source.into(), None)
    }

    fn new(
        module: String,
        path: String,
        source: Vec<u8>,
        function: Option<String>,
    ) -> Result<Self, BundleError> {
        let entry = Entry {
            module: module.clone(),
            function,
        };
        let empty = Self {
            files: Vec::new(),
            entry,
            captured: Vec::new(),
        };
        empty.with_module(module, path, source)
    }

    /// The same bundle with one more module that the entry can import.
    ///
    /// # Errors
    ///
    /// When the name cannot be a module's or is there already.
    pub fn with_module(
        self,
        module: impl Into<String>,
        path: impl Into<String>,
        source: impl Into<Vec<u8>>,
    ) -> Result<Self, BundleError> {
        let (module, path, source) = (module.into(), path.into(), source.into());
        self.with_file(SourceFile {
            module,
            path,
            source,
            is_package: false,
        })
    }

    /// The same bundle with one more package: `source` is its `__init__.py`.
    ///
    /// # Errors
    ///
    /// When the name cannot be a module's or is there already.
    pub fn with_package(
        self,
        module: impl Into<String>,
        path: impl Into<String>,
        source: impl Into<Vec<u8>>,
    ) -> Result<Self, BundleError> {
        let (module, path, source) = (module.into(), path.into(), source.into());
        self.with_file(SourceFile {
            module,
            path,
            source,
            is_package: true,
        })
    }

    /// The same bundle with one more file.
    ///
    /// # Errors
    ///
    /// When its module's name cannot be one or is there already.
    pub fn with_file(mut self, file: SourceFile) -> Result<Self, BundleError> {
        if !is_dotted(&file.module) {
            return Err(BundleError::ModuleName { name: file.module });
        }
        if self.files.len() == BUNDLE_FILES_MAX {
            return Err(BundleError::TooManyFiles);
        }
        if self.files.iter().any(|other| other.module == file.module) {
            return Err(BundleError::DuplicateModule { name: file.module });
        }
        self.files.push(file);
        Ok(self)
    }

    /// The same bundle with a value that the entry module finds as global `name`.
    ///
    /// # Errors
    ///
    /// When the value cannot be encoded, or the name is empty or there already.
    pub fn with_captured(
        self,
        name: impl Into<String>,
        value: impl Into<Value>,
    ) -> Result<Self, BundleError> {
        let name = name.into();
        match value.into().encode() {
            Ok(bytes) => self.with_encoded(name, EncodedValue::from_bytes(bytes)),
            Err(source) => Err(BundleError::CapturedValue { name, source }),
        }
    }

    fn with_encoded(mut self, name: String, value: EncodedValue) -> Result<Self, BundleError> {
        if self.captured.len() == BUNDLE_CAPTURED_MAX {
            return Err(BundleError::TooManyCaptured);
        }
        if name.is_empty() || self.captured.iter().any(|(other, _)| *other == name) {
            return Err(BundleError::CapturedName { name });
        }
        self.captured.push((name, value));
        Ok(self)
    }

    /// The modules, the entry's included.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// What runs.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Values put into the entry module before it is executed.
    pub fn captured(&self) -> &[(String, EncodedValue)] {
        &self.captured
    }

    /// The name of the function: the digest of [`FunctionBundle::to_bytes`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The message for the guest's `ppwasm_load`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        cbor::map(&mut out, if self.captured.is_empty() { 3 } else { 4 });
        cbor::head(&mut out, cbor::UNSIGNED, 0);
        cbor::head(&mut out, cbor::UNSIGNED, FORMAT);
        cbor::head(&mut out, cbor::UNSIGNED, 1);
        cbor::array(&mut out, self.files.len());
        for file in &self.files {
            cbor::array(&mut out, 4);
            cbor::text(&mut out, &file.module);
            cbor::text(&mut out, &file.path);
            cbor::bytes(&mut out, &file.source);
            out.push(if file.is_package {
                cbor::TRUE
            } else {
                cbor::FALSE
            });
        }
        cbor::head(&mut out, cbor::UNSIGNED, 2);
        cbor::array(&mut out, 2);
        cbor::text(&mut out, &self.entry.module);
        match &self.entry.function {
            Some(function) => cbor::text(&mut out, function),
            None => out.push(cbor::NULL),
        }
        if !self.captured.is_empty() {
            cbor::head(&mut out, cbor::UNSIGNED, 3);
            cbor::map(&mut out, self.captured.len());
            for (name, value) in &self.captured {
                cbor::text(&mut out, name);
                out.extend(value.as_bytes());
            }
        }
        out
    }

    /// Reads a bundle that somebody sent.
    ///
    /// # Errors
    ///
    /// When the bytes are not what [`FunctionBundle::to_bytes`] gives for a valid bundle.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let mut reader = Reader::new(bytes);
        let map = reader.expect(cbor::MAP)?;
        if !(3..=4).contains(&map.argument) {
            return Err(Kind::Expected("a map of 3 or 4").at(map.at).into());
        }
        read_key(&mut reader, 0)?;
        let format = reader.expect(cbor::UNSIGNED)?;
        if format.argument != FORMAT {
            return Err(BundleError::Format {
                found: format.argument,
            });
        }
        read_key(&mut reader, 1)?;
        let mut files = Vec::new();
        for _ in 0..reader.expect(cbor::ARRAY)?.argument {
            if files.len() == BUNDLE_FILES_MAX {
                return Err(BundleError::TooManyFiles);
            }
            files.push(read_file(&mut reader)?);
        }
        read_key(&mut reader, 2)?;
        let entry = read_entry(&mut reader)?;
        let mut bundle = Self {
            files: Vec::new(),
            entry,
            captured: Vec::new(),
        };
        for file in files {
            bundle = bundle.with_file(file)?;
        }
        if map.argument == 4 {
            read_key(&mut reader, 3)?;
            bundle = bundle.read_captured(&mut reader)?;
        }
        reader.end()?;
        bundle.checked()
    }

    fn read_captured(mut self, reader: &mut Reader<'_>) -> Result<Self, BundleError> {
        let map = reader.expect(cbor::MAP)?;
        if map.argument == 0 {
            return Err(Kind::Expected("captured values").at(map.at).into());
        }
        for _ in 0..map.argument {
            let name = reader.text()?.to_owned();
            let start = reader.at();
            Value::decode_from(reader)?;
            let value = EncodedValue::from_bytes(reader.since(start).to_vec());
            self = self.with_encoded(name, value)?;
        }
        Ok(self)
    }

    fn checked(self) -> Result<Self, BundleError> {
        if let Some(name) = self.entry.function.as_ref().filter(|name| !is_dotted(name)) {
            return Err(BundleError::FunctionName { name: name.clone() });
        }
        if self
            .files
            .iter()
            .any(|file| file.module == self.entry.module)
        {
            Ok(self)
        } else {
            Err(BundleError::NoEntry {
                name: self.entry.module,
            })
        }
    }
}

fn read_key(reader: &mut Reader<'_>, key: u64) -> Result<(), DecodeError> {
    let head = reader.expect(cbor::UNSIGNED)?;
    if head.argument == key {
        Ok(())
    } else {
        Err(Kind::Expected("the next key of a bundle").at(head.at))
    }
}

fn read_file(reader: &mut Reader<'_>) -> Result<SourceFile, DecodeError> {
    reader.array_of(4)?;
    let module = reader.text()?.to_owned();
    let path = reader.text()?.to_owned();
    let source = reader.bytes()?.to_vec();
    let at = reader.at();
    let Value::Bool(is_package) = Value::decode_from(reader)? else {
        return Err(Kind::Expected("true or false").at(at));
    };
    Ok(SourceFile {
        module,
        path,
        source,
        is_package,
    })
}

fn read_entry(reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    reader.array_of(2)?;
    let module = reader.text()?.to_owned();
    let head = reader.head()?;
    let function = match head.major {
        cbor::TEXT => Some(reader.text_of(head)?.to_owned()),
        _ if head.is_null() => None,
        _ => return Err(Kind::Expected("text or null").at(head.at)),
    };
    Ok(Entry { module, function })
}

/// Names joined by dots, none of them empty or with a character that shows as nothing or as a path.
fn is_dotted(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'))
    };
    name.split('.').all(part)
}

/// Why there is no such bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes are not a bundle.
    #[error("cannot read the function bundle")]
    Malformed(#[from] DecodeError),
    /// The bundle is of a format that this version does not know.
    #[error("the function bundle has format {found}, known is {FORMAT}")]
    Format {
        /// The format it names.
        found: u64,
    },
    /// A module's name is not dotted names.
    #[error("{name:?} cannot be the name of a module")]
    ModuleName {
        /// The name.
        name: String,
    },
    /// A function's name is not dotted names.
    #[error("{name:?} cannot be the name of a function")]
    FunctionName {
        /// The name.
        name: String,
    },
    /// There are more than [`BUNDLE_FILES_MAX`] files.
    #[error("the function bundle has more than {BUNDLE_FILES_MAX} files")]
    TooManyFiles,
    /// There are more than [`BUNDLE_CAPTURED_MAX`] captured values.
    #[error("the function bundle has more than {BUNDLE_CAPTURED_MAX} captured values")]
    TooManyCaptured,
    /// Two files have the same module name.
    #[error("module {name:?} is in the function bundle twice")]
    DuplicateModule {
        /// The name.
        name: String,
    },
    /// The entry's module is not among the files.
    #[error("module {name:?} of the entry is not in the function bundle")]
    NoEntry {
        /// The name.
        name: String,
    },
    /// A captured value's name is empty or there twice.
    #[error("captured name {name:?} is empty or occurs twice")]
    CapturedName {
        /// The name.
        name: String,
    },
    /// A captured value cannot be encoded.
    #[error("cannot encode captured value {name:?}")]
    CapturedValue {
        /// The name.
        name: String,
        /// Why.
        source: EncodeError,
    },
}
