//! A coordinator or a worker as a process of its own: `fabric-side coordinator FOLDER`,
//! `fabric-side worker CREDENTIALS ADDRESS SLOTS`, `fabric-side crowd FOLDER ADDRESS`.
//!
//! Each says on stdout when it is ready, and ends when its stdin does. What it runs is what the `ppwasm` command runs.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use ppwasm_certs::{Credentials, tls};
use ppwasm_coordinator::server::HostImages;
use ppwasm_coordinator::service::{Builders, Coordinator, CoordinatorConfig};
use ppwasm_host::Host;
use ppwasm_proto::fabric::Incarnation;
use ppwasm_session::Connector;
use ppwasm_session::link::CoordinatorDialer;
use ppwasm_worker::agent::{Config as AgentConfig, ExitReason};
use ppwasm_worker::{Worker, WorkerConfig, WorkerEnd};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match arguments[..] {
        ["coordinator", folder] => runtime.block_on(coordinator(Path::new(folder))),
        ["worker", credentials, address, slots] => {
            runtime.block_on(worker(Path::new(credentials), address, slots.parse()?))
        }
        ["crowd", folder, address] => runtime.block_on(crowd(Path::new(folder), address)),
        _ => bail!("coordinator FOLDER, worker CREDENTIALS ADDRESS SLOTS, or crowd FOLDER ADDRESS"),
    }
}

async fn coordinator(folder: &Path) -> anyhow::Result<()> {
    let host = Arc::new(host(0)?);
    let mut config = CoordinatorConfig::new(folder);
    config.listen = "127.0.0.1:0".parse()?;
    let coordinator =
        Coordinator::start(config, Builders::Here(Arc::new(HostImages::new(host)))).await?;
    println!("{}", coordinator.address());
    tokio::select! {
        () = coordinator.wait() => {}
        () = end_of_input() => {}
    }
    coordinator.stop().await?;
    Ok(())
}

async fn worker(credentials: &Path, address: &str, slots: u32) -> anyhow::Result<()> {
    let host = Arc::new(host(usize::try_from(slots)?)?);
    let credentials = Credentials::load(credentials)?.context("there are no credentials")?;
    let label = credentials.leaf()?.identity.name().to_owned();
    let tls = tls::client_config(&credentials, Arc::new(tls::DefaultTimeProvider))?;
    let dialer = CoordinatorDialer::new(Connector::of_worker(tls)?, [address.parse()?]);
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed()?;
    let life = u64::try_from(since_1970.as_nanos())?;
    let config = WorkerConfig {
        agent: AgentConfig::new(Incarnation(life), life, slots),
        label,
    };
    let worker = Worker::new(host, dialer, config);
    let handle = worker.handle();
    println!("ready");
    let asked = async {
        end_of_input().await;
        handle.drain().await;
    };
    let (why, ()) = tokio::join!(worker.run(), asked);
    ensure!(
        matches!(why, WorkerEnd::Left(ExitReason::Drained)),
        "the worker ended: {why:?}"
    );
    Ok(())
}

async fn crowd(folder: &Path, address: &str) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        all.extend(Credentials::load(&entry?.path())?);
    }
    tokio::select! {
        ended = ppwasm_benches::fabric::crowd::serve(all, address.parse()?, || println!("ready")) => ended,
        () = end_of_input() => Ok(()),
    }
}

fn host(slots: usize) -> anyhow::Result<Host> {
    let builder = Host::builder().slots(slots);
    Ok(match std::env::var_os("PPWASM_GUEST_DIR") {
        Some(folder) => builder.guest(folder).build()?,
        None => builder.build()?,
    })
}

/// Whoever started this holds the other end of its stdin.
async fn end_of_input() {
    let (sender, ended) = tokio::sync::oneshot::channel();
    // A thread of its own, so that nothing waits for it at the end.
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while std::io::stdin()
            .read(&mut bytes)
            .is_ok_and(|count| count > 0)
        {}
        let _ = sender.send(());
    });
    let _ = ended.await;
}
