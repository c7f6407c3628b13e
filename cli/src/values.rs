//! The call that the command line gives, from its text.

use ppwasm_proto::{Call, Value};
use serde_json::{Map, Value as Json};

use crate::failure::{Because, Failure, Result};

/// An error of JSON with its place in words that fit all of ours.
pub(crate) fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("line {}, column {}: {what}", error.line(), error.column()),
        None => text,
    }
}

/// The call that every task makes, but for its item.
pub(crate) fn call(args: &[String], kwargs: Option<&str>, is_script: bool) -> Result<Call> {
    let mut call = Call::new();
    if is_script {
        if kwargs.is_some() {
            let message =
                "--kwargs: a script takes no keyword arguments; name a function, as in FILE:FUNC";
            return Err(Failure::usage(message));
        }
        call.args = args.iter().map(|arg| arg.as_str().into()).collect();
    } else {
        for arg in args {
            call.args
                .push(Value::from_argument(arg).usage(format!("argument {arg:?}"))?);
        }
    }
    if let Some(text) = kwargs {
        let pairs: Map<String, Json> = serde_json::from_str(text).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Data => "not a JSON object".to_owned(),
                _ => format!("not JSON: {}", told(&error)),
            };
            Failure::usage(format!("--kwargs: {what}"))
        })?;
        for (name, value) in &pairs {
            let value = Value::from_json(value).usage(format!("--kwargs: value of {name:?}"))?;
            call.kwargs.push((name.clone(), value));
        }
    }
    call.to_bytes().usage("the arguments cannot travel")?;
    Ok(call)
}
