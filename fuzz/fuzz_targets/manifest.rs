#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ppwasm_fuzz_targets::run("manifest", bytes));
