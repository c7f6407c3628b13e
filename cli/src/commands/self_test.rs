//! `ppwasm doctor --self-test`: fixed programs, and what they come to on every machine.
//!
//! The first thing to do on a new kind of machine: an interpreter that starts and computes something else is worse than
//! one that does not start.

use ppwasm_host::{Host, Task};
use ppwasm_proto::wire::encode_outcome;
use ppwasm_proto::{Call, Digest, FunctionBundle};

use crate::failure::chain;

/// Hexadecimal digits of a digest that are compared.
const DIGITS: usize = 16;

struct Programs {
    module: &'static str,
    source: &'static str,
    /// Their names, and the digests of their outcomes: the same whatever guest has been built, as long as its Python is.
    known: &'static [(&'static str, &'static str)],
}

const ALL: [Programs; 2] = [
    Programs {
        module: "numbers",
        source: include_str!("../../../tests/corpus/numbers.py"),
        known: &[
            ("math_functions", "475ddd628c9d208b"),
            ("math_of_two", "82f6611be66606df"),
            ("complex_functions", "c5b25556d23c4fb0"),
            ("fma_and_sums", "63d6cf73e91f5320"),
            ("nan_payloads", "993bc71583046b73"),
            ("formatting_and_parsing", "595bf47b4edf4371"),
            ("conversions", "cdc6b17ef3fbb527"),
            ("decimals_and_fractions", "63a2ffc8da4bf16e"),
            ("integers", "25a46e089da45c58"),
        ],
    },
    Programs {
        module: "objects",
        source: include_str!("../../../tests/corpus/objects.py"),
        known: &[
            ("hashes", "f35374526e949aa9"),
            ("sorting", "67a4ded8fbc3ec81"),
            ("randomness", "dc7152f53d673799"),
            ("texts", "324c367265acd86a"),
            ("times", "53737a4fb57ce1bd"),
        ],
    },
];

/// Runs them all: how many came to what is known, or which did not.
pub(super) fn run(host: &Host) -> Result<usize, String> {
    let mut passed = 0;
    for programs in ALL {
        let module = programs.module;
        let file = format!("{module}.py");
        let bundle = FunctionBundle::function(module, &file, programs.source, "call");
        let bundle = bundle.map_err(|error| chain(&error))?;
        let call = host.load(&bundle).map_err(|error| chain(&error))?;
        for (name, known) in programs.known {
            let task = Task::new(Call::with_args([*name]));
            let report = host.run(&call, task).map_err(|error| chain(&error))?;
            let digest = Digest::of(&encode_outcome(&report.outcome)).to_string();
            let found: String = digest.chars().take(DIGITS).collect();
            if found != *known {
                return Err(format!("{module}.{name} came to {found}, known is {known}"));
            }
            passed += 1;
        }
    }
    Ok(passed)
}
