//! Collects what is shipped: the user's file, and the modules beside it that it imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use ppwasm_proto::{FunctionBundle, SourceFile};

use crate::failure::{Because, Failure, Result};
use crate::imports::imported_names;
use crate::stdlib;
use crate::units::Size;

/// Most files in a bundle.
pub(crate) const FILES_MAX: usize = 2_000;
/// Most bytes of source in a bundle.
pub(crate) const SOURCE_BYTES_MAX: u64 = 64 << 20;
/// Deepest nesting of packages.
pub(crate) const PACKAGE_DEPTH_MAX: usize = 32;

/// What the user wants run: `FILE` or `FILE:FUNC`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The file.
    pub file: PathBuf,
    /// The function's qualified name in it; without one the file is a script.
    pub function: Option<String>,
}

impl Target {
    /// Takes `FILE[:FUNC]` apart. A file whose whole name it is comes first.
    pub(crate) fn parse(text: &Path) -> Result<Self> {
        let script = Self {
            file: text.to_owned(),
            function: None,
        };
        let Some((file, function)) = text.to_str().and_then(|text| text.rsplit_once(':')) else {
            return Ok(script);
        };
        if text.is_file() || function.contains('/') {
            return Ok(script);
        }
        let is_identifier = |part: &str| {
            part.chars().all(|c| c == '_' || c.is_alphanumeric())
                && part.starts_with(|c: char| !c.is_ascii_digit())
        };
        if !function.split('.').all(is_identifier) {
            return Err(Failure::usage(format!(
                "{function:?} in {text:?} is not a function's name"
            )));
        }
        if file.is_empty() {
            return Err(Failure::usage(format!(
                "no file before the colon in {text:?}"
            )));
        }
        Ok(Self {
            file: file.into(),
            function: Some(function.into()),
        })
    }
}

/// Collects the bundle of a target and of modules that the user names.
pub(crate) fn collect(target: &Target, modules: &[PathBuf]) -> Result<FunctionBundle> {
    let file = &target.file;
    let source = read_entry(file)?;
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .ok_or_else(|| not_utf8(file))?;
    let module = entry_module(stem);
    let folder = file.parent().unwrap_or(Path::new(""));
    let path = shown(file)?;
    let mut sources = Sources::default();
    sources.search(imported_names(&source), folder);
    sources.add(
        file,
        SourceFile {
            module: module.clone(),
            path: path.clone(),
            source,
            is_package: false,
        },
    )?;
    for module in modules {
        sources.add_named(module)?;
    }
    sources.follow()?;

    let entry = sources
        .files
        .remove(&module)
        .map(|file| file.source)
        .unwrap_or_default();
    let bundle = match &target.function {
        Some(function) => FunctionBundle::function(module, path, entry, function.clone()),
        None => FunctionBundle::script(module, path, entry),
    };
    let bundle = bundle.usage(format!("could not bundle {}", file.display()))?;
    sources
        .files
        .into_values()
        .try_fold(bundle, |bundle, source| {
            let path = source.path.clone();
            bundle
                .with_file(source)
                .usage(format!("could not bundle {path}"))
        })
}

/// The name that the user's file has as a module.
fn entry_module(stem: &str) -> String {
    // Dots would make it a module of a package.
    let name = stem.replace('.', "_");
    // Under its own name the library's would be imported, as far as that is built in.
    let is_taken = stdlib::has(&name) || matches!(name.as_str(), "__main__" | "_ppwasm");
    if is_taken { name + "_" } else { name }
}

fn read_entry(file: &Path) -> Result<Vec<u8>> {
    let info = fs::metadata(file).usage(format!("could not open {}", file.display()))?;
    if info.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a directory, not a Python file",
            file.display()
        )));
    }
    read(file, info.len())
}

fn read(file: &Path, bytes: u64) -> Result<Vec<u8>> {
    if bytes > SOURCE_BYTES_MAX {
        return Err(too_large(file));
    }
    fs::read(file).usage(format!("could not read {}", file.display()))
}

fn too_large(file: &Path) -> Failure {
    let max = Size(SOURCE_BYTES_MAX);
    Failure::usage(format!(
        "with {} there is more than {max} of source to ship",
        file.display()
    ))
}

fn not_utf8(path: &Path) -> Failure {
    Failure::usage(format!("the name of {} is not UTF-8", path.display()))
}

/// The path as tracebacks show it: as the user wrote it.
fn shown(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| not_utf8(path))
}

/// The sources found so far, by module name, and the names still to be looked for.
#[derive(Default)]
struct Sources {
    files: BTreeMap<String, SourceFile>,
    bytes: u64,
    waiting: VecDeque<(String, PathBuf)>,
    searched: BTreeSet<(String, PathBuf)>,
}

impl Sources {
    /// Notes that these names are to be looked for in a folder.
    fn search(&mut self, names: BTreeSet<String>, folder: &Path) {
        for name in names {
            let search = (name, folder.to_owned());
            if self.searched.insert(search.clone()) {
                self.waiting.push_back(search);
            }
        }
    }

