//! One figure, and the report that they make up.

use std::fmt::Write as _;

use serde::Serialize;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Smaller figures.
    Lower,
    /// Larger figures.
    Higher,
}

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
    /// A figure that is to be small.
    #[must_use]
    pub fn lower(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self::new(name, value, unit, Better::Lower)
    }

    /// A figure that is to be large.
    #[must_use]
    pub fn higher(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self::new(name, value, unit, Better::Higher)
    }

    fn new(name: &'static str, value: f64, unit: &'static str, better: Better) -> Self {
        let baseline = "none".to_owned();
        Self {
            name,
            value: Some(value),
            unit,
            better,
            baseline,
            baseline_value: None,
            note: None,
        }
    }

    /// Compares with the project's goal.
    #[must_use]
    pub fn reach(self, value: f64) -> Self {
        self.against("reach", value)
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

    /// A figure that could not be taken, with the reason.
    #[must_use]
    pub fn missing(
        name: &'static str,
        unit: &'static str,
        better: Better,
        why: impl Into<String>,
    ) -> Self {
        Self {
            value: None,
            ..Self::new(name, 0.0, unit, better)
        }
        .note(why)
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
        assert_eq!(
            Record::lower("a", 50.0, "us").reach(50.0).holds(),
            Some(true)
        );
        assert_eq!(
            Record::lower("a", 50.1, "us").reach(50.0).holds(),
            Some(false)
        );
        assert_eq!(
            Record::higher("a", 1.8, "ratio").reach(1.8).holds(),
            Some(true)
        );
        assert_eq!(
            Record::higher("a", 1.7, "ratio").reach(1.8).holds(),
            Some(false)
        );
        assert_eq!(Record::higher("a", 1.7, "ratio").holds(), None);
    }

    #[test]
    fn the_table_has_a_line_for_each_figure() {
        let records = [
            Record::lower("fresh_call_p50_us", 19.26, "us").reach(50.0),
            Record::missing("same_instance_call_us", "us", Better::Lower, "no such call"),
        ];
        let table = table(&records);
        assert_eq!(table.lines().count(), 2);
        assert!(
            table.contains("19.26 us      ≤      50.00 yes (reach)"),
            "{table}"
        );
        assert!(
            table.contains("– us      no such call") || table.contains("no such call"),
            "{table}"
        );
    }

    #[test]
    fn json_has_the_keys_of_the_format() {
        let json = serde_json::to_value(Record::lower("a", 1.5, "us").reach(2.0)).unwrap();
        let wanted = serde_json::json!({
            "name": "a", "value": 1.5, "unit": "us", "better": "lower", "baseline": "reach", "baseline_value": 2.0,
        });
        assert_eq!(json, wanted);
    }
}
