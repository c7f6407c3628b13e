//! For programs: one JSON document, written as tasks end. `docs/cli-json.md` describes it.

use std::io::{self, BufWriter, Stdout, Write};

use ppwasm_proto::{Exception, LimitKind, Limits, Outcome, TrapCause, Value};
use serde::Serialize;
use serde_json::Value as JsonValue;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::{FromCache, Header, NotLoaded, Printer};
use crate::exit_code::ExitCode;
use crate::job::{Ended, Summary};

/// The document's version. It grows when a program that reads the older one could be misled.
const VERSION: u32 = 1;

/// Prints JSON.
pub(crate) struct Json {
    out: BufWriter<Stdout>,
    is_script: bool,
    has_tasks: bool,
}

#[derive(Serialize)]
struct Job<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    file: &'a str,
    function: Option<&'a str>,
    bundle: String,
    guest: Option<String>,
    python: Option<&'a str>,
    slots: Option<usize>,
    submit_time_ms: Option<u64>,
    limits: AllLimits,
}

#[derive(Serialize)]
struct AllLimits {
    memory_bytes: u64,
    wall_time_ms: u64,
    cpu_time_ms: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
    result_bytes: u64,
    scratch_bytes: u64,
    scratch_files: u64,
}

#[derive(Serialize)]
struct Task {
    task: u64,
    #[serde(flatten)]
    ending: Ending,
    #[serde(flatten)]
    traces: Option<Traces>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_cache: Option<FromCache>,
}

/// How a task ended, or loading.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Ending {
    Succeeded { value: JsonValue },
    Raised { exception: ExceptionText },
    Trapped { cause: Cause },
    LimitExceeded { limit: PassedLimit },
    Cancelled,
    Abandoned,
    NotRun { error: String },
}

#[derive(Serialize)]
struct Traces {
    stdout: JsonValue,
    stderr: JsonValue,
    wall_time_ms: f64,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct ExceptionText {
    #[serde(rename = "type")]
    type_name: String,
    message: String,
    traceback: String,
    notes: Vec<String>,
    exit_code: Option<i64>,
}

#[derive(Serialize)]
struct Cause {
    name: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u32>,
}

#[derive(Serialize)]
struct PassedLimit {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<u64>,
    unit: String,
}

#[derive(Serialize)]
struct Counts {
    tasks: u64,
    succeeded: u64,
    raised: u64,
    trapped: u64,
    limit_exceeded: u64,
    cancelled: u64,
    not_run: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_cache: Option<u64>,
    wall_time_ms: f64,
    exit_code: i32,
}

impl Json {
    /// A printer to standard output.
    pub(crate) fn new(is_script: bool) -> Self {
        let out = BufWriter::with_capacity(64 << 10, io::stdout());
        Self {
            out,
            is_script,
            has_tasks: false,
        }
    }

    fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        write(&mut self.out, value)
    }

    fn ending(&self, ended: &Ended) -> Ending {
        let report = match &ended.result {
            Ok(report) => report,
            Err(error) => {
                return Ending::NotRun {
                    error: error.clone(),
                };
            }
        };
        let succeeded = ended.code(self.is_script) == ExitCode::Succeeded;
        match &report.outcome {
            Outcome::Succeeded { .. } => Ending::Succeeded {
                value: ended.value.as_ref().map_or(JsonValue::Null, Value::to_json),
            },
            // A script that ends with code 0 has done what it should.
            Outcome::Raised(_) if succeeded => Ending::Succeeded {
                value: JsonValue::Null,
            },
            Outcome::Raised(exception) => Ending::Raised {
                exception: exception_text(exception),
            },
            Outcome::Trapped { cause } => Ending::Trapped {
                cause: trap(*cause),
            },
            Outcome::LimitExceeded { limit, allowed } => Ending::LimitExceeded {
                limit: passed(*limit, Some(*allowed)),
            },
            Outcome::Cancelled => Ending::Cancelled,
            Outcome::Abandoned => Ending::Abandoned,
        }
    }
}

