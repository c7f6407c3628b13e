//! How people name jobs: by number, range, the first digits of an id, `last` or `all`.

use std::fmt;
use std::str::FromStr;

use ppwasm_client::{Client, ClientError};
use ppwasm_proto::JobId;
use ppwasm_proto::wire::JobSummary;

use crate::failure::{Failure, Result};

/// Digits of an id.
const ID_DIGITS: usize = 32;
/// Digits from which a text of decimal digits is part of an id and not a number.
const NUMBER_DIGITS_MAX: usize = 15;

/// One job, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// Numbers from the first to the last.
    Numbers(u64, u64),
    /// The first digits of an id.
    Prefix(String),
    /// The one that was submitted last.
    Last,
    /// Every one.
    All,
}

/// A text that names no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSelector;

impl fmt::Display for NoSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a job is a number (5), a range (1-10), last, all, or the first digits of an id",
        )
    }
}

impl std::error::Error for NoSelector {}

impl FromStr for Selector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let number = |text: &str| {
            let is_number = text.len() <= NUMBER_DIGITS_MAX
                && !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u64>().ok()).flatten()
        };
        let is_hex = |text: &str| {
            (1..=ID_DIGITS).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        match text {
            "last" => Ok(Self::Last),
            "all" => Ok(Self::All),
            _ => match text.split_once('-') {
                Some((first, last)) => match (number(first), number(last)) {
                    (Some(first), Some(last)) if first <= last => Ok(Self::Numbers(first, last)),
                    _ => Err(NoSelector),
                },
                None => match number(text) {
                    Some(number) => Ok(Self::Numbers(number, number)),
                    None if is_hex(text) => Ok(Self::Prefix(text.to_owned())),
                    None => Err(NoSelector),
                },
            },
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbers(first, last) if first == last => write!(f, "{first}"),
            Self::Numbers(first, last) => write!(f, "{first}-{last}"),
            Self::Prefix(digits) => f.write_str(digits),
            Self::Last => f.write_str("last"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Selector {
    fn selects(&self, job: &JobSummary) -> bool {
        match self {
            Self::Numbers(first, last) => job
                .number
                .is_some_and(|number| (*first..=*last).contains(&number)),
            Self::Prefix(digits) => job.job.to_string().starts_with(digits),
            Self::Last | Self::All => true,
        }
    }

    /// The id, when that is what it is.
    fn id(&self) -> Option<JobId> {
        match self {
            Self::Prefix(digits) if digits.len() == ID_DIGITS => digits.parse().ok(),
            _ => None,
        }
    }

    /// Whether nothing that is older than this job can be meant.
    fn is_past(&self, job: &JobSummary) -> bool {
        match self {
            Self::Numbers(first, _) => job.number.is_some_and(|number| number <= *first),
            Self::Last => true,
            Self::Prefix(_) | Self::All => false,
        }
    }

    /// The jobs that are meant, newest first.
    ///
    /// # Errors
    ///
    /// There are none, or the first digits are those of several.
    pub(crate) async fn jobs(
        &self,
        client: &Client,
        failed: impl Fn(&ClientError) -> Failure,
    ) -> Result<Vec<JobSummary>> {
        let missing = || Failure::usage(format!("there is no job {self} of yours"));
        if let Some(id) = self.id() {
            return match client.job(id).await {
                Ok(details) => Ok(vec![details.summary]),
                Err(ClientError::Refused { .. }) => Err(missing()),
                Err(error) => Err(failed(&error)),
            };
        }
        let mut found = Vec::new();
        let mut after = None;
        'pages: loop {
            let page = client.jobs(after, false).await;
            let page = page.map_err(|error| failed(&error))?;
            for job in page.jobs {
                after = Some(job.job);
                let is_past = self.is_past(&job);
                if self.selects(&job) {
                    found.push(job);
                }
                if is_past {
                    break 'pages;
                }
            }
            if !page.has_more {
                break;
            }
        }
        match (self, found.len()) {
            (Self::All, _) => Ok(found),
            (_, 0) => Err(missing()),
            (Self::Prefix(digits), 2..) => Err(Failure::usage(format!(
                "{digits}: the ids of {} jobs begin so; give more digits",
                found.len()
            ))),
            _ => Ok(found),
        }
    }

    /// The one job that is meant.
    ///
    /// # Errors
    ///
    /// There is none, or there are several.
    pub(crate) async fn job(
        &self,
        client: &Client,
        failed: impl Fn(&ClientError) -> Failure,
    ) -> Result<JobSummary> {
        let jobs = self.jobs(client, failed).await?;
        match <[JobSummary; 1]>::try_from(jobs) {
            Ok([job]) => Ok(job),
            Err(jobs) => Err(Failure::usage(format!(
                "{self} names {} jobs; name one",
                jobs.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_jobs_and_what_does_not() {
        let id = "0123456789abcdef0123456789abcdef";
        let cases = [
            ("5", Selector::Numbers(5, 5)),
            ("1-10", Selector::Numbers(1, 10)),
            ("last", Selector::Last),
            ("all", Selector::All),
            ("a3", Selector::Prefix("a3".into())),
            (id, Selector::Prefix(id.into())),
            (
                "00000000000000000000000000000005",
                Selector::Prefix("00000000000000000000000000000005".into()),
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse::<Selector>(), Ok(wanted.clone()));
            assert_eq!(wanted.to_string(), text);
        }
        for text in [
            "", "-", "5-", "-5", "10-1", "a-b", "x", "A3", "1.5", "lasts",
        ] {
            assert_eq!(text.parse::<Selector>(), Err(NoSelector), "{text:?}");
        }
    }
}
