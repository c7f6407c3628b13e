//! Stories: at a time something happens, and then exactly these records and commands come of it.

mod balance;
mod faults;
mod jobs;
mod limits;
mod policy;
mod random;
mod stage;
