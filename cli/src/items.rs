//! What each task is given: one item of a range, a file's lines or a JSON array.
//!
//! Items are made when their task is about to start, so that a million of them take no memory.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ppwasm_proto::Value;
use serde::de::IgnoredAny;
use tokio::sync::mpsc::{Receiver, channel};

use crate::args::Submit;
use crate::failure::{Because, Failure, Result};
use crate::inputs;
use crate::units::{Range, Size};
use crate::values;

/// Most bytes of one line.
pub(crate) const LINE_BYTES_MAX: u64 = 64 << 20;

/// Lines that are read ahead from a stream.
const LINES_AHEAD: usize = 64;

/// Where tasks come from.
pub(crate) struct Items {
    source: Source,
    /// How many there are, when that is known.
    total: Option<u64>,
    /// Names what they are, so that other items make another job.
    identity: blake3::Hash,
    is_script: bool,
    next: u64,
}

/// The first argument of a task, if it has one, and about how many bytes it takes.
#[derive(Debug)]
pub(crate) struct Item {
    /// The argument.
    pub value: Option<Value>,
    /// Bytes of memory, roughly.
    pub bytes: usize,
}

enum Source {
    One,
    Range(Range),
    Lines {
        lines: Box<dyn BufRead>,
        path: PathBuf,
    },
    /// Lines that may take their time to come.
    Stream(Receiver<Result<Option<String>>>),
    /// A text that has been checked to be an array, and where its next element is.
    Json {
        text: String,
        at: usize,
        path: PathBuf,
    },
}

impl Items {
    /// The items that the command line asks for. A script gets them as text.
    pub(crate) fn new(args: &Submit, is_script: bool) -> Result<Self> {
        let (source, total, identity) = if let Some(range) = args.range {
            let identity = blake3::hash(range.to_string().as_bytes());
            (Source::Range(range), Some(range.len()), identity)
        } else if let Some(path) = &args.each_line {
            Source::lines(path)?
        } else if let Some(path) = &args.from_json {
            let (text, total) = json_array(path)?;
            let identity = blake3::hash(text.as_bytes());
            let path = path.clone();
            (Source::Json { text, at: 0, path }, Some(total), identity)
        } else {
            (Source::One, Some(1), blake3::hash(b"one"))
        };
        Ok(Self {
            source,
            total,
            identity,
            is_script,
            next: 0,
        })
    }

    /// How many items there are, when that is known beforehand.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether there is just the one task that is not given an item.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.source, Source::One)
    }

    /// A digest of what the items are. Lines that come from a pipe are not known yet and all alike.
    pub(crate) fn identity(&self) -> &blake3::Hash {
        &self.identity
    }

    /// The next item, `None` when there are no more. Waits only for what comes by and by.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>> {
        let position = self.next;
        let item = match &mut self.source {
            Source::One => (position == 0).then_some(Item {
                value: None,
                bytes: 0,
            }),
            Source::Range(range) => range.number(position).map(|number| {
                let text = || number.to_string().into();
                let value = if self.is_script {
                    text()
                } else {
                    number.into()
                };
                Item {
                    value: Some(value),
                    bytes: size_of::<Value>(),
                }
            }),
            Source::Lines { lines, path } => line(lines, path, position + 1)?.map(Item::from_line),
            Source::Stream(lines) => match lines.recv().await {
                Some(line) => line?.map(Item::from_line),
                None => None,
            },
            Source::Json { text, at, path } => match element(text, at) {
                Some(element) => Some(json_item(element, path, position, self.is_script)?),
                None => None,
            },
        };
        self.next += 1;
        Ok(item)
    }
}

impl Item {
    fn from_line(line: String) -> Self {
        Self {
            bytes: line.len(),
            value: Some(line.into()),
        }
    }
}

impl Source {
    /// Lines of a file, which are counted first, or of something that gives them in its own time.
    fn lines(path: &Path) -> Result<(Self, Option<u64>, blake3::Hash)> {
        let path = path.to_owned();
        let measured = measure(&path)?;
        let source = inputs::open(&path, "--each-line")?;
        if let Some((total, identity)) = measured {
            let lines = Box::new(BufReader::new(source));
            return Ok((Self::Lines { lines, path }, Some(total), identity));
        }
        let (sender, receiver) = channel(LINES_AHEAD);
        let read = move || {
            let mut lines = BufReader::new(source);
            let mut number = 0;
            loop {
                number += 1;
                let next = line(&mut lines, &path, number);
                let is_last = !matches!(next, Ok(Some(_)));
                // The job may have ended before its items.
                if sender.blocking_send(next).is_err() || is_last {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("ppwasm-lines".into())
            .spawn(read)
            .machine("could not start a thread")?;
        Ok((Self::Stream(receiver), None, blake3::hash(b"lines")))
    }
}

/// The lines of a regular file: how many, and a digest of them. All are checked before any is used.
fn measure(path: &Path) -> Result<Option<(u64, blake3::Hash)>> {
    let is_file = !inputs::is_stdin(path) && fs::metadata(path).is_ok_and(|info| info.is_file());
    if !is_file {
        return Ok(None);
    }
    let mut lines = BufReader::new(inputs::open(path, "--each-line")?);
    let mut hasher = blake3::Hasher::new();
    let mut total = 0;
    while let Some(line) = line(&mut lines, path, total + 1)? {
        hasher.update(line.as_bytes()).update(b"\n");
        total += 1;
    }
    Ok(Some((total, hasher.finalize())))
}

/// The next line without its end.
fn line(lines: &mut dyn BufRead, path: &Path, number: u64) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let what = || format!("--each-line: could not read {}", path.display());
    let read = lines
        .take(LINE_BYTES_MAX + 1)
        .read_until(b'\n', &mut bytes)
        .usage(what())?;
    if read == 0 {
        return Ok(None);
    }
    let is_whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
    if is_whole {
        bytes.pop_if(|byte| *byte == b'\r');
    }
    let place = || format!("--each-line: line {number} of {}", path.display());
    if bytes.len() as u64 > LINE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} has more than {}",
            place(),
            Size(LINE_BYTES_MAX)
        )));
    }
    match String::from_utf8(bytes) {
        Ok(line) => Ok(Some(line)),
        Err(_) => Err(Failure::usage(format!("{} is not UTF-8", place()))),
    }
}