    /// Looks for names until no source brings new ones.
    fn follow(&mut self) -> Result<()> {
        while let Some((name, folder)) = self.waiting.pop_front() {
            if self.files.contains_key(&name) {
                continue;
            }
            let (package, module) = (folder.join(&name), folder.join(format!("{name}.py")));
            // The order in which Python looks.
            if package.join("__init__.py").is_file() {
                self.add_package(&name, &package, &folder)?;
            } else if module.is_file() {
                self.add_module(&name, &module, &folder)?;
            } else if package.is_dir() && !stdlib::has(&name) && has_sources(&package) {
                self.add_package(&name, &package, &folder)?;
            }
        }
        Ok(())
    }

    /// A module or package that the user names.
    fn add_named(&mut self, path: &Path) -> Result<()> {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .ok_or_else(|| not_utf8(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let info =
            fs::metadata(path).usage(format!("--module: could not open {}", path.display()))?;
        let before = self.files.get(stem).map(|file| file.path.clone());
        if info.is_dir() {
            if !has_sources(path) {
                let path = path.display();
                return Err(Failure::usage(format!(
                    "--module: there is no Python file in {path}"
                )));
            }
            self.add_package(stem, path, folder)
        } else if path.extension().is_some_and(|extension| extension == "py") {
            self.add_module(stem, path, folder)
        } else {
            let path = path.display();
            return Err(Failure::usage(format!(
                "--module: {path} is neither a .py file nor a directory"
            )));
        }?;
        match before {
            Some(before) if Path::new(&before) != path => Err(Failure::usage(format!(
                "--module: {} has the same module name as {before}",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    fn add_module(&mut self, name: &str, file: &Path, folder: &Path) -> Result<()> {
        let bytes = fs::metadata(file)
            .usage(format!("could not open {}", file.display()))?
            .len();
        let source = read(file, bytes)?;
        self.search(imported_names(&source), folder);
        let path = shown(file)?;
        self.add(
            file,
            SourceFile {
                module: name.to_owned(),
                path,
                source,
                is_package: false,
            },
        )
    }

    /// A package with everything in it. `folder` is where its absolute imports are looked for.
    fn add_package(&mut self, name: &str, package: &Path, folder: &Path) -> Result<()> {
        let mut waiting = vec![(name.to_owned(), package.to_owned(), 1)];
        while let Some((name, package, depth)) = waiting.pop() {
            if depth > PACKAGE_DEPTH_MAX {
                return Err(Failure::usage(format!(
                    "packages are nested more than {PACKAGE_DEPTH_MAX} deep at {}",
                    package.display()
                )));
            }
            let init = package.join("__init__.py");
            // Without the file it is a package too, with nothing in it.
            let source = if init.is_file() {
                read_entry(&init)?
            } else {
                Vec::new()
            };
            self.search(imported_names(&source), folder);
            let path = shown(&init)?;
            self.add(
                &init,
                SourceFile {
                    module: name.clone(),
                    path,
                    source,
                    is_package: true,
                },
            )?;
            for (stem, path) in entries(&package)? {
                let name = format!("{name}.{stem}");
                if path.is_dir() {
                    if has_sources(&path) {
                        waiting.push((name, path, depth + 1));
                    }
                } else if stem != "__init__" && !package.join(&stem).join("__init__.py").is_file() {
                    self.add_module(&name, &path, folder)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, from: &Path, file: SourceFile) -> Result<()> {
        self.bytes += file.source.len() as u64;
        if self.bytes > SOURCE_BYTES_MAX {
            return Err(too_large(from));
        }
        self.files.insert(file.module.clone(), file);
        if self.files.len() > FILES_MAX {
            let message = format!(
                "with {} there are more than {FILES_MAX} files to ship",
                from.display()
            );
            return Err(Failure::usage(message));
        }
        Ok(())
    }
}

/// The modules and possible packages in a folder, by name: `.py` files and directories.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let what = || format!("could not list {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).usage(what())? {
        let path = entry.usage(what())?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let stem = if path.is_dir() {
            Some(name)
        } else {
            name.strip_suffix(".py")
        };
        let is_name =
            |stem: &&str| *stem != "__pycache__" && !stem.contains('.') && !stem.is_empty();
        if let Some(stem) = stem.filter(is_name) {
            found.push((stem.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether there is a Python file in a directory, or below a directory in it.
fn has_sources(folder: &Path) -> bool {
    let mut waiting = vec![(folder.to_owned(), 1)];
    let mut looked_at = 0;
    while let Some((folder, depth)) = waiting.pop() {
        looked_at += 1;
        if looked_at > FILES_MAX || depth > PACKAGE_DEPTH_MAX {
            return false;
        }
        for (_, path) in entries(&folder).unwrap_or_default() {
            if path.is_dir() {
                waiting.push((path, depth + 1));
            } else {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
