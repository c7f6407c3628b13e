//! One figure, and the table that they make up.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figures::{Better, FIGURES, Figure};

/// One figure of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Its name, unit last.
    pub name: &'static str,
    /// What was measured; none when it could not be, and then `note` says why.
    pub value: Option<f64>,
    /// The unit: `us`, `1/s`, `ratio`, …
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// What it is compared with: `reach` is the project's own goal, anything else another program.
    pub baseline: String,
    /// The goal, or what the other program reached in the same run.
    pub baseline_value: Option<f64>,
    /// What one has to know besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Record {
    /// A figure of [`FIGURES`], compared with the goal if it has one.
    ///
    /// # Panics
    ///
    /// The table does not have it.
    #[must_use]
    pub fn new(name: &str, value: f64) -> Self {
        let Some(figure) = FIGURES.iter().find(|figure| figure.name == name) else {
            panic!("FIGURES has no {name}");
        };
        Self {
            value: Some(value),
            ..Self::missing(figure)
        }
    }

    /// A figure that was not taken.
    #[must_use]
    pub fn missing(figure: &Figure) -> Self {
        let &Figure {
            name,
            unit,
            better,
            reach,
        } = figure;
        let baseline = if reach.is_some() { "reach" } else { "none" };
        let (value, note) = (None, None);
        Self {
            name,
            value,
            unit,
            better,
            baseline: baseline.to_owned(),
            baseline_value: reach,
            note,
        }
    }

    /// A figure of [`FIGURES`] that could not be taken, and why.
    ///
    /// # Panics
    ///
    /// The table does not have it.
    #[must_use]
    pub fn absent(name: &str, why: impl Into<String>) -> Self {
        Self {
            value: None,
            ..Self::new(name, 0.0)
        }
        .note(why)
    }

    /// Compares with another program's figure of the same run.
    #[must_use]
    pub fn against(mut self, baseline: impl Into<String>, value: f64) -> Self {
        self.baseline = baseline.into();
        self.baseline_value = Some(value);
        self
    }

    /// Adds what one has to know.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Whether the figure is as good as what it is compared with; none when there is nothing to compare.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        let (value, baseline) = (self.value?, self.baseline_value?);
        Some(match self.better {
            Better::Lower => value <= baseline,
            Better::Higher => value >= baseline,
        })
    }
}

/// The table for people.
#[must_use]
pub fn table(records: &[Record]) -> String {
    let mut out = String::new();
    let width = records
        .iter()
        .map(|record| record.name.len())
        .max()
        .unwrap_or(0);
    for record in records {
        let value = record.value.map_or_else(|| "–".to_owned(), figure);
        let _ = write!(out, "{:width$}  {value:>12} {:6}", record.name, record.unit);
        if let Some(baseline) = record.baseline_value {
            let sign = match record.better {
                Better::Lower => '≤',
                Better::Higher => '≥',
            };
            let verdict = match record.holds() {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "?",
            };
            let _ = write!(
                out,
                "  {sign} {:>10} {:3} ({})",
                figure(baseline),
                verdict,
                record.baseline
            );
        }
        if let Some(note) = &record.note {
            let _ = write!(out, "  {note}");
        }
        out.push('\n');
    }
    out
}

/// Four digits that count, and no more places than that needs.
fn figure(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 1000.0 || size == 0.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_holds_on_the_better_side_of_its_baseline() {
        let lower = |value| Record::new("fresh_call_p50_us", value).holds();
        assert_eq!((lower(50.0), lower(50.1)), (Some(true), Some(false)));
        let higher = |value| Record::new("fresh_calls_per_s_1_slot", value);
        assert_eq!(higher(1.0).holds(), None);
        assert_eq!(higher(1.8).against("peer", 1.8).holds(), Some(true));
        assert_eq!(higher(1.7).against("peer", 1.8).holds(), Some(false));
    }

    #[test]
    fn the_table_has_a_line_for_each_figure() {
        let records: Vec<_> = FIGURES
            .iter()
            .map(Record::missing)
            .chain([Record::new("fresh_call_p50_us", 19.26).note("so it is")])
            .collect();
        let table = table(&records);
        assert_eq!(table.lines().count(), records.len());
        let last = table.lines().last().unwrap();
        let words: Vec<_> = last.split_whitespace().collect();
        assert_eq!(
            words.join(" "),
            "fresh_call_p50_us 19.26 us ≤ 50.00 yes (reach) so it is"
        );
    }

    #[test]
    fn json_has_the_keys_of_the_format() {
        let json = serde_json::to_value(Record::new("fresh_call_p50_us", 1.5)).unwrap();
        let wanted = serde_json::json!({
            "name": "fresh_call_p50_us", "value": 1.5, "unit": "us", "better": "lower", "baseline": "reach",
            "baseline_value": 50.0,
        });
        assert_eq!(json, wanted);
    }
}
