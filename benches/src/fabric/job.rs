//! Jobs of a client, each answer checked.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ppwasm_client::{Client, JobRequest, Order, Results, TaskResult};
use ppwasm_proto::wire::TimeSource;
use ppwasm_proto::{Call, FunctionBundle, JobId, Outcome};

use crate::noop;

/// What the tasks of a job do, besides giving back their number and one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing.
    Add,
    /// Compute for some milliseconds.
    Compute,
    /// Sleep for three seconds.
    Pause,
}

/// More than any result takes, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long a task that waits does so.
pub(super) const PAUSE: Duration = Duration::from_secs(3);

/// A job: its number makes its id, so another number is another job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its number.
    pub number: u64,
    /// How many tasks it has.
    pub tasks: u64,
    /// What they do.
    pub task: Task,
}

impl Task {
    pub(super) fn bundle(self) -> anyhow::Result<FunctionBundle> {
        let source = match self {
            Self::Add => return noop::bundle(0),
            Self::Compute => {
                "def f(x):\n    for _ in range(100_000):\n        pass\n    return x + 1\n"
                    .to_owned()
            }
            Self::Pause => {
                let seconds = PAUSE.as_secs();
                format!("import time\n\ndef f(x):\n    time.sleep({seconds})\n    return x + 1\n")
            }
        };
        Ok(FunctionBundle::function("job", "job.py", source, "f")?)
    }
}

impl Job {
    /// A job of tasks that do nothing else.
    #[must_use]
    pub const fn adding(number: u64, tasks: u64) -> Self {
        let task = Task::Add;
        Self {
            number,
            tasks,
            task,
        }
    }

    fn id(self) -> JobId {
        let mut bytes = [7; 16];
        for (place, byte) in bytes.iter_mut().zip(self.number.to_le_bytes()) {
            *place = byte;
        }
        JobId::from_bytes(bytes)
    }

    fn request(self) -> anyhow::Result<JobRequest> {
        let request = JobRequest::new(self.id(), &self.task.bundle()?);
        Ok(match self.task {
            Task::Pause => request.time(TimeSource::Real {}),
            Task::Add | Task::Compute => request,
        })
    }

    /// Submits it with all its tasks; they are durable then.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub async fn submit(self, client: &Client) -> anyhow::Result<()> {
        let mut submission = client.submit(self.request()?).await?;
        for x in 0..self.tasks {
            submission
                .append(&Call::with_args([x.cast_signed()]))
                .await?;
        }
        let count = submission.finish().await?;
        ensure!(
            count == self.tasks,
            "{count} tasks instead of {}",
            self.tasks
        );
        Ok(())
    }

    /// Takes all its results, each of which has to be right and to come once; when the first came.
    ///
    /// # Errors
    ///
    /// One is wrong or missing.
    pub async fn results(self, client: &Client) -> anyhow::Result<Instant> {
        let mut results = client.results(self.id(), Order::Completion).await?;
        self.take(&mut results).await
    }

    async fn take(self, results: &mut Results) -> anyhow::Result<Instant> {
        let mut has_come = vec![false; usize::try_from(self.tasks)?];
        let (mut count, mut first) = (0, None);
        loop {
            let next = tokio::time::timeout(PATIENCE, results.next()).await;
            let Some(result) = next.context("no result came for minutes")?? else {
                break;
            };
            first.get_or_insert_with(Instant::now);
            check(&result)?;
            let place = has_come.get_mut(usize::try_from(result.task.0)?);
            let place = place.with_context(|| format!("there is no task {}", result.task))?;
            ensure!(!*place, "task {} came twice", result.task);
            *place = true;
            count += 1;
        }
        ensure!(
            count == self.tasks,
            "{count} results instead of {}",
            self.tasks
        );
        first.context("a job without tasks")
    }

    /// Submits it and takes its results at the same time; how long that took.
    ///
    /// # Errors
    ///
    /// A result is wrong or missing.
    pub async fn run(self, client: &Client) -> anyhow::Result<Duration> {
        let started = Instant::now();
        // The first request opens the job, so that it can be watched.
        let mut submission = client.submit(self.request()?).await?;
        let appending = async {
            for x in 0..self.tasks {
                submission
                    .append(&Call::with_args([x.cast_signed()]))
                    .await?;
            }
            anyhow::Ok(submission.finish().await?)
        };
        let (count, _) = tokio::try_join!(appending, self.results(client))?;
        ensure!(
            count == self.tasks,
            "{count} tasks instead of {}",
            self.tasks
        );
        Ok(started.elapsed())
    }

    /// Runs its tasks one after the other, each waited for; how long each took, in microseconds.
    ///
    /// # Errors
    ///
    /// A result is wrong or missing.
    pub async fn one_at_a_time(self, client: &Client) -> anyhow::Result<Vec<f64>> {
        let mut submission = client.submit(self.request()?).await?;
        let mut results = client.results(self.id(), Order::Completion).await?;
        let mut times = Vec::new();
        for x in 0..self.tasks {
            let started = Instant::now();
            submission
                .append(&Call::with_args([x.cast_signed()]))
                .await?;
            let result = results.next().await?.context("the job has ended")?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
            ensure!(result.task.0 == x, "{} instead of {x}", result.task);
            check(&result)?;
        }
        submission.finish().await?;
        ensure!(results.next().await?.is_none(), "more results than tasks");
        Ok(times)
    }
}

fn check(result: &TaskResult) -> anyhow::Result<()> {
    let x = result.task.0.cast_signed();
    let Outcome::Succeeded { value } = &result.outcome else {
        bail!("task {x}: {:?}", result.outcome);
    };
    ensure!(
        value.as_bytes() == noop::answer(x)?,
        "task {x}: a wrong answer"
    );
    Ok(())
}

/// Returns when the coordinator has answered something: that there is no such job.
///
/// # Errors
///
/// It answered something else.
pub(super) async fn ask(client: &Client) -> anyhow::Result<()> {
    match client.cancel(JobId::from_bytes([0xff; 16])).await {
        Err(ppwasm_client::ClientError::Refused { .. }) => Ok(()),
        other => bail!("a job that nobody made: {other:?}"),
    }
}
