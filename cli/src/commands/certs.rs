//! `ppwasm certs`: who may join, and who may not any longer. Asked of the running coordinator, as its operator.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ppwasm_certs::{Credentials, tls};
use ppwasm_coordinator::service::{OPERATOR_FILE, read_address};
use ppwasm_proto::wire::{
    Hello, JoinRole, MINOR, MINOR_MIN, Message, MintToken, RevokeIdentity, Text,
};
use ppwasm_session::{Connector, Session};

use super::coordinator::{folder, place};
use crate::args;
use crate::exit_code::ExitCode;
use crate::failure::{Because, Failure, Result};
use crate::job::closed;

/// The coordinator is on this machine and answers within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// The only request of the session.
const REQUEST: u32 = 1;

/// Carries the command out.
pub(crate) fn certs(args: &args::Certs) -> Result<ExitCode> {
    match args {
        args::Certs::Token(args) => token(args),
        args::Certs::Revoke(args) => revoke(args),
    }
}

fn token(args: &args::CertsToken) -> Result<ExitCode> {
    let name = args.name.as_deref().map(Text::try_from).transpose();
    let lifetime_s = args.lifetime.map(|time| time.0.as_secs());
    let ask = MintToken {
        request: REQUEST,
        role: role(args.role),
        name: name.usage("--name: too long")?,
        lifetime_s,
    };
    let folder = folder(&args.folder)?;
    let (address, answer) = ask_operator(&folder, ask.into())?;
    let Message::TokenMinted(minted) = answer else {
        return Err(refused(answer));
    };
    let (token, place) = (minted.token.as_str(), place(address));
    let how = match args.role {
        args::CertsRole::Worker => format!("ppwasm worker start --join {token} {place}"),
        args::CertsRole::Client => format!("ppwasm login --join {token} {place}"),
    };
    let minutes = minted.lifetime_s.div_ceil(60);
    let text = format!("{token}\n\nIt works once, within {minutes} min:\n  {how}\n");
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(closed)?;
    Ok(ExitCode::Succeeded)
}

fn revoke(args: &args::CertsRevoke) -> Result<ExitCode> {
    let ask = RevokeIdentity {
        request: REQUEST,
        role: role(args.role),
        name: Text::try_from(args.name.as_str()).usage("NAME: too long")?,
        reason: Text::try_from(args.reason.as_str()).usage("--reason: too long")?,
    };
    match ask_operator(&folder(&args.folder)?, ask.into())?.1 {
        Message::Done(_) => Ok(ExitCode::Succeeded),
        other => Err(refused(other)),
    }
}

const fn role(role: args::CertsRole) -> JoinRole {
    match role {
        args::CertsRole::Worker => JoinRole::Worker,
        args::CertsRole::Client => JoinRole::Client,
    }
}

fn refused(answer: Message) -> Failure {
    match answer {
        Message::Failed(failed) => Failure::usage(format!(
            "the coordinator refused: {} ({})",
            failed.reason.as_str(),
            failed.code
        )),
        other => Failure::Machine(anyhow::anyhow!(
            "the coordinator answered with {}",
            other.name()
        )),
    }
}

/// One question to the coordinator of a folder.
fn ask_operator(folder: &Path, ask: Message) -> Result<(SocketAddr, Message)> {
    let runs = format!("no coordinator runs in {}", folder.display());
    let address = read_address(folder).usage(&runs)?;
    let path = folder.join(OPERATOR_FILE);
    let credentials = Credentials::load(&path).machine("could not read the operator's key")?;
    let credentials =
        credentials.ok_or_else(|| Failure::usage(format!("{} is missing", path.display())))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .machine("could not start a thread")?;
    runtime.block_on(async {
        let time = Arc::new(tls::DefaultTimeProvider);
        let tls = tls::client_config(&credentials, time).machine("the operator's key")?;
        let connector = Connector::new(tls).machine("could not open a socket")?;
        let session = connector.connect(address).await;
        let session = session.machine(format!("{runs} at {address}"))?;
        let answer = tokio::time::timeout(PATIENCE, converse(session, ask)).await;
        let answer = answer.machine("the coordinator did not answer in time")??;
        connector.settle().await;
        Ok((address, answer))
    })
}

async fn converse(mut session: Session, ask: Message) -> Result<Message> {
    let hello = Hello {
        minor_min: MINOR_MIN,
        minor_max: MINOR,
        build: Text::truncated(concat!("ppwasm ", env!("CARGO_PKG_VERSION"))),
        worker: None,
    };
    let lost = "the connection ended";
    session.sender.send(&hello.into()).await.machine(lost)?;
    match session.receiver.receive().await.machine(lost)? {
        Message::Welcome(_) => {}
        other => return Err(refused(other)),
    }
    session.sender.send(&ask).await.machine(lost)?;
    let answer = session.receiver.receive().await.machine(lost)?;
    let finished = ppwasm_proto::wire::CloseCode::Finished;
    session.sender.finish(finished, "").await;
    Ok(answer)
}
