//! Which modules a Python source imports: enough of Python's lexical grammar to tell code from text.
//!
//! Only the first part of absolute imports counts: packages are shipped whole. It may name a module too
//! many for source that Python would refuse; whether to ship one is decided by whether it is there.

use std::collections::BTreeSet;

/// The top-level names that `import` and `from` statements of a source ask for.
pub(crate) fn imported_names(source: &[u8]) -> BTreeSet<String> {
    // Import statements are ASCII but for names, and those have to be UTF-8 to name a file.
    let text = String::from_utf8_lossy(source);
    let mut scanner = Scanner {
        rest: &text,
        names: BTreeSet::new(),
    };
    scanner.code(End::OfText, 0);
    scanner.names
}

/// Deepest nesting of strings and replacement fields that is followed; CPython's own limit is 150.
const NESTING_MAX: u32 = 200;

struct Scanner<'a> {
    rest: &'a str,
    names: BTreeSet<String>,
}

/// What a stretch of code ends with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    OfText,
    /// A replacement field: at `}`, or at the `:` before its format.
    OfField,
}

/// How a string is delimited.
#[derive(Clone, Copy)]
struct Quote {
    character: char,
    is_triple: bool,
    is_raw: bool,
    is_formatted: bool,
}

impl Scanner<'_> {
    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn take_if(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_line(&mut self) {
        self.rest = self.rest.find('\n').map_or("", |at| &self.rest[at..]);
    }

    /// Code up to its end. Gives the character that a field ended with.
    fn code(&mut self, end: End, nesting: u32) -> Option<char> {
        let mut brackets = 0usize;
        // Whether a statement may begin here. A `:` also occurs elsewhere, where `import` cannot follow.
        let mut is_start = end == End::OfText;
        while let Some(c) = self.rest.chars().next() {
            if is_name(c) {
                is_start = self.word(is_start && brackets == 0, nesting);
                continue;
            }
            self.take();
            match c {
                '#' => self.skip_line(),
                '\'' | '"' => {
                    self.string(Quote::plain(c), nesting);
                    is_start = false;
                }
                '\\' => {
                    let _ = self.take_if("\r\n") || self.take_if("\n");
                }
                '(' | '[' | '{' => {
                    brackets += 1;
                    is_start = false;
                }
                '}' | ':' if end == End::OfField && brackets == 0 => return Some(c),
                ')' | ']' | '}' => {
                    brackets = brackets.saturating_sub(1);
                    is_start = false;
                }
                '\n' | '\r' | ';' | ':' => is_start = end == End::OfText,
                ' ' | '\t' | '\u{c}' | '\u{feff}' => {}
                _ => is_start = false,
            }
        }
        None
    }

    /// A name, keyword, number or prefix of a string. Says whether a statement may begin after it.
    fn word(&mut self, is_start: bool, nesting: u32) -> bool {
        let length = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        if let Some(quote) = Quote::with_prefix(word, rest) {
            self.take();
            self.string(quote, nesting);
            return false;
        }
        match word {
            "import" if is_start => self.import(),
            "from" if is_start => {
                self.blanks();
                // A relative import is of the same package.
                if !self.rest.starts_with('.') {
                    self.module();
                }
            }
            _ => {}
        }
        false
    }

    /// The modules of an `import` statement.
    fn import(&mut self) {
        loop {
            self.module();
            self.blanks();
            if self.keyword("as") {
                self.blanks();
                self.name();
                self.blanks();
            }
            if !self.take_if(",") {
                return;
            }
        }
    }

    /// A dotted name, of which the first part is kept.
    fn module(&mut self) {
        self.blanks();
        let first = self.name();
        if !first.is_empty() {
            self.names.insert(first);
        }
        self.blanks();
        while self.take_if(".") {
            self.blanks();
            self.name();
            self.blanks();
        }
    }

    fn name(&mut self) -> String {
        let length = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name.to_owned()
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = self
            .rest
            .strip_prefix(word)
            .filter(|rest| !rest.starts_with(is_name));
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// White space within a line, and line ends that a backslash hides.
    fn blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\u{c}']);
            if !self.take_if("\\\n") && !self.take_if("\\\r\n") {
                return;
            }
        }
    }

    /// A string, after its opening quote.
    fn string(&mut self, mut quote: Quote, nesting: u32) {
        let double: String = std::iter::repeat_n(quote.character, 2).collect();
        if self.take_if(&double) {
            quote.is_triple = true;
        } else if self.rest.starts_with(quote.character) {
            self.take();
            return;
        }
        self.string_contents(quote, nesting, false);
    }

    /// Up to the end of the string or, in a replacement field's format, to the `}` before it.
    fn string_contents(&mut self, quote: Quote, nesting: u32, is_format: bool) {
        let triple: String = std::iter::repeat_n(quote.character, 3).collect();
        while let Some(c) = self.rest.chars().next() {
            let ends_here = if quote.is_triple {
                self.rest.starts_with(&triple)
            } else {
                c == quote.character || c == '\n'
            };
            // In a format the end of the string is left for the string itself.
            if ends_here && is_format {
                return;
            }
            if ends_here && quote.is_triple {
                self.take_if(&triple);
                return;
            }
            if ends_here && c == '\n' {
                // The string was never closed; Python will say so.
                return;
            }
            self.take();
            match c {
                _ if ends_here => return,
                // Also in a raw string a backslash keeps a quote from ending it.
                '\\' if !quote.is_raw
                    || self.rest.starts_with(['\\', quote.character, '\r', '\n']) =>
                {
                    let _ = self.take_if("\r\n") || self.take().is_some();
                }
                '}' if is_format => return,
                '{' if quote.is_formatted && nesting < NESTING_MAX => {
                    let is_brace = !is_format && self.take_if("{");
                    if !is_brace && self.code(End::OfField, nesting + 1) == Some(':') {
                        self.string_contents(quote, nesting + 1, true);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Quote {
    fn plain(character: char) -> Self {
        Self {
            character,
            is_triple: false,
            is_raw: false,
            is_formatted: false,
        }
    }

    /// The quote after a prefix like `rb` or `f`, if `word` and what follows it are one.
    fn with_prefix(word: &str, rest: &str) -> Option<Self> {
        let character = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let has = |letter: char| word.chars().any(|c| c.eq_ignore_ascii_case(&letter));
        let is_prefix = word.len() <= 2 && word.chars().all(|c| "rRbBuUfFtT".contains(c));
        is_prefix.then(|| Self {
            is_raw: has('r'),
            is_formatted: has('f') || has('t'),
            ..Self::plain(character)
        })
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, wanted: &[&str]) {
        let names = imported_names(source.as_bytes());
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            wanted,
            "{source}"
        );
    }

    #[test]
    fn statements_are_found() {
        check("import a", &["a"]);
        check("import a.b.c as d, e\nimport f", &["a", "e", "f"]);
        check("from a.b import c", &["a"]);
        check("from a import (b,\n  c)\nimport d", &["a", "d"]);
        check("import a;import b; from c import d", &["a", "b", "c"]);
        check("if x: import a\nelse: from b import c", &["a", "b"]);
        check(
            "try:\n    import a\nexcept ImportError:\n\timport b\r\nimport c",
            &["a", "b", "c"],
        );
        check("def f():\n  def g(x: int) -> None:\n    import a\n", &["a"]);
        check("import \\\n  a \\\n , b", &["a", "b"]);
        check("\u{feff}import a", &["a"]);
        check("import größe", &["größe"]);
        check("from a import*", &["a"]);
        check("import a as b, c as d # x\nimport e", &["a", "c", "e"]);
        check("import asx, b", &["asx", "b"]);
    }

    #[test]
    fn what_only_looks_like_one_is_not() {
        check("# import a\n'import b'\n\"\"\"\nimport c\n\"\"\"", &[]);
        check("x = 'it''s' # '\nimport a", &["a"]);
        check("from . import a\nfrom .b import c\nfrom ..d import e", &[]);
        check("raise X from error\nyield from a", &[]);
        check("reimport = importer = 1\nx.import_ = from_", &[]);
        check("x = '\\'\\\nimport a'", &[]);
        check("x = r'\\'\nimport a'", &["a"]);
        check("x = [\nimport_,\n]", &[]);
    }

    #[test]
    fn strings_end_where_python_ends_them() {
        check("x = r'\\\\'\nimport a", &["a"]);
        check("x = ''\nimport a", &["a"]);
        check("x = ''''a'b''''\nimport c", &["c"]);
        check("x = 'a' 'b' rb'c' BR\"d\"; import e", &["e"]);
        check("x = 'never closed\nimport a", &["a"]);
        check("x = '''a\\'''b\nimport c\n'''\nimport d", &["d"]);
    }

    #[test]
    fn formatted_strings_nest() {
        check("x = f'{y}'\nimport a", &["a"]);
        check("x = f'{d['import b']}'\nimport a", &["a"]);
        check("x = f\"{y:'^10}\"\nimport a", &["a"]);
        check("x = f'{{' '}}'\nimport a", &["a"]);
        check("x = f'{y:{width}.{d['p']}}'\nimport a", &["a"]);
        check("x = f'{y!r:>{w}}' f\"{f'{z}'}\"\nimport a", &["a"]);
        check("x = f'''{\ny # }\n}'''\nimport a", &["a"]);
        check("x = rf'\\{y}'\nimport a", &["a"]);
        check("x = f'{a[1:2]}' + f'{(lambda: 1)()}'\nimport b", &["b"]);
        check("x = f'{d[\"k\"]}'; import a", &["a"]);
    }

    #[test]
    fn no_source_makes_it_fail() {
        let deep = "f'{".repeat(100_000);
        assert!(imported_names(deep.as_bytes()).is_empty());
        assert!(imported_names(b"\xff\xfe\x00import").is_empty());
        assert!(imported_names(&b"(".repeat(100_000)).is_empty());
    }
}