impl Printer for Json {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        let job = Job {
            id: header.id.to_string(),
            cluster_id: header.cluster_id.map(|id| id.to_string()),
            file: &header.file,
            function: header.function.as_deref(),
            bundle: header.bundle.to_string(),
            guest: header.guest.map(|guest| guest.to_string()),
            python: header.python.as_deref(),
            slots: header.slots,
            submit_time_ms: header.submit_time_ms,
            limits: all_limits(&header.limits),
        };
        write!(self.out, "{{\"version\":{VERSION},\n\"job\":")?;
        self.write(&job)?;
        self.out.write_all(b",\n")
    }

    fn not_loaded(&mut self, error: &NotLoaded, code: ExitCode) -> io::Result<()> {
        let ending = match error {
            NotLoaded::Ended(Outcome::Raised(exception)) => Ending::Raised {
                exception: exception_text(exception),
            },
            NotLoaded::Ended(Outcome::Trapped { cause }) => Ending::Trapped {
                cause: trap(*cause),
            },
            NotLoaded::Ended(Outcome::LimitExceeded { limit, .. }) => Ending::LimitExceeded {
                limit: passed(*limit, None),
            },
            NotLoaded::Ended(_) => Ending::Abandoned,
            NotLoaded::Failed(why) => Ending::NotRun { error: why.clone() },
        };
        self.out.write_all(b"\"load\":")?;
        self.write(&ending)?;
        self.out.write_all(b",\n")?;
        self.end(&Summary::not_loaded(code))
    }

    fn task(&mut self, ended: &Ended) -> io::Result<()> {
        let traces = ended.result.as_ref().ok().map(|report| Traces {
            stdout: output(&report.stdout),
            stderr: output(&report.stderr),
            wall_time_ms: millis(report.wall_time),
            memory_bytes: report.memory_bytes,
        });
        let task = Task {
            task: ended.number,
            ending: self.ending(ended),
            traces,
            from_cache: ended.origin.as_deref().map(FromCache::new),
        };
        self.out.write_all(if self.has_tasks {
            b",\n"
        } else {
            b"\"tasks\":[\n"
        })?;
        self.has_tasks = true;
        self.write(&task)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.out.write_all(if self.has_tasks {
            b"\n],\n\"summary\":"
        } else {
            b"\"tasks\":[],\n\"summary\":"
        })?;
        let counts = Counts {
            tasks: summary.tasks,
            succeeded: summary.succeeded,
            raised: summary.raised,
            trapped: summary.trapped,
            limit_exceeded: summary.limit_exceeded,
            cancelled: summary.cancelled,
            not_run: summary.not_run,
            from_cache: summary.from_cache,
            wall_time_ms: millis(summary.wall_time),
            exit_code: summary.exit_code().into(),
        };
        self.write(&counts)?;
        self.out.write_all(b"}\n")?;
        self.out.flush()
    }
}

/// How a task of a function ended, as a document of its own.
pub(crate) fn ending_json(ended: &Ended) -> JsonValue {
    let ending = Json::new(false).ending(ended);
    serde_json::to_value(ending).unwrap_or_default()
}

fn passed(limit: LimitKind, allowed: Option<u64>) -> PassedLimit {
    PassedLimit {
        name: limit.name(),
        allowed,
        unit: limit.unit().to_string(),
    }
}

fn exception_text(exception: &Exception) -> ExceptionText {
    ExceptionText {
        type_name: exception.type_name.clone(),
        message: exception.message.clone(),
        traceback: exception.traceback.clone(),
        notes: exception.notes.clone(),
        exit_code: exception.exit_code,
    }
}

fn trap(cause: TrapCause) -> Cause {
    let name = match cause {
        TrapCause::Exit { .. } => "exit",
        TrapCause::Abort => "abort",
        TrapCause::StackOverflow => "stack_overflow",
        TrapCause::MemoryOutOfBounds => "memory_out_of_bounds",
        TrapCause::BadIndirectCall => "bad_indirect_call",
        TrapCause::DivisionFailed => "division_failed",
        TrapCause::ConversionFailed => "conversion_failed",
        TrapCause::InvalidReply => "invalid_reply",
        TrapCause::NoReply => "no_reply",
        TrapCause::Other => "other",
    };
    let exit_code = match cause {
        TrapCause::Exit { code } => Some(code),
        _ => None,
    };
    Cause {
        name,
        message: cause.to_string(),
        exit_code,
    }
}

/// What a task printed: a string, or as `bytes` are written when it is not UTF-8.
pub(crate) fn output(bytes: &[u8]) -> JsonValue {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => Value::Bytes(bytes.to_vec()).to_json(),
    }
}

fn all_limits(limits: &Limits) -> AllLimits {
    AllLimits {
        memory_bytes: limits.memory_bytes_max,
        wall_time_ms: limits.allowed(LimitKind::WallTime),
        cpu_time_ms: limits.allowed(LimitKind::CpuTime),
        stdout_bytes: limits.stdout_bytes_max,
        stderr_bytes: limits.stderr_bytes_max,
        result_bytes: limits.result_bytes_max,
        scratch_bytes: limits.scratch_bytes_max,
        scratch_files: limits.scratch_files_max,
    }
}

/// Milliseconds to the microsecond.
fn millis(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Writes a value on one line, in which nothing steers a terminal.
pub(crate) fn write(out: impl Write, value: &impl Serialize) -> io::Result<()> {
    value
        .serialize(&mut Serializer::with_formatter(out, Plain))
        .map_err(io::Error::from)
}

/// Escapes also the control characters that JSON does not ask to escape.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        for (at, c) in text
            .char_indices()
            .filter(|(_, c)| crate::visible::is_steering(*c))
        {
            CompactFormatter.write_string_fragment(out, &text[written..at])?;
            // All of them lie in the first plane.
            write!(out, "\\u{:04x}", u32::from(c))?;
            written = at + c.len_utf8();
        }
        CompactFormatter.write_string_fragment(out, &text[written..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_it_steers_a_terminal() {
        let text = "a\x1b[31m\u{9b}2J\u{202e}\u{7f}\n\"größe";
        let mut out = Vec::new();
        write(&mut out, &text).unwrap();
        let json = String::from_utf8(out).unwrap();
        assert_eq!(json, r#""a\u001b[31m\u009b2J\u202e\u007f\n\"größe""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
