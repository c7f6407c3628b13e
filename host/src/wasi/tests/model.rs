//! The scratch space against a simple model of it: random operations, the same answers, the same tree.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Debug)]
enum Thing {
    File(Vec<u8>),
    Directory,
}

/// Paths to things, and things by number: two paths with one number are hard links.
#[derive(Default)]
struct Model {
    paths: BTreeMap<String, usize>,
    things: Vec<Thing>,
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        model.make("work", Thing::Directory);
        model.make("tmp", Thing::Directory);
        model
    }

    fn make(&mut self, path: &str, thing: Thing) {
        self.things.push(thing);
        self.paths.insert(path.to_owned(), self.things.len() - 1);
    }

    fn thing(&self, path: &str) -> Option<&Thing> {
        self.paths.get(path).map(|number| &self.things[*number])
    }

    fn is_directory(&self, path: &str) -> bool {
        matches!(self.thing(path), Some(Thing::Directory))
    }

    /// Whether a new thing can be at the path, as far as what is above it goes.
    fn check_above(&self, path: &str) -> Result<(), Errno> {
        let mut above = String::new();
        let components: Vec<_> = path.split('/').collect();
        for component in &components[..components.len() - 1] {
            if !above.is_empty() {
                above.push('/');
            }
            above.push_str(component);
            match self.thing(&above) {
                Some(Thing::Directory) => {}
                Some(Thing::File(_)) => return Err(Errno::NOTDIR),
                None => return Err(Errno::NOENT),
            }
        }
        Ok(())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        self.paths
            .keys()
            .filter_map(|found| found.strip_prefix(&prefix))
            .filter(|name| !name.contains('/'))
            .map(ToOwned::to_owned)
            .collect()
    }

    fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        self.check_above(path)?;
        if self.thing(path).is_some() {
            return Err(Errno::EXIST);
        }
        self.make(path, Thing::Directory);
        Ok(())
    }

    fn put(&mut self, path: &str, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.check_above(path)?;
        if self.is_directory(path) {
            return Err(Errno::ISDIR);
        }
        if self.thing(path).is_none() {
            self.make(path, Thing::File(Vec::new()));
        }
        let number = self.paths[path];
        let Thing::File(contents) = &mut self.things[number] else {
            panic!("a file")
        };
        if contents.len() < offset + data.len() {
            contents.resize(offset + data.len(), 0);
        }
        contents[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn truncate(&mut self, path: &str, size: usize) -> Result<(), Errno> {
        self.check_above(path)?;
        let number = *self.paths.get(path).ok_or(Errno::NOENT)?;
        match &mut self.things[number] {
            Thing::File(contents) => contents.resize(size, 0),
            Thing::Directory => return Err(Errno::ISDIR),
        }
        Ok(())
    }

    fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        self.check_above(path)?;
        match self.thing(path).ok_or(Errno::NOENT)? {
            Thing::Directory => Err(Errno::ISDIR),
            Thing::File(_) => {
                self.paths.remove(path);
                Ok(())
            }
        }
    }

    fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        self.check_above(path)?;
        self.thing(path).ok_or(Errno::NOENT)?;
        if !path.contains('/') {
            return Err(Errno::ROFS);
        }
        if !self.is_directory(path) {
            return Err(Errno::NOTDIR);
        }
        if !self.names(path).is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.paths.remove(path);
        Ok(())
    }

    fn link(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        self.check_above(old)?;
        let number = *self.paths.get(old).ok_or(Errno::NOENT)?;
        self.check_above(new)?;
        if self.thing(new).is_some() {
            return Err(Errno::EXIST);
        }
        if self.is_directory(old) {
            return Err(Errno::PERM);
        }
        self.paths.insert(new.to_owned(), number);
        Ok(())
    }

    fn rename(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        self.check_above(old)?;
        self.check_above(new)?;
        let number = *self.paths.get(old).ok_or(Errno::NOENT)?;
        if !old.contains('/') || !new.contains('/') {
            return Err(Errno::ROFS);
        }
        if self.paths.get(new) == Some(&number) {
            return Ok(());
        }
        let prefix = format!("{old}/");
        if self.is_directory(old) && new.starts_with(&prefix) {
            return Err(Errno::INVAL);
        }
        match (self.is_directory(old), self.thing(new)) {
            (true, Some(Thing::Directory)) if !self.names(new).is_empty() => {
                return Err(Errno::NOTEMPTY);
            }
            (true, Some(Thing::File(_))) => return Err(Errno::NOTDIR),
            (false, Some(Thing::Directory)) => return Err(Errno::ISDIR),
            _ => {}
        }
        let moved: Vec<_> = self
            .paths
            .keys()
            .filter(|path| *path == old || path.starts_with(&prefix))
            .cloned()
            .collect();
        for path in moved {
            let number = self.paths.remove(&path).expect("a path");
            self.paths
                .insert(format!("{new}{}", &path[old.len()..]), number);
        }
        Ok(())
    }

    /// Bytes of all files, each counted once, and the number of names.
    fn usage(&self) -> (u64, u32) {
        let mut numbers: Vec<_> = self.paths.values().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let bytes = numbers
            .into_iter()
            .map(|number| match &self.things[*number] {
                Thing::File(contents) => contents.len(),
                Thing::Directory => 0,
            });
        (
            bytes.sum::<usize>() as u64,
            u32::try_from(self.paths.len()).expect("a count") - 2,
        )
    }
}

