//! Embeds a host: loads a function from a Python file and calls it, each time in a fresh sandbox.
//!
//! ```text
//! cargo run -p ppwasm-host --example run_function -- FILE FUNCTION [INTEGER…]
//! ```

use std::process::ExitCode;

use ppwasm_host::{Host, Task};
use ppwasm_proto::{Call, FunctionBundle, Outcome};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(name)) = (args.next(), args.next()) else {
        eprintln!("usage: run_function FILE FUNCTION [INTEGER…]");
        return Ok(ExitCode::from(2));
    };
    let numbers: Vec<i64> = args.map(|arg| arg.parse()).collect::<Result<_, _>>()?;

    let host = Host::builder().build()?;
    let bundle = FunctionBundle::function("job", &file, std::fs::read(&file)?, &name)?;
    let function = host.load(&bundle)?;
    let report = host.run(&function, Task::new(Call::with_args(numbers)))?;

    match report.outcome {
        Outcome::Succeeded { value } => {
            println!("{}", value.decode()?.to_python_repr());
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Raised(exception) => {
            eprint!("{}", exception.traceback);
            Ok(ExitCode::FAILURE)
        }
        other => {
            eprintln!("{other:?}");
            Ok(ExitCode::FAILURE)
        }
    }
}
