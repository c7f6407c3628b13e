//! Many workers that run nothing: one process that has a session for each and answers every task at once, rightly.
//!
//! They are the coordinator's side of a large fleet: what a task costs there with a thousand connections.

use std::sync::Arc;

use anyhow::{Context, bail};
use ppwasm_certs::{Credentials, tls};
use ppwasm_proto::fabric::{Claim, Incarnation, OutcomeKind};
use ppwasm_proto::wire::{
    Bytes, Ended, GrantGroup, Hello, ImageWanted, ImagesHeld, List, MINOR, MINOR_MIN, Message,
    Payload, Report, TaskResult, Text, Usage, WorkerOffer, encode_outcome,
};
use ppwasm_proto::{Outcome, TaskIdentity, Value};
use ppwasm_session::{Connector, Session};

const SLOTS: u64 = 2;
const CREDIT: u64 = 512;

/// Serves as one worker for each of the credentials until the coordinator goes.
///
/// # Errors
///
/// One cannot connect, or meets what it does not expect.
pub async fn serve(
    all: Vec<Credentials>,
    address: std::net::SocketAddr,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut workers = tokio::task::JoinSet::new();
    let mut connector: Option<Connector> = None;
    for credentials in all {
        let tls = tls::client_config(&credentials, Arc::new(tls::DefaultTimeProvider))?;
        // One socket for all.
        let connector = match &mut connector {
            Some(connector) => {
                connector.set_tls(tls)?;
                connector
            }
            none => none.insert(Connector::of_worker(tls)?),
        };
        let mut session = connector.connect(address).await?;
        session.sender.send(&hello()).await?;
        let Message::Welcome(_) = session.receiver.receive().await? else {
            bail!("not welcome");
        };
        workers.spawn(work(session));
    }
    ready();
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn work(mut session: Session) -> anyhow::Result<()> {
    let mut report = 0;
    let mut every = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        let message = tokio::select! {
            message = session.receiver.receive() => message?,
            _ = every.tick() => {
                report += 1;
                // Nothing waits here: every grant is answered before anything else.
                let report = Report { number: report, waiting: List::new(), running: List::new() };
                session.sender.send(&report.into()).await?;
                continue;
            }
        };
        match message {
            Message::Grant(grant) => {
                for group in grant.groups {
                    let results = answers(&group)?;
                    session.sender.gather(&Ended { results }.into())?;
                }
                session.sender.flush().await?;
            }
            Message::ImageReady(ready) => {
                let held = List::try_from(vec![ready.function])?;
                let dropped = List::new();
                session
                    .sender
                    .send(&ImagesHeld { held, dropped }.into())
                    .await?;
            }
            Message::ImageMissing(missing) => {
                let function = missing.function;
                session
                    .sender
                    .send(&ImageWanted { function }.into())
                    .await?;
            }
            _ => {}
        }
    }
}

fn answers<const N: usize>(group: &GrantGroup) -> anyhow::Result<List<TaskResult, N>> {
    let answer = |task: &ppwasm_proto::wire::GrantedTask| {
        let Payload::Inline(call) = &task.call else {
            bail!("a call that is a blob");
        };
        let outcome = Outcome::Succeeded {
            value: answer(call)?,
        };
        Ok(TaskResult {
            claim: Claim {
                lease: task.lease,
                identity: TaskIdentity::new(group.job, task.task),
                attempt: task.attempt,
                token: task.token,
            },
            kind: OutcomeKind::Succeeded,
            outcome: Payload::Inline(Bytes::try_from(encode_outcome(&outcome))?),
            stdout: None,
            stderr: None,
            usage: Usage {
                wall_us: 10,
                ..Usage::default()
            },
        })
    };
    let answers = group
        .tasks
        .iter()
        .map(answer)
        .collect::<anyhow::Result<Vec<_>>>()?;
    List::try_from(answers).context("as many as tasks")
}

/// What `f(x) = x + 1` gives for an encoded call.
fn answer(call: &[u8]) -> anyhow::Result<ppwasm_proto::EncodedValue> {
    let Value::List(parts) = Value::decode(call)? else {
        bail!("not a call");
    };
    let Some(Value::List(args)) = parts.into_iter().next() else {
        bail!("a call without arguments");
    };
    let Some(Value::Int(x)) = args.into_iter().next() else {
        bail!("not an integer");
    };
    let x = x.as_i64().context("a large one")?;
    let bytes = Value::from(x + 1).encode()?;
    Ok(ppwasm_proto::EncodedValue::from_bytes(bytes))
}

fn hello() -> Message {
    Hello {
        minor_min: MINOR_MIN,
        minor_max: MINOR,
        build: Text::default(),
        worker: Some(WorkerOffer {
            target: Text::truncated(std::env::consts::ARCH),
            cpu_profile: Text::truncated("none"),
            slots: SLOTS,
            label: None,
            guests: List::new(),
            functions: List::new(),
            incarnation: Incarnation(1),
            credit: CREDIT,
            held: List::new(),
            is_draining: None,
            memory_bytes: None,
            engine: None,
            wants_guest: None,
        }),
    }
    .into()
}
