//! `ppwasm login` and `logout`: who this user is to a coordinator.

use std::fs;
use std::io;

use ppwasm_certs::Role;
use ppwasm_session::{JoinError, join};

use super::worker::{resolve, token};
use crate::address::Address;
use crate::args;
use crate::config::{self, COORDINATOR, Config};
use crate::exit_code::ExitCode;
use crate::fabric::{CREDENTIALS_FILE, runtime};
use crate::failure::{Because, Failure, Result, chain};
use crate::{machine, visible};

/// Characters of a name that is made up.
const NAME_MAX: usize = 40;

/// Joins as a client, and makes the coordinator the one that commands go to.
pub(super) fn login(args: &args::Login) -> Result<ExitCode> {
    let config = Config::load()?;
    let Some(join_token) = &args.join else {
        return Err(Failure::usage(
            "give a token with --join: `ppwasm certs token --role client` on the coordinator's machine makes one",
        ));
    };
    let token = token(join_token)?;
    let addresses = resolve(&args.coordinator)?;
    let name = args.name.clone().unwrap_or_else(own_name);
    let joined = runtime()?.block_on(join(&addresses, &token, &name));
    let credentials = joined.map_err(|error| refused(&error, &args.coordinator, Role::Client))?;
    let leaf = credentials
        .leaf()
        .machine("what was issued cannot be used")?;
    if leaf.identity.role() != Role::Client {
        return Err(Failure::usage(format!(
            "the token is for a {}: log in with one that `ppwasm certs token --role client` makes",
            leaf.identity.role()
        )));
    }
    let path = config.folder().join(CREDENTIALS_FILE);
    credentials
        .save(&path)
        .machine("could not keep the credentials")?;
    let address = args.coordinator.to_string();
    config::set_in_file(&config.path(), COORDINATOR.key, &address)?;
    let name = leaf.identity.name();
    visible::note(&format!(
        "logged in at {address} as {name}; `ppwasm submit` goes there now"
    ));
    Ok(ExitCode::Succeeded)
}

/// Forgets who the user was, and the coordinator.
pub(super) fn logout() -> Result<ExitCode> {
    let config = Config::load()?;
    let path = config.folder().join(CREDENTIALS_FILE);
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).machine(format!("could not remove {}", path.display())),
    }
    config::remove_from_file(&config.path(), COORDINATOR.key)?;
    visible::note("logged out; `ppwasm submit` runs on this machine now");
    Ok(ExitCode::Succeeded)
}

pub(super) fn refused(error: &JoinError, address: &Address, role: Role) -> Failure {
    let again = format!(
        "get a new token with `ppwasm certs token --role {role}` on the coordinator's machine"
    );
    match error {
        JoinError::Refused { .. } => Failure::cluster(format!(
            "{address} does not take the token: it is used up, has expired, or is for another name or role; {again}"
        )),
        JoinError::Connect { source, .. } => match source.rejection() {
            Some(rejection) => Failure::cluster(format!(
                "{address}: {rejection}: the token is of another coordinator, or a clock is wrong"
            )),
            None => Failure::cluster(format!(
                "no coordinator answers at {address} ({}); is it running there, and does the network let UDP through?",
                chain(source)
            )),
        },
        JoinError::Name { name, source } => Failure::usage(format!("--name: {name:?}: {source}")),
        other => Failure::cluster(format!("{address}: {}", chain(other))),
    }
}

/// The user's name and the machine's.
fn own_name() -> String {
    let [user, host] = [machine::user_name(), machine::host_name()].map(Option::unwrap_or_default);
    let text = format!("{user}-{host}").to_ascii_lowercase();
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' | '-' => c,
        _ => '-',
    };
    let name: String = text.chars().map(plain).take(NAME_MAX).collect();
    match name.trim_matches('-') {
        "" => "client".into(),
        name => name.into(),
    }
}
