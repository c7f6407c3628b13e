//! Tells a restarted scheduler what there is.

use std::collections::HashMap;

use ppwasm_proto::fabric::{LeaseId, WorkerId};
use ppwasm_proto::{Attempt, JobId, TaskId};
use ppwasm_scheduler::{JobEnd, Record, TaskEnd};
use rusqlite::{Connection, Row, Rows};

use super::read::{absent, key_text, state};
use super::row::{
    self, JOB_COLUMNS, JobRow, OUTCOME_COLUMNS, OutcomeRow, StateRow, at, drain_reason, key_job,
    key_task, odd, torn,
};
use crate::store::{ReadError, StoreDamage};

/// Gives `each` all records, in the order that [`Record`] asks for: workers, then job by job. The tables are gone
/// through once, side by side, by job; what belongs to no job or is missing is found on the way.
pub(super) fn recover(db: &Connection, each: &mut dyn FnMut(Record)) -> Result<(), ReadError> {
    let workers = workers(db, each)?;
    let jobs = format!("SELECT {JOB_COLUMNS} FROM job ORDER BY number");
    let outcomes = format!("SELECT {OUTCOME_COLUMNS} FROM outcome ORDER BY key");
    let calls = "SELECT key, count, body_sum, sum FROM call ORDER BY key";
    let losses = "SELECT key, attempt, round, worker, is_suspect, sum FROM loss
                  ORDER BY key, attempt";
    let (mut jobs, mut calls) = (db.prepare(&jobs)?, db.prepare(calls)?);
    let (mut outcomes, mut losses) = (db.prepare(&outcomes)?, db.prepare(losses)?);
    let mut jobs = jobs.query([])?;
    let mut tables = Tables {
        calls: Cursor::new("call", calls.query([])?, read_call),
        outcomes: Cursor::new("outcome", outcomes.query([])?, |row| {
            let outcome = OutcomeRow::read(row)?;
            Ok((outcome.key, outcome))
        }),
        losses: Cursor::new("loss", losses.query([])?, read_loss),
        workers,
    };
    while let Some(found) = jobs.next()? {
        let job = JobRow::read(found)?;
        let state = state(db, job.number)?;
        tables.go_to(db, job.number)?;
        tables.job(job, &state, each)?;
    }
    tables.go_to(db, i64::MAX)?;
    let without = "SELECT number FROM job_state WHERE is_forgotten = 0
                   AND number NOT IN (SELECT number FROM job) LIMIT 1";
    match row::number(&mut db.prepare(without)?, [])? {
        Some(number) => Err(absent("job", number)),
        None => Ok(()),
    }
}

fn workers(
    db: &Connection,
    each: &mut dyn FnMut(Record),
) -> Result<HashMap<i64, WorkerId>, ReadError> {
    let mut names = HashMap::new();
    let mut find = db.prepare("SELECT number FROM worker ORDER BY number")?;
    let mut rows = find.query([])?;
    while let Some(found) = rows.next()? {
        let number = at(found, 0)?;
        let there = super::read::worker(db, number)?;
        let (name, is_joined, drained) = there.ok_or_else(|| absent("worker", number))?;
        let worker: WorkerId = name.parse().map_err(|_| odd("worker", number, "name"))?;
        names.insert(number, worker.clone());
        if is_joined {
            let worker = worker.clone();
            each(Record::WorkerJoined { worker });
        }
        if let Some(why) = drained {
            let why = drain_reason(why).ok_or_else(|| odd("worker", number, "drained"))?;
            each(Record::WorkerDrained { worker, why });
        }
    }
    Ok(names)
}

/// The tables with rows of tasks, each at the first row that has not been taken.
struct Tables<'a> {
    calls: Cursor<'a, Call>,
    outcomes: Cursor<'a, OutcomeRow>,
    losses: Cursor<'a, Loss>,
    workers: HashMap<i64, WorkerId>,
}