/// A text that is a JSON array, and how many elements it has.
fn json_array(path: &Path) -> Result<(String, u64)> {
    let shown = path.display();
    let text = String::from_utf8(inputs::read_all(path, "--from-json")?)
        .map_err(|_| Failure::usage(format!("--from-json: {shown} is not UTF-8")))?;
    // The elements take no memory; they are only counted.
    let elements: Vec<IgnoredAny> = serde_json::from_str(&text).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "does not hold a JSON array".to_owned(),
            _ => format!("is not JSON: {}", values::told(&error)),
        };
        Failure::usage(format!("--from-json: {shown} {what}"))
    })?;
    Ok((text, elements.len() as u64))
}

/// The next element of an array's text.
fn element<'a>(text: &'a str, at: &mut usize) -> Option<&'a str> {
    // Only the bracket or comma before the element is outside it.
    let rest = text
        .get(*at..)?
        .trim_start()
        .strip_prefix(['[', ','])?
        .trim_start();
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let (element, rest) = rest.split_at_checked(values.byte_offset())?;
    *at = text.len() - rest.len();
    Some(element)
}

fn json_item(text: &str, path: &Path, position: u64, is_script: bool) -> Result<Item> {
    let what = || format!("--from-json: element {position} of {}", path.display());
    let value = if is_script {
        // A string is itself; anything else is its JSON.
        serde_json::from_str(text)
            .unwrap_or_else(|_| text.to_owned())
            .into()
    } else {
        Value::from_json_text(text).usage(what())?
    };
    Ok(Item {
        value: Some(value),
        bytes: text.len(),
    })
}

/// That nothing is read from standard input twice.
pub(crate) fn check_stdin(args: &Submit) -> Result<()> {
    let readers = [
        ("--each-line", &args.each_line),
        ("--from-json", &args.from_json),
        ("--stdin", &args.stdin),
    ];
    let mut of_stdin = readers
        .into_iter()
        .filter(|(_, path)| path.as_deref().is_some_and(inputs::is_stdin))
        .map(|(flag, _)| flag);
    match (of_stdin.next(), of_stdin.next()) {
        (Some(first), Some(second)) => Err(Failure::usage(format!(
            "{first} and {second} cannot both read standard input; give one of them a file"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn lines(bytes: &[u8]) -> Result<Vec<String>> {
        let mut source: Box<dyn BufRead> = Box::new(io::Cursor::new(bytes.to_vec()));
        let mut all = Vec::new();
        while let Some(line) = line(&mut source, Path::new("x"), all.len() as u64 + 1)? {
            all.push(line);
        }
        Ok(all)
    }

    #[test]
    fn lines_are_without_their_ends() {
        let cases: [(&[u8], &[&str]); 6] = [
            (b"", &[]),
            (b"a\nb\n", &["a", "b"]),
            (b"a\nb", &["a", "b"]),
            (b"\n\na", &["", "", "a"]),
            (b"a\r\nb\rc\r", &["a", "b\rc\r"]),
            ("größe 日本\n".as_bytes(), &["größe 日本"]),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(lines(bytes).unwrap(), wanted, "{bytes:?}");
        }
        let Err(Failure::Usage(error)) = lines(b"a\n\xff\n") else {
            panic!()
        };
        assert_eq!(error.to_string(), "--each-line: line 2 of x is not UTF-8");
    }

    #[test]
    fn elements_of_an_array() {
        let cases: [(&str, &[&str]); 6] = [
            ("[]", &[]),
            (" [ ] \n", &[]),
            ("[1]", &["1"]),
            ("[1,-2.5e3 , null,true]", &["1", "-2.5e3", "null", "true"]),
            (
                "\n[ \"a,]\" ,\t[1, [2]], {\"k\": [3]}\n]",
                &["\"a,]\"", "[1, [2]]", "{\"k\": [3]}"],
            ),
            ("[[],[],\"\"]", &["[]", "[]", "\"\""]),
        ];
        for (text, wanted) in cases {
            let mut at = 0;
            let found: Vec<_> = std::iter::from_fn(|| element(text, &mut at)).collect();
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit() {
        let mut bytes = vec![b'x'; usize::try_from(LINE_BYTES_MAX).unwrap()];
        assert_eq!(lines(&bytes).unwrap().len(), 1);
        bytes.push(b'x');
        let Err(Failure::Usage(error)) = lines(&bytes) else {
            panic!()
        };
        assert_eq!(
            error.to_string(),
            "--each-line: line 1 of x has more than 64 MiB"
        );
    }
}