impl Guest {
    fn put_at(&mut self, path: &str, offset: usize, data: &[u8]) -> Result<(), Errno> {
        let fd = self.open(path, oflags::CREAT)?;
        let written = self.pwrite(fd, data, i64::try_from(offset).expect("an offset"));
        assert_eq!(written, Ok(data.len()));
        self.close(fd)
    }

    fn truncate(&mut self, path: &str, size: usize) -> Result<(), Errno> {
        let fd = self.open(path, 0)?;
        let size = i64::try_from(size).expect("a size");
        assert_eq!(
            errno(self.wasi.fd_filestat_set_size(&mut self.memory, fd, size)),
            Ok(())
        );
        self.close(fd)
    }

    /// Compares every path of the model, both ways.
    fn check_against(&mut self, model: &Model, context: &str) {
        for (path, number) in &model.paths {
            match &model.things[*number] {
                Thing::Directory => {
                    assert_eq!(self.names(path), model.names(path), "{context}: {path}")
                }
                Thing::File(contents) => {
                    assert_eq!(
                        self.contents(path).as_ref(),
                        Ok(contents),
                        "{context}: {path}"
                    );
                    let links = model
                        .paths
                        .values()
                        .filter(|other| *other == number)
                        .count();
                    let stat = self.stat(path).expect("attributes");
                    assert_eq!(stat.nlink, links as u64, "{context}: {path}");
                }
            }
        }
        let usage = (self.wasi.scratch_bytes(), self.wasi.scratch_nodes());
        assert_eq!(usage, model.usage(), "{context}");
    }
}

fn random_path(numbers: &mut Numbers) -> String {
    let mut path = ["work", "tmp"][numbers.below(2)].to_owned();
    let depth = if numbers.below(30) == 0 {
        0
    } else {
        1 + numbers.below(3)
    };
    for _ in 0..depth {
        path.push('/');
        path.push_str(["a", "b", "c", "dd"][numbers.below(4)]);
    }
    path
}

#[test]
fn random_operations_give_what_a_simple_model_gives() {
    for seed in 0..60 {
        let mut numbers = Numbers::new(seed);
        let (mut guest, mut model) = (Guest::plain(), Model::new());
        for step in 0..300 {
            let (path, other) = (random_path(&mut numbers), random_path(&mut numbers));
            let (offset, size) = (numbers.below(50), numbers.below(60));
            let data = numbers.next().to_le_bytes();
            let operation = numbers.below(9);
            let (real, expected) = match operation {
                0 => (guest.mkdir(&path), model.mkdir(&path)),
                1 | 2 => (
                    guest.put_at(&path, offset, &data),
                    model.put(&path, offset, &data),
                ),
                3 => (guest.truncate(&path, size), model.truncate(&path, size)),
                4 => (guest.unlink(&path), model.unlink(&path)),
                5 => (guest.rmdir(&path), model.rmdir(&path)),
                6 => (guest.link(&path, &other), model.link(&path, &other)),
                _ => (guest.rename(&path, &other), model.rename(&path, &other)),
            };
            let context = format!("seed {seed} step {step}: {operation} {path} {other}");
            assert_eq!(real, expected, "{context}");
            guest.wasi.check();
            if step % 10 == 0 {
                guest.check_against(&model, &context);
            }
            if step == 150 {
                // Half way, through a saved snapshot.
                let bytes = guest.wasi.snapshot().expect("a snapshot").to_bytes();
                let read = WasiSnapshot::from_bytes(&bytes, &library()).expect("a snapshot");
                guest.wasi.reset(&read, JobIo::default());
            }
        }
        guest.check_against(&model, &format!("seed {seed} at the end"));
    }
}