impl Tables<'_> {
    /// Passes over rows of jobs before `number`: of such that are forgotten, and of no others.
    fn go_to(&mut self, db: &Connection, number: i64) -> Result<(), ReadError> {
        self.calls.go_to(db, number)?;
        self.outcomes.go_to(db, number)?;
        self.losses.go_to(db, number)
    }

    fn job(
        &mut self,
        row: JobRow,
        state: &StateRow,
        each: &mut dyn FnMut(Record),
    ) -> Result<(), ReadError> {
        let (job, number) = (row.id, row.number);
        let spec = row.spec;
        each(Record::JobSubmitted { job, spec });
        let mut tasks = 0;
        while let Some((start, count)) = self.calls.next_of(number)? {
            if start != tasks || count == 0 {
                return Err(absent("call", key_text(row::key(number, tasks))));
            }
            tasks += count;
        }
        let count = |what, recorded: i64, found| {
            let recorded = recorded.cast_unsigned();
            match recorded == found {
                true => Ok(()),
                false => Err(StoreDamage::Count {
                    job,
                    what,
                    recorded,
                    found,
                }),
            }
        };
        count("tasks", state.tasks, tasks)?;
        if tasks > 0 {
            let (first, count) = (0, tasks);
            each(Record::TasksAdded { job, first, count });
        }
        if state.is_closed {
            each(Record::JobClosed { job, tasks });
        }
        if state.released > 0 {
            let below = state.released.cast_unsigned();
            each(Record::TasksReleased { job, below });
        }
        let found = match state.round {
            0 => self.first_round(job, state, tasks, each)?,
            _ => self.later_round(job, state, tasks, each)?,
        };
        count("outcomes", state.outcomes, found)?;
        if let Some((how, _)) = state.ended {
            each(Record::JobEnded { job, how });
        }
        Ok(())
    }

    /// Losses and ends of a job that was never retried, passed on as they come.
    fn first_round(
        &mut self,
        job: JobId,
        state: &StateRow,
        tasks: u64,
        each: &mut dyn FnMut(Record),
    ) -> Result<u64, ReadError> {
        while let Some(loss) = self.losses.next_of(state.number)? {
            each(self.lost(job, &loss)?);
        }
        let mut found = 0;
        while let Some(outcome) = self.outcomes.next_of(state.number)? {
            each(self.ended(job, &outcome, tasks)?);
            found += 1;
        }
        Ok(found)
    }

    /// As if it had been retried once: how each task had ended before, the retry, and what came after it.
    fn later_round(
        &mut self,
        job: JobId,
        state: &StateRow,
        tasks: u64,
        each: &mut dyn FnMut(Record),
    ) -> Result<u64, ReadError> {
        let (mut found, mut after) = (0, Vec::new());
        while let Some(loss) = self.losses.next_of(state.number)? {
            if loss.round == state.round {
                after.push(self.lost(job, &loss)?);
            }
        }
        while let Some(outcome) = self.outcomes.next_of(state.number)? {
            found += 1;
            let ended = self.ended(job, &outcome, tasks)?;
            if outcome.round == state.round {
                // It had failed in some way, which is forgotten: else it would not have ended again.
                let (task, end) = (outcome.task(), TaskEnd::Abandoned);
                each(Record::TaskEnded { job, task, end });
                after.push(ended);
            } else {
                each(ended);
            }
        }
        let how = JobEnd::Finished;
        each(Record::JobEnded { job, how });
        let lease_floor = LeaseId(state.lease_floor.cast_unsigned());
        each(Record::JobRetried { job, lease_floor });
        after.into_iter().for_each(each);
        Ok(found)
    }

    fn lost(&self, job: JobId, loss: &Loss) -> Result<Record, ReadError> {
        let worker = self.workers.get(&loss.worker);
        Ok(Record::AttemptLost {
            job,
            task: TaskId(key_task(loss.key)),
            attempt: Attempt(loss.attempt),
            worker: worker
                .cloned()
                .ok_or_else(|| absent("worker", loss.worker))?,
            suspect: loss.is_suspect,
        })
    }

    fn ended(&self, job: JobId, outcome: &OutcomeRow, tasks: u64) -> Result<Record, ReadError> {
        let task = outcome.task();
        if task.0 >= tasks {
            return Err(odd("outcome", key_text(outcome.key), "key"));
        }
        let end = outcome.end(self.workers.get(&outcome.worker).cloned())?;
        Ok(Record::TaskEnded { job, task, end })
    }
}

/// First task and how many.
type Call = (u64, u64);

fn read_call(row: &Row<'_>) -> Result<(i64, Call), ReadError> {
    let (key, count, body_sum) = (at(row, 0)?, at::<i64>(row, 1)?, at(row, 2)?);
    if row::call_sum(key, count, body_sum) != at::<i64>(row, 3)? {
        return Err(torn("call", key_text(key)));
    }
    Ok((key, (key_task(key), count.cast_unsigned())))
}

struct Loss {
    key: i64,
    attempt: u32,
    round: i64,
    worker: i64,
    is_suspect: bool,
}

fn read_loss(row: &Row<'_>) -> Result<(i64, Loss), ReadError> {
    let loss = Loss {
        key: at(row, 0)?,
        attempt: at(row, 1)?,
        round: at(row, 2)?,
        worker: at(row, 3)?,
        is_suspect: at::<i64>(row, 4)? != 0,
    };
    let sum = row::loss_sum(
        loss.key,
        loss.attempt,
        loss.round,
        loss.worker,
        loss.is_suspect,
    );
    if sum != at::<i64>(row, 5)? {
        return Err(torn("loss", key_text(loss.key)));
    }
    Ok((loss.key, loss))
}

type ReadRow<T> = fn(&Row<'_>) -> Result<(i64, T), ReadError>;

/// Rows in the order of their keys, with a look at the next.
struct Cursor<'a, T> {
    table: &'static str,
    rows: Rows<'a>,
    read: ReadRow<T>,
    next: Option<(i64, T)>,
    begun: bool,
    /// A job that was found to be forgotten.
    forgotten: i64,
}

impl<'a, T> Cursor<'a, T> {
    const fn new(table: &'static str, rows: Rows<'a>, read: ReadRow<T>) -> Self {
        Self {
            table,
            rows,
            read,
            next: None,
            begun: false,
            forgotten: -1,
        }
    }

    fn advance(&mut self) -> Result<Option<(i64, T)>, ReadError> {
        let next = match self.rows.next()? {
            Some(row) => Some((self.read)(row)?),
            None => None,
        };
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn next_of(&mut self, number: i64) -> Result<Option<T>, ReadError> {
        match &self.next {
            Some((key, _)) if key_job(*key) == number => Ok(self.advance()?.map(|(_, row)| row)),
            _ => Ok(None),
        }
    }

    fn go_to(&mut self, db: &Connection, number: i64) -> Result<(), ReadError> {
        if !std::mem::replace(&mut self.begun, true) {
            self.advance()?;
        }
        while let Some((key, _)) = &self.next {
            let (key, owner) = (*key, key_job(*key));
            if owner >= number {
                break;
            }
            if self.forgotten != owner {
                match state(db, owner) {
                    Ok(state) if state.is_forgotten => self.forgotten = owner,
                    Ok(_) | Err(ReadError::Damaged(StoreDamage::Absent { .. })) => {
                        let (table, key) = (self.table, key_text(key));
                        return Err(StoreDamage::Orphan { table, key }.into());
                    }
                    Err(other) => return Err(other),
                }
            }
            self.advance()?;
        }
        Ok(())
    }
}
